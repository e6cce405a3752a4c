"""Measure what shows in results of lipsync and animate: repetition, endings, edges, smoothness."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.join import SOURCE
from filmgate.core.run import iter_frames
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting, FilmgateError
from filmgate.media.pixels.planes import Planes
from filmgate.media.probe import probe
from filmgate.media.sources import VideoFile
from filmgate.models.lip_sync import measure_chin
from filmgate.models.registry import build_tracker
from filmgate.pipeline.build import open_source
from filmgate.planning.limits import Limits
from filmgate.quality.verify import Finding
from filmgate.tasks.animate import Animate
from filmgate.tasks.lipsync import LipSync
from filmgate.tasks.provenance import TAG, read_tag

Luma = npt.NDArray[np.float32]  # (rows, columns), 0 to 255
_WIDTH = 160  # columns of the images that are compared from frame to frame
_SAMPLE = 5  # each so many frames the edges of the mask are measured
_END = 10  # frames of an ending, 0.4 s
_CHANGED = 6.0  # levels by which a pixel differs where something was generated
_WINDOW = 4  # frames that animate denoises together
_FINDER = "face_mesh"
# What is hardly seen; by eye. A face that is 25 levels too bright has edges of 0.9 where it is
# pasted with soft ones, and of 1.4 as published.
MOST_TURNS, MOST_MOVING, MOST_AWAY, MOST_STEP = 1, 1.5, 0.5, 1.2
MOST_WIDE = 0.02  # of the frames with a face
MOST_JERK, MOST_SEAM, MOST_FLICKER, MOST_DRIFT = 1.5, 1.25, 1.0, 10.0


def check_person(out: Path, against: Path, parts: Sequence[Path] = ()) -> list[Finding]:
    """Return what is measured in a result of lipsync or animate, next to its source.

    `against` and its `parts`: the take that lipsync used and those after it, or the driving video.
    Memory does not depend on the images. Raises BadSetting for a result of another task.
    """
    tags = probe(out, header=True).metadata
    tag = next((text for key, text in tags.items() if key.lower() == TAG), None)
    tasks = read_tag(tag, out).tasks if tag else ()
    source = VideoFile(against, join=tuple(parts))
    for task in tasks:
        if isinstance(task, LipSync):
            return _check_lips(out, source, task)
        if isinstance(task, Animate):
            return _check_animation(out, source)
    raise BadSetting(f"{out} is no result of lipsync or animate by its metadata: omit --person")


def read_luma(frame: Frame) -> Luma:
    """Return the luma of a frame, 0 to 255."""
    if not isinstance(frame.image, Planes):
        raise BadSetting("the frames have no luma: pass a video")
    plane: Any = frame.image.arrays[0]
    return plane.astype(np.float32) / (1 << (frame.image.bits - 8))  # type: ignore[no-any-return]


def shrink(luma: Luma) -> Luma:
    """Return it with _WIDTH columns at most."""
    import cv2

    height, width = luma.shape
    if width <= _WIDTH:
        return luma
    size = (_WIDTH, max(1, round(height * _WIDTH / width)))
    return cv2.resize(luma, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


@dataclass
class Motion:
    """How much frames change, in mean levels: from the one before, and from that to the next."""

    changes: array[float] = field(default_factory=lambda: array("f"))
    turns: array[float] = field(default_factory=lambda: array("f"))
    means: array[float] = field(default_factory=lambda: array("f"))
    last: list[Luma] = field(default_factory=list)

    def add(self, luma: Luma) -> None:
        """Compare the next frame with those before."""
        self.means.append(float(luma.mean()))
        if self.last:
            self.changes.append(float(np.abs(luma - self.last[-1]).mean()))
        if len(self.last) == 2:
            bend = luma - 2 * self.last[1] + self.last[0]
            self.turns.append(float(np.abs(bend).mean()))
        self.last = [*self.last[-1:], luma]

    @property
    def jerk(self) -> float:
        """How much the change itself changes, relative to it: 0 for an even movement."""
        return fmean(self.turns or [0.0]) / max(fmean(self.changes or [0.0]), 1e-3)


# --- lipsync --------------------------------------------------------------------------------------


def _iter_shown(
    source: VideoFile, task: LipSync
) -> Generator[tuple[Frame, StreamSpec], None, None]:
    """Yield the frames of the source that the result shows, and all that are before them."""
    with open_source(source, (task,)) as video:
        rate, _ = task.choose_frames()
        spec = rate.output(video.spec)
        plan = Limits().make_plan(video.spec, spec, 1)
        for frame in iter_frames(video, Chain((rate,)), plan):
            yield frame, spec


@dataclass
class Mouths:
    """How far down chins are in frames of a source, relative to what is generated there."""

    task: LipSync
    finder: AnyStage
    state: Any = None
    chins: array[float] = field(default_factory=lambda: array("f"))

    @classmethod
    def open(cls, task: LipSync) -> Mouths | str:
        """Return what measures, or why that is not possible."""
        if task.box is not None or task.face is not None:
            return "not measured: one face was chosen by hand"
        try:
            return cls(task, build_tracker(_FINDER))
        except FilmgateError as error:
            return f"not measured: {error}"

    def add(self, frame: Frame, spec: StreamSpec) -> None:
        """Measure the largest face of the next frame, if it has one."""
        if self.state is None:
            self.state = self.finder.start(spec, frame.position)
        self.state, (found,) = self.finder.step(self.state, (frame,))
        records: Any = found.extras.get("records", ())
        largest = max(records, key=lambda one: one["box"][2] * one["box"][3], default=None)
        if largest is not None:
            points = largest["points"]
            self.chins.append(measure_chin(self.task.model, self.task.options, points))

    def judge(self) -> Finding:
        """Judge in how many frames the source's own chin shows below what is generated."""
        wide, count = sum(chin > 1 for chin in self.chins), len(self.chins)
        return Finding("wide mouths", wide <= MOST_WIDE * count,
                       f"the chin is below what is generated in {wide} of {count} frames with a "
                       "face", f"{MOST_WIDE:.0%} at most: it may show twice there")  # fmt: skip


