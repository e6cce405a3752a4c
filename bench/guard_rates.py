"""Does `check_outputs` find what is wrong, and cry at nothing else? True and false positive rates.

Every film is run clean through ten stages that show what their input shows, and then with one
fault in it, at places drawn at random, behind a stage that adds noise. Films are decoded to grey
of at most 480 pixels' width. A fault shows where the input moves: to hold a still picture, or to
swap two that are alike, is none.
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
from _film import CLIPS, write_result

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.luma_grid import difference, luma_grid
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.errors import BadOutput
from filmgate.media.pixels.planes import Planes
from filmgate.tasks.interpolate import Interpolate
from filmgate.testing.laws import SampleVideo

FAULTS = ("not finite", "black", "flashing", "frozen", "shuffled by 2", "shuffled by 4", "reversed")
LENGTHS = {"frozen": 8, "shuffled by 2": 2, "shuffled by 4": 4, "reversed": 8}
SHOWS = 0.012  # mean difference of what is seen, of full scale, below which nothing moves


def opened(path: Path, most: int) -> SampleVideo:
    """The film's first frames, small and grey."""
    frames = []
    for frame in islice(fg.frames((), path), most):
        assert isinstance(frame.image, Planes)
        luma: Any = frame.image.arrays[0]
        width = min(480, luma.shape[1])
        size = (width, round(luma.shape[0] * width / luma.shape[1]))
        small: Any = cv2.resize(luma, size, interpolation=cv2.INTER_AREA)
        small = small >> (frame.image.bits - 8)
        frames.append(replace(frame, image=Planes((small.astype(np.uint8),), "gray")))
    high, wide = frames[0].image.arrays[0].shape  # type: ignore[attr-defined]
    spec = StreamSpec(
        width=wide, height=high, rate=None, time_base=Fraction(1, 90000), pixels="gray"
    )
    return SampleVideo(spec, tuple(frames))


def levels(frame: Frame) -> Any:
    assert isinstance(frame.image, Planes)
    return frame.image.arrays[0].astype(np.float32) / 255


def noisy(frame: Frame) -> Any:
    chance = np.random.default_rng(frame.index)
    return levels(frame) + chance.normal(0, 0.02, levels(frame).shape).astype(np.float32)


def made_by(change: Callable[[Frame], Any]) -> AnyStage:
    return each(lambda frames: [frame.made(change(frame)) for frame in frames], name="made")


def quantised(frame: Frame) -> Any:
    assert isinstance(frame.image, Planes)
    jpeg = cv2.imencode(".jpg", frame.image.arrays[0], [cv2.IMWRITE_JPEG_QUALITY, 20])[1]
    return cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)


CLEAN: dict[str, Callable[[SampleVideo], tuple[AnyStage, ...]]] = {
    "as it is": lambda video: (made_by(levels),),
    "noise of 2%": lambda video: (made_by(noisy),),
    "darker, flatter": lambda video: (made_by(lambda f: levels(f) * 0.6 + 0.1),),
    "gamma 0.5": lambda video: (made_by(lambda f: np.sqrt(levels(f))),),
    "blurred": lambda video: (made_by(lambda f: cv2.GaussianBlur(levels(f), (0, 0), 3)),),
    "twice as large": lambda video: (
        made_by(lambda f: cv2.resize(levels(f), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)),
    ),
    "JPEG of quality 20": lambda video: (made_by(quantised),),
    "interpolated x2": lambda video: Interpolate(factor=2).stages(video.spec),
    "interpolated x5/2": lambda video: Interpolate(factor=Fraction(5, 2)).stages(video.spec),
    "2 of 3 frames": lambda video: Interpolate(factor=Fraction(2, 3)).stages(video.spec),
}


