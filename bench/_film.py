"""What the benches share: films, real and made, and where a figure was measured."""

import json
import os
import platform
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import av
import numpy as np

CLIPS = Path(__file__).parents[2] / "shared" / "clips"


def clips(*names: str) -> list[Path]:
    """Those of the real clips that are here: without --film, what a bench measures."""
    return [path for name in names if (path := CLIPS / f"{name}.mp4").exists()]


def moving_texture(path: Path, width: int, height: int, frames: int, rate: int = 25) -> Path:
    """An h264 film of a texture that slides two pixels a frame under fresh grain, at `path`."""
    chance = np.random.default_rng(1)
    small = chance.integers(40, 200, (height // 8 + 2, width // 8 + 2), np.uint8)
    texture = np.kron(small, np.ones((8, 8), np.uint8))[:height, : width + 16]
    grain = chance.integers(0, 6, (8, *texture.shape), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            moved = (np.roll(texture, -2 * i, axis=1) + grain[i % 8])[:, :width]
            samples = (moved, moved[::2, ::2], moved[::2, 1::2])
            for plane, rows in zip(frame.planes, samples, strict=True):
                held: Any = np.frombuffer(memoryview(plane), dtype=rows.dtype).reshape(
                    -1, plane.line_size
                )
                held[: plane.height, : plane.width] = rows
            frame.pts, frame.time_base = i, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_result(name: str, result: dict[str, Any], **more: str) -> Path:
    """The figures with the machine they were measured on, as bench/results/NAME.json.

    `more` is what else counts of that machine.
    """
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **{name: version(name) for name in ("av", "numpy", "opencv-contrib-python-headless")},
        **more,
    }
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **result}, indent=1) + "\n")
    return path