def _check_lips(out: Path, source: VideoFile, task: LipSync) -> list[Finding]:
    _, skip = task.choose_frames()
    motion, away, steps = Motion(), array("f"), array("f")
    mouths = Mouths.open(task)
    rest: Luma | None = None
    turns, way = 0, 0
    before: int | None = None
    with closing(_iter_frames(out)) as results, closing(_iter_shown(source, task)) as shown:
        for frame, spec in shown:
            small = shrink(luma := read_luma(frame))
            rest = small if rest is None else rest
            if frame.index < skip.count:
                continue
            if (result := next(results, None)) is None:
                break
            index: Any = frame.extras.get(SOURCE, frame.index)
            step = 0 if before is None else int(np.sign(index - before))
            turns, way, before = turns + (step * way < 0), step or way, index
            motion.add(small)
            if isinstance(mouths, Mouths):
                mouths.add(frame, spec)
            away.append(float(np.abs(small - rest).mean()))
            if len(motion.means) % _SAMPLE == 1:
                edge = measure_edge(read_luma(result), luma)
                steps.extend([] if edge is None else [edge])
    if not motion.means:
        raise BadSetting(f"{out} and {source.path} have no frames in common: pass its source")
    wide = Finding("wide mouths", True, mouths, "") if isinstance(mouths, str) else mouths.judge()
    return [_judge_turns(turns), _judge_ending(motion, away), _judge_edges(steps), wide]


def _iter_frames(path: Path) -> Generator[Frame, None, None]:
    with VideoFile(path).open() as video:
        for frames, _ in video.read(None, 1):
            yield from frames


def measure_edge(result: Luma, source: Luma) -> float | None:
    """Return how much steeper edges are around what was generated than there in the source.

    In levels a pixel, at the 95th percentile; None: nothing was generated.
    """
    import cv2

    if result.shape != source.shape:
        raise BadSetting(f"the result has {result.shape[::-1]} pixels and the source "
                         f"{source.shape[::-1]}: pass the source of the result")  # fmt: skip
    difference = result - source
    changed = (cv2.blur(np.abs(difference), (5, 5)) > _CHANGED).astype(np.uint8)
    changed = np.asarray(cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((15, 15), np.uint8)))
    changed = np.asarray(cv2.morphologyEx(changed, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8)))
    ring = cv2.dilate(changed, np.ones((7, 7))) - cv2.erode(changed, np.ones((7, 7)))
    if not ring.any():
        return None
    steps = [np.percentile(_measure_steps(image)[ring > 0], 95) for image in (result, source)]
    return max(0.0, float(steps[0] - steps[1]))


