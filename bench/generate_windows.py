"""What happens where windows of a generated video meet, and from one window to the next?

Small models with weights by rule make a video of 45 frames, as in one window and in windows of 13
that begin with the last 5 frames of the one before. "jump": the mean change from the last frame of
a window to the first new one of the next, relative to the median change between other neighbours.
"level" and "contrast": mean and standard deviation of the last 13 frames next to those of the first
13. The weights were not trained: this measures what windows add, not how much a trained model
drifts. A seed each row; 96x64, 4 steps.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import write_result

ROOT = Path(__file__).parents[1]
FRAMES, WINDOW, SIZE, STEPS, SEEDS = 45, 13, (96, 64), 4, (0, 1)
NAMES = ("ti2v-5b", "i2v-a14b")


def build(name: Any, seed: int, image: Path) -> Any:
    """Return the stage that makes the video in one window."""
    from filmgate.device.placement import Placement
    from filmgate.media.images.image_file import ImageFile
    from filmgate.models.contracts import GenerationRequest
    from filmgate.models.families.wan22.generator import build_stage
    from filmgate.models.families.wan22.request import Wan22Options

    sys.path.append(str(ROOT))
    from tests.models.tiny_wan22 import folder

    request = GenerationRequest(image=ImageFile(image).read(), prompt="a red ball rolls",
                                negative="dark", frames=FRAMES, steps=STEPS, size=SIZE)  # fmt: skip
    return build_stage(request, seed, Wan22Options(weights=folder(name)), Placement("cpu"))


def generate(stage: Any) -> Any:
    """Return the frames (N, 3, H, W) that the stage makes."""
    from filmgate.core.frame import Position, StreamSpec

    spec = StreamSpec(width=0, height=0, rate=stage.fps, time_base=1 / stage.fps, pixels="empty",
                      frames=stage.count)  # fmt: skip
    state, images = stage.start(spec, Position(0, spec.time_base * 0)), []
    while (made := stage.prepare(state)) is not None:
        state = made.state
    for _ in range(stage.count):
        state, image = stage._make_image(state)
        images.append(image.numpy())
    return np.stack(images)


def find_seams(windows: Any) -> list[int]:
    """Return the first new frame of each window but the first."""
    from filmgate.models.families.wan22.request import OVERLAP

    return [window.start + OVERLAP for window in windows[1:]]


def measure(frames: Any, seams: list[int]) -> dict[str, float]:
    """Return the figures of a video; `seams`: frames that begin a window."""
    changes = np.abs(np.diff(frames, axis=0)).mean((1, 2, 3))  # [k]: from frame k to k + 1
    at = np.array(seams) - 1
    usual = np.median(np.delete(changes, at))
    first, last = frames[:WINDOW], frames[-WINDOW:]
    return {
        "jump": round(float(changes[at].mean() / usual), 2),
        "highest jump": round(float(changes[at].max() / usual), 2),
        "level": round(float(last.mean() - first.mean()), 4),
        "contrast": round(float(last.std() / first.std()), 3),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    from PIL import Image

    from filmgate.models.families.wan22.request import split_windows

    torch.set_num_threads(1)
    rows = {}
    with tempfile.TemporaryDirectory() as place:
        image, (width, height) = Path(place) / "in.png", SIZE
        y, x = np.mgrid[:height, :width]
        drawn = np.stack([127 + 90 * np.sin(x / (7 + k) + y / 9) for k in range(3)], -1)
        Image.fromarray(drawn.astype(np.uint8)).save(image)
        for name in NAMES:
            for seed in SEEDS:
                one = build(name, seed, image)
                windows = split_windows(FRAMES, WINDOW, one.variant.temporal)
                ways = {"one window": one, f"{len(windows)} windows": replace(one, windows=windows)}
                for way, stage in ways.items():
                    row = measure(generate(stage), find_seams(windows))
                    rows[f"{name}, seed {seed}, {way}"] = row
                    print(f"{name}, seed {seed}, {way}: {row}", flush=True)
    write_result("generate_windows", {"rows": rows}, torch=torch.__version__)


if __name__ == "__main__":
    main()
