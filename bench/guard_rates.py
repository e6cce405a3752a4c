"""Does `check_outputs` detect faults, and nothing else? True and false positive rates.

Every video passes clean through ten stages that keep its content, and then, with one fault at a
random frame, through a stage that adds noise. Videos are decoded to grey, at most 480 pixels wide.
A fault is visible only where the input moves: to repeat a static frame, or to swap two equal ones,
is no fault.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
from _common import CLIPS, write_result

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.luma_grid import difference, measure_luma
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.errors import BadOutput
from filmgate.media.pixels.planes import Planes
from filmgate.tasks.interpolate import Interpolate
from filmgate.testing.sample_video import SampleVideo

FAULTS = ("not finite", "black", "flashing", "frozen", "shuffled by 2", "shuffled by 4", "reversed")
LENGTHS = {"frozen": 8, "shuffled by 2": 2, "shuffled by 4": 4, "reversed": 8}
VISIBLE = 0.012  # mean difference, of full scale, below which nothing moves


def read_video(path: Path, most: int) -> SampleVideo:
    """Return the first frames of a video, small and grey."""
    frames = []
    for frame in islice(fg.frames((), path), most):
        assert isinstance(frame.image, Planes)
        luma: Any = frame.image.arrays[0]
        width = min(480, luma.shape[1])
        size = (width, round(luma.shape[0] * width / luma.shape[1]))
        small: Any = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        small = small >> (frame.image.bits - 8)
        frames.append(replace(frame, image=Planes((small.astype(np.uint8),), "gray")))
    height, width = frames[0].image.arrays[0].shape  # type: ignore[attr-defined]
    spec = StreamSpec(
        width=width, height=height, rate=None, time_base=Fraction(1, 90000), pixels="gray"
    )
    return SampleVideo(spec, tuple(frames))


def get_levels(frame: Frame) -> Any:
    assert isinstance(frame.image, Planes)
    return frame.image.arrays[0].astype(np.float32) / 255


def add_noise(frame: Frame) -> Any:
    rng = np.random.default_rng(frame.index)
    return get_levels(frame) + rng.normal(0, 0.02, get_levels(frame).shape).astype(np.float32)


def make_stage(change: Callable[[Frame], Any]) -> AnyStage:
    return each(lambda frames: [frame.with_image(change(frame)) for frame in frames], name="change")


def compress(frame: Frame) -> Any:
    assert isinstance(frame.image, Planes)
    jpeg = cv2.imencode(".jpg", frame.image.arrays[0], [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    return cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)


CLEAN: dict[str, Callable[[SampleVideo], tuple[AnyStage, ...]]] = {
    "unchanged": lambda video: (make_stage(get_levels),),
    "noise of 2%": lambda video: (make_stage(add_noise),),
    "darker, flatter": lambda video: (make_stage(lambda f: get_levels(f) * 0.6 + 0.1),),
    "gamma 0.5": lambda video: (make_stage(lambda f: np.sqrt(get_levels(f))),),
    "blurred": lambda video: (make_stage(lambda f: cv2.GaussianBlur(get_levels(f), (0, 0), 3)),),
    "twice as large": lambda video: (
        make_stage(
            lambda f: cv2.resize(get_levels(f), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
        ),
    ),
    "JPEG of quality 20": lambda video: (make_stage(compress),),
    "interpolated x2": lambda video: Interpolate(factor=2).stages(video.spec),
    "interpolated x5/2": lambda video: Interpolate(factor=Fraction(5, 2)).stages(video.spec),
    "2 of 3 frames": lambda video: Interpolate(factor=Fraction(2, 3)).stages(video.spec),
}


@dataclass(frozen=True)
class Faulty:
    """A stage that adds noise, and one fault from frame `at` on."""

    video: SampleVideo
    kind: str
    at: int

    def __call__(self, frames: Sequence[Frame]) -> list[Frame]:
        return [frame.with_image(self.change_frame(frame.index)) for frame in frames]

    def change_frame(self, n: int) -> Any:
        shown, since, length = n, n - self.at, LENGTHS.get(self.kind, 1)
        if 0 <= since < length:
            if self.kind == "frozen":
                shown = self.at
            elif self.kind in ("reversed", "shuffled by 2"):
                shown = self.at + length - 1 - since
            elif self.kind == "shuffled by 4":
                shown = self.at + (2, 0, 3, 1)[since]
        image = add_noise(self.video.frames[shown])
        if since == 0 and self.kind == "black":
            image = image * 0 + 0.02
        elif since == 0 and self.kind == "flashing":
            image = image + np.float32(0.25)
        elif since == 0 and self.kind == "not finite":
            image[3, 5] = np.nan
        return image

    def is_visible(self) -> bool:
        """Return whether the fault shows: the input moves there, and has contrast."""
        if self.kind in ("not finite", "flashing"):
            return True
        length = LENGTHS.get(self.kind, 1)
        grids = [measure_luma(f, f.time) for f in self.video.frames[self.at : self.at + length]]
        kept = [grid for grid in grids if grid]
        if self.kind == "black":
            return kept[0].contrast > 0.06
        return min(difference(a, b) for a, b in pairwise(kept)) > (
            VISIBLE / 4 if self.kind == "frozen" else VISIBLE / 2
        )


def find_fault(stages: Sequence[AnyStage], video: SampleVideo) -> str:
    """Return the kind of fault that was detected, empty for none."""
    stage = check_outputs(Chain(tuple(stages)))
    try:
        state: Any = stage.start(video.spec, video.frames[0].position)
        for frame in video.frames:
            state, _ = stage.step(state, [frame])
        while state is not None:
            state, _ = stage.finish(state)
    except BadOutput as error:
        return error.kind
    return ""


def measure_false_alarms(videos: dict[str, SampleVideo]) -> dict[str, dict[str, Any]]:
    rows = {}
    for name, stages in CLEAN.items():
        found = [(key, find_fault(stages(video), video)) for key, video in videos.items()]
        false = [f"{key}: {kind}" for key, kind in found if kind]
        rows[name] = {"videos": len(videos), "false alarms": len(false),
                      "which": "; ".join(false) or "none"}  # fmt: skip
        print(name, rows[name], flush=True)
    return rows


def measure_detection(videos: dict[str, SampleVideo], times: int) -> dict[str, dict[str, Any]]:
    rng, rows = np.random.default_rng(1), {}
    for kind in FAULTS:
        detected = shown = extra = hidden = 0
        for video in videos.values():
            for _ in range(times):
                at = int(rng.integers(8, len(video.frames) - 16))
                near = SampleVideo(video.spec, video.frames[: at + 16])
                faulty = Faulty(near, kind, at)
                kinds = find_fault([each(faulty, name="faulty")], near)
                visible = faulty.is_visible()
                shown, hidden = shown + visible, hidden + (not visible)
                detected += visible and bool(kinds)
                extra += not visible and bool(kinds)
        rows[kind] = {"visible": shown, "detected": detected,
                      "rate": round(detected / max(1, shown), 3),
                      "not visible": hidden, "detected anyway": extra}  # fmt: skip
        print(kind, rows[kind], flush=True)
    return rows


def measure_costs() -> dict[str, dict[str, Any]]:
    """Return milliseconds per frame of the checks alone."""
    rows = {}
    for name, size in {"832x480": (480, 832), "1080p": (1080, 1920), "4K": (2160, 3840)}.items():
        luma = np.random.default_rng(1).integers(0, 255, size, np.uint8)
        frames = [Frame(i, Fraction(i), Fraction(1), Planes((luma,), "gray")) for i in range(20)]
        stage = check_outputs(each(list))
        state = stage.start(make_spec(size), frames[0].position)
        began = perf_counter()
        for frame in frames:
            state, _ = stage.step(state, [frame])
        rows[name] = {"ms per frame": round((perf_counter() - began) / 20 * 1000, 2)}
    return rows


def make_spec(size: tuple[int, int]) -> StreamSpec:
    return StreamSpec(
        width=size[1], height=size[0], rate=None, time_base=Fraction(1), pixels="gray"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--times", type=int, default=4)
    options = parser.parse_args()
    videos = dict(_read_videos(options.frames))
    result = {
        "question": "do the output checks detect faults, and nothing else?",
        "videos": {name: {"frames": len(video.frames)} for name, video in videos.items()},
        "clean": measure_false_alarms(videos),
        "faults": measure_detection(videos, options.times),
        "cost": measure_costs(),
    }
    print(write_result("guard_rates", result).read_text())


def _read_videos(most: int) -> Iterator[tuple[str, SampleVideo]]:
    for path in sorted(CLIPS.glob("*.mp4")):
        video = read_video(path, most)
        if len(video.frames) >= 32:
            yield path.stem, video


if __name__ == "__main__":
    main()