@dataclass(frozen=True)
class Faulty:
    """Noise, and from frame `at` on a fault."""

    video: SampleVideo
    kind: str
    at: int

    def __call__(self, frames: Sequence[Frame]) -> list[Frame]:
        return [frame.made(self.one(frame.index)) for frame in frames]

    def one(self, n: int) -> Any:
        shown, since, long = n, n - self.at, LENGTHS.get(self.kind, 1)
        if 0 <= since < long:
            if self.kind == "frozen":
                shown = self.at
            elif self.kind in ("reversed", "shuffled by 2"):
                shown = self.at + long - 1 - since
            elif self.kind == "shuffled by 4":
                shown = self.at + (2, 0, 3, 1)[since]
        image = noisy(self.video.frames[shown])
        if since == 0 and self.kind == "black":
            image = image * 0 + 0.02
        elif since == 0 and self.kind == "flashing":
            image = image + np.float32(0.25)
        elif since == 0 and self.kind == "not finite":
            image[3, 5] = np.nan
        return image

    def shows(self) -> bool:
        """Whether the fault is one: the input moves there, and has something to see."""
        if self.kind in ("not finite", "flashing"):
            return True
        long = LENGTHS.get(self.kind, 1)
        seen = [luma_grid(f, f.time) for f in self.video.frames[self.at : self.at + long]]
        held = [g for g in seen if g]
        if self.kind == "black":
            return held[0].contrast > 0.06
        return min(difference(a, b) for a, b in pairwise(held)) > (
            SHOWS / 4 if self.kind == "frozen" else SHOWS / 2
        )


def alarm(stages: Sequence[AnyStage], video: SampleVideo) -> str:
    """The kind that was found; empty: none."""
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


def clean_rates(videos: dict[str, SampleVideo]) -> dict[str, dict[str, Any]]:
    rows = {}
    for name, stages in CLEAN.items():
        found = [(key, alarm(stages(video), video)) for key, video in videos.items()]
        false = [f"{key}: {kind}" for key, kind in found if kind]
        rows[name] = {"films": len(videos), "false alarms": len(false),
                      "which": "; ".join(false) or "none"}  # fmt: skip
        print(name, rows[name], flush=True)
    return rows


def fault_rates(videos: dict[str, SampleVideo], times: int) -> dict[str, dict[str, Any]]:
    chance, rows = np.random.default_rng(1), {}
    for kind in FAULTS:
        found = shown = told = silent = 0
        for video in videos.values():
            for _ in range(times):
                at = int(chance.integers(8, len(video.frames) - 16))
                near = SampleVideo(video.spec, video.frames[: at + 16])
                faulty = Faulty(near, kind, at)
                kinds = alarm([each(faulty, name="faulty")], near)
                shows = faulty.shows()
                shown, silent = shown + shows, silent + (not shows)
                found, told = found + (shows and bool(kinds)), told + (not shows and bool(kinds))
        rows[kind] = {"shows": shown, "found": found, "rate": round(found / max(1, shown), 3),
                      "does not show": silent, "found all the same": told}  # fmt: skip
        print(kind, rows[kind], flush=True)
    return rows


def costs() -> dict[str, dict[str, Any]]:
    """Milliseconds for each frame, beside what the stage itself takes."""
    rows = {}
    for name, size in {"832x480": (480, 832), "1080p": (1080, 1920), "4K": (2160, 3840)}.items():
        luma = np.random.default_rng(1).integers(0, 255, size, np.uint8)
        frames = [Frame(i, Fraction(i), Fraction(1), Planes((luma,), "gray")) for i in range(20)]
        stage = check_outputs(each(list))
        state = stage.start(opened_spec(size), frames[0].position)
        began = perf_counter()
        for frame in frames:
            state, _ = stage.step(state, [frame])
        rows[name] = {"ms per frame": round((perf_counter() - began) / 20 * 1000, 2)}
    return rows


def opened_spec(size: tuple[int, int]) -> StreamSpec:
    return StreamSpec(
        width=size[1], height=size[0], rate=None, time_base=Fraction(1), pixels="gray"
    )


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--frames", type=int, default=40)
    wanted.add_argument("--times", type=int, default=4)
    options = wanted.parse_args()
    videos = dict(_films(options.frames))
    result = {
        "question": "does the guard find what is wrong, and nothing else?",
        "films": {name: {"frames": len(video.frames)} for name, video in videos.items()},
        "clean": clean_rates(videos),
        "faults": fault_rates(videos, options.times),
        "cost": costs(),
    }
    print(write_result("guard_rates", result).read_text())


def _films(most: int) -> Iterator[tuple[str, SampleVideo]]:
    for path in sorted(CLIPS.glob("*.mp4")):
        video = opened(path, most)
        if len(video.frames) >= 32:
            yield path.stem, video


if __name__ == "__main__":
    main()
