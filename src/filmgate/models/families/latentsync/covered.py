"""Faces whose mouth is covered, such as by a hand, fade out: their frames are left as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import Reach
from filmgate.models.families.latentsync.speech import FPS
from filmgate.models.families.latentsync.stages import FACE

_SHORTEST = 3  # frames in a row: fewer are taken for a mistake
_FADE = 2  # frames on both sides of the middle of a fade
AHEAD = 2 * _FADE + _SHORTEST - 1  # frames that a frame's weight depends on, on both sides


@dataclass(frozen=True, slots=True)
class CoverState:
    """A run of frames with a face.

    `waiting`: frames that are not out yet. `past`: whether a mouth is covered in up to AHEAD frames
    before them. `since`: the first frame of those left as they are before `waiting`, None if there
    is none.
    """

    waiting: tuple[Frame, ...] = ()
    past: tuple[bool, ...] = ()
    since: Position | None = None


@dataclass(frozen=True)
class LeaveCovered:
    """Takes weight from faces whose mouth is covered, and reports which frames they are in.

    A stretch begins with 3 frames in a row; shorter gaps in one are part of it. Weights fall over 4
    frames before it and rise over 4 after it. Frames without a face and shot boundaries end a run.
    Frames leave 6 frames later. Images stay.
    """

    name: str = "covered"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(None, AHEAD / FPS)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> CoverState:
        return CoverState()

    def step(self, state: CoverState, frames: Sequence[Frame]) -> tuple[CoverState, list[Frame]]:
        outputs: list[Frame] = []
        for frame in frames:
            if frame.extras.get("cut") or FACE not in frame.extras:
                outputs += _end_run(state)
                state = CoverState()
            if FACE not in frame.extras:
                outputs.append(frame)
                continue
            state = replace(state, waiting=(*state.waiting, frame))
            if len(state.waiting) > AHEAD:
                state, ready = _put_out(state, 1)
                outputs += ready
        return state, outputs

    def finish(self, state: CoverState) -> tuple[None, list[Frame]]:
        return None, _end_run(state)


def _end_run(state: CoverState) -> list[Frame]:
    """Return the frames that are left of a run; what it ends with is reported on the last one."""
    if not state.waiting:
        return []
    state, outputs = _put_out(state, len(state.waiting))
    if state.since is not None:
        outputs[-1] = _report(outputs[-1], state.since, outputs[-1].index)
    return outputs


def _put_out(state: CoverState, count: int) -> tuple[CoverState, list[Frame]]:
    """Return the first `count` frames that wait, and the state without them."""
    own = [_is_covered(frame) for frame in state.waiting]
    shares = measure_covered((*state.past, *own))[len(state.past) :]
    since, outputs = state.since, list[Frame]()
    for frame, share in zip(state.waiting[:count], shares.tolist(), strict=False):
        face: Any = frame.extras[FACE]
        if share:
            faded = replace(face, weight=face.weight * (1 - share))
            frame = frame.with_extras(**{FACE: faded})
        if share == 1:
            since = since or frame.position
        elif since is not None:
            frame, since = _report(frame, since, frame.index - 1), None
        outputs.append(frame)
    past = (*state.past, *own[:count])[-AHEAD:]
    return CoverState(state.waiting[count:], past, since), outputs


def measure_covered(covered: Sequence[bool]) -> npt.NDArray[np.float64]:
    """Return how much each frame of a run is left as it is, 0 to 1, by where a mouth is covered."""
    places = range(len(covered))
    begins = [sum(covered[k : k + _SHORTEST]) == _SHORTEST for k in places]
    found = [any(begins[max(0, k - _SHORTEST + 1) : k + 1]) for k in places]
    wide = [any(found[max(0, k - _FADE) : k + _FADE + 1]) for k in places]
    return np.array([np.mean(wide[max(0, k - _FADE) : k + _FADE + 1]) for k in places])


def _is_covered(frame: Frame) -> bool:
    face: Any = frame.extras[FACE]
    return bool(face.covered)


def _report(frame: Frame, since: Position, last: int) -> Frame:
    """Return the frame with a remark on the frames from `since` to number `last`."""
    return frame.with_remark(f"frames {since.index}-{last}, from {float(since.time):.3f} s on: the "
                             "mouth is covered: left as they are")  # fmt: skip