def _measure_steps(luma: Luma) -> Luma:
    """Return how many levels a pixel differs from its neighbours, in the steepest direction."""
    import cv2

    across, down = (np.asarray(cv2.Sobel(luma, cv2.CV_32F, x, 1 - x)) / 8 for x in (1, 0))
    return np.hypot(across, down)


def _judge_turns(turns: int) -> Finding:
    times = "once" if turns == 1 else f"{turns} times"
    found = f"turns back {times}: a moment is shown up to {turns + 1} times"
    return Finding("repetition", turns <= MOST_TURNS, found if turns else "none",
                   f"at most {MOST_TURNS} turn: longer takes repeat less")  # fmt: skip


def _judge_ending(motion: Motion, away: Sequence[float]) -> Finding:
    """Judge whether it ends in a movement, far from the first frame of the take."""
    usual = max(median(motion.changes or [0.0]), 1e-3)
    moving = fmean(motion.changes[-_END:] or [0.0]) / usual
    distance = away[-1] / max(median(away), 1e-3)
    found = f"moves {moving:.2f} times as much as usual, {distance:.2f} of the usual way from rest"
    return Finding("ending", moving <= MOST_MOVING or distance <= MOST_AWAY, found,
                   f"{MOST_MOVING:g} times at most, or {MOST_AWAY:g} of the way: --ending "
                   "neutral")  # fmt: skip


def _judge_edges(steps: Sequence[float]) -> Finding:
    if not steps:
        return Finding("mask edges", True, "nothing was generated", "")
    found = f"{median(steps):.1f} levels a pixel steeper than in the source, {max(steps):.1f} once"
    return Finding("mask edges", median(steps) <= MOST_STEP, found, f"{MOST_STEP:g} at most")


# --- animate --------------------------------------------------------------------------------------


def _check_animation(out: Path, driving: VideoFile) -> list[Finding]:
    """Compare how a portrait moves with how its driver does, and its looks over time."""
    own, driver = Motion(), Motion()
    first: npt.NDArray[np.float64] | None = None
    drift = array("f")
    with closing(_iter_frames(out)) as results, closing(_iter_frames(Path(driving.path))) as others:
        for result, other in zip(results, others, strict=False):
            own.add(shrink(read_luma(result)))
            driver.add(shrink(read_luma(other)))
            assert isinstance(result.image, Planes)
            looks = np.array([plane.mean() for plane in result.image.arrays], np.float64)
            looks /= 1 << (result.image.bits - 8)
            first = looks if first is None else first
            drift.append(float(np.abs(looks - first).max()))
    if len(own.turns) < 2 * _WINDOW:
        raise BadSetting(f"{out} has {len(own.means)} frames, wanted at least {2 * _WINDOW + 2} to "
                         "measure how it moves")  # fmt: skip
    return [_judge_jerk(own, driver), _judge_seams(own), _judge_flicker(own), _judge_drift(drift)]


def _judge_jerk(own: Motion, driver: Motion) -> Finding:
    times = own.jerk / max(driver.jerk, 1e-3)
    return Finding("smoothness", times <= MOST_JERK, f"{times:.2f} times the jerk of the driver",
                   f"{MOST_JERK:g} times at most")  # fmt: skip


def _judge_seams(own: Motion) -> Finding:
    """Judge the changes where two windows meet; the change number k is to frame k + 1."""
    at = [change for k, change in enumerate(own.changes, 1) if k % _WINDOW == 0]
    rest = [change for k, change in enumerate(own.changes, 1) if k % _WINDOW]
    times = fmean(at) / max(fmean(rest), 1e-3)
    return Finding("seams", times <= MOST_SEAM, f"{times:.2f} times the change elsewhere",
                   f"{MOST_SEAM:g} times, every {_WINDOW} frames")  # fmt: skip


def _judge_flicker(own: Motion) -> Finding:
    bends = np.abs(np.diff(np.array(own.means), 2))
    return Finding("flicker", bends.mean() <= MOST_FLICKER,
                   f"{bends.mean():.2f} levels of the mean brightness",
                   f"{MOST_FLICKER:g} at most")  # fmt: skip


def _judge_drift(drift: Sequence[float]) -> Finding:
    third = drift[-max(1, len(drift) // 3) :]
    return Finding("looks over time", fmean(third) <= MOST_DRIFT,
                   f"{fmean(third):.1f} levels from those of the first frame, in the last third",
                   f"{MOST_DRIFT:g} at most")  # fmt: skip
