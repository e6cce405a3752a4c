"""Output checks: implausible images and non-finite states become an error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage, Preparation, StageWrapper, prepare_stage
from filmgate.core.values import count_nonfinite
from filmgate.core.wrappers.luma_grid import (
    LumaGrid,
    difference,
    measure_luma,
    normalize,
    normalized_difference,
)
from filmgate.core.wrappers.model_stage import CHECKS
from filmgate.errors import BadOutput, BadSetting

# docs/guard.md says how these were chosen. Levels and contrasts are fractions of full scale.
_BLANK, _VISIBLE = 0.008, 0.05  # contrast of an empty image, and of one with content
_FLASH, _FLASH_RATIO = 0.08, 3.0  # a jump in brightness beyond this many times the input's
_FROZEN_COUNT = 6  # results in a row that show the same
_MOVED, _FROZEN_RATIO = 0.012, 0.12  # the input's motion; the result's, at most this part of it
_MARGIN, _RATIO = 0.02, 0.5  # another input image is closer by this much, and twice as close
_BACK, _AHEAD = 6, 3  # input frames around its own that a result is compared with
_MAX_INPUTS = 512  # input grids kept if a stage lags further behind than that


@dataclass(frozen=True, slots=True)
class CheckState:
    """The state of `check_outputs`: the stage's state, and recent inputs and results."""

    state: Any
    inputs: tuple[LumaGrid, ...] = ()
    pending: tuple[LumaGrid, ...] = ()  # results that need more of the input to be checked
    checked: tuple[LumaGrid, ...] = ()


@dataclass(frozen=True)
class CheckedStage(StageWrapper):
    """The stage made by `check_outputs`."""

    checks: frozenset[str]
    time_scale: Fraction

    def start(self, spec: StreamSpec, first: Position) -> CheckState:
        state = self.stage.start(spec, first)
        self._check_finite_state(state, first.time)
        return CheckState(state)

    def step(self, state: CheckState, frames: Sequence[Frame]) -> tuple[CheckState, list[Frame]]:
        after, outputs = self.stage.step(state.state, frames)
        if frames:
            self._check_finite_state(after, frames[0].time)
        self._check_finite(outputs)
        return self._check(replace(state, state=after), frames, outputs, ended=False), outputs

    def finish(self, state: CheckState) -> tuple[CheckState | None, list[Frame]]:
        after, outputs = self.stage.finish(state.state)
        if after is not None and state.inputs:
            self._check_finite_state(after, state.inputs[-1].time)
        self._check_finite(outputs)
        checked = self._check(replace(state, state=after), (), outputs, ended=True)
        return (None if after is None else checked), outputs

    def prepare(self, state: CheckState) -> Preparation | None:
        made = prepare_stage(self.stage, state.state)
        if made is None or made.state is state.state:
            return made and replace(made, state=state)
        self._check_finite_state(made.state, Fraction(0))
        return replace(made, state=replace(state, state=made.state))

    def _check_finite_state(self, state: Any, time: Fraction) -> None:
        count = count_nonfinite(state) if "finite" in self.checks else 0
        if count:
            what = f"{count} values of its state are NaN or infinite, so later images would be too"
            raise self._make_error("not finite", time, what)

    def _check_finite(self, outputs: Sequence[Frame]) -> None:
        for frame in outputs if "finite" in self.checks else ():
            count = count_nonfinite((frame.image, dict(frame.extras)))
            if count:
                what = f"{count} values of image {frame.index} are NaN or infinite"
                raise self._make_error("not finite", frame.time / self.time_scale, what)

    def _make_error(self, kind: str, time: Fraction, what: str) -> BadOutput:
        return BadOutput(
            f"{self.name}, at {float(time):.3f} s of its input: {what}. Try another dtype or "
            "smaller tiles; if the images are intended, turn this check off",
            kind,
            time,
        )

    # --- images against the input ---------------------------------------------------------------

    def _check(
        self, state: CheckState, frames: Sequence[Frame], outputs: Sequence[Frame], ended: bool
    ) -> CheckState:
        """Check every result for which enough input is known; return the new state."""
        if not self.checks - {"finite"}:
            return state
        inputs = (*state.inputs, *(g for f in frames if (g := measure_luma(f, f.time))))
        results = (g for f in outputs if (g := measure_luma(f, f.time / self.time_scale)))
        pending, checked = [*state.pending, *results], list(state.checked)
        newest = inputs[-1].index if inputs else -1
        while pending:
            at = _find_shown(inputs, pending[0].time)
            if at is None:  # its input is no longer kept, so it cannot be checked
                pending.pop(0)
                continue
            if inputs[at].index + _AHEAD > newest and not ended:
                break
            result = pending.pop(0)
            near = inputs[max(0, at - _BACK) : at + _AHEAD + 1]
            self._check_black(result, near)
            if checked:
                self._check_flashing(result, near, checked[-1])
                self._check_shuffled(result, near, checked[-1])
            self._check_frozen(result, inputs, checked)
            checked = [*checked[1 - _FROZEN_COUNT :], result]
        times = [g.time for g in (*pending[:1], *checked)]
        needed = _find_shown(inputs, min(times)) if checked else None
        drop = max(0, (needed or 0) - _BACK, len(inputs) - _MAX_INPUTS)
        return replace(state, inputs=inputs[drop:], pending=tuple(pending), checked=tuple(checked))

    def _check_black(self, result: LumaGrid, near: Sequence[LumaGrid]) -> None:
        """Raise if a result is blank, and the input around it is not."""
        last = _find_last(near, result.time)
        contrast = min(g.contrast for g in near[max(0, last - 2) : last + 1])
        if "black" in self.checks and result.contrast < _BLANK and contrast > _VISIBLE:
            what = f"image {result.index} is blank, at {result.level:.2f} of full brightness"
            raise self._make_error("black", result.time, f"{what}, and its input is not")

    def _check_flashing(self, result: LumaGrid, near: Sequence[LumaGrid], before: LumaGrid) -> None:
        """Raise if the brightness jumps from one result to the next, and the input's does not."""
        if "flashing" not in self.checks or before.time < near[0].time:
            return
        first, last = _find_shown(near, before.time) or 0, _find_last(near, result.time)
        levels = [g.level for g in near[max(0, first - 1) : last + 1]]
        limit = _FLASH + _FLASH_RATIO * (max(levels) - min(levels))
        if abs(result.level - before.level) > limit:
            jump = f"from {before.level:.2f} to {result.level:.2f} of full scale"
            what = f"brightness jumps {jump} at image {result.index}, and the input's does not"
            raise self._make_error("flashing", result.time, what)

    def _check_frozen(
        self, result: LumaGrid, inputs: Sequence[LumaGrid], checked: Sequence[LumaGrid]
    ) -> None:
        """Raise if the last results show the same, and the input at their times does not."""
        enough = len(checked) >= _FROZEN_COUNT - 1 and checked[0].time >= inputs[0].time
        if not enough or "frozen" not in self.checks:
            return
        own = max(difference(result, g) for g in checked)
        now = _get_neighbours(inputs, result.time)[0]
        moved = max(difference(now, _get_neighbours(inputs, g.time)[0]) for g in checked)
        if moved > _MOVED and own < _FROZEN_RATIO * moved:
            what = f"images {checked[0].index} to {result.index} show the same"
            raise self._make_error("frozen", checked[0].time, f"{what}, and the input moves")

    def _check_shuffled(self, result: LumaGrid, near: Sequence[LumaGrid], before: LumaGrid) -> None:
        """Raise if a result clearly shows an earlier input image than the result before it."""
        if "shuffled" not in self.checks or result.contrast < _BLANK:
            return
        grids = [normalize(g) for g in near]
        own, previous = (
            [normalized_difference(image, grid) for grid in grids]
            for image in (normalize(result), normalize(before))
        )
        shown, shown_before = own.index(min(own)), previous.index(min(previous))
        if shown >= shown_before:
            return
        # Each must match its input image clearly better than any image of the right order.
        if _is_closer(own[shown], own[shown + 1 :]) and _is_closer(
            previous[shown_before], previous[: shown + 1]
        ):
            times = (float(near[shown].time), float(near[shown_before].time))
            what = "shows the input at {:.3f} s, and the image before it at {:.3f} s"
            what = f"image {result.index} {what.format(*times)}"
            raise self._make_error("shuffled", result.time, what)


def _is_closer(best: float, rivals: Sequence[float]) -> bool:
    rival = min(rivals)
    return best < _RATIO * rival and rival - best > _MARGIN


def _find_shown(inputs: Sequence[LumaGrid], time: Fraction) -> int | None:
    """Return the position of the input that is shown at a time; None if it is no longer kept."""
    if not inputs or time < inputs[0].time:
        return None
    return next(i for i in reversed(range(len(inputs))) if inputs[i].time <= time)


def _get_neighbours(near: Sequence[LumaGrid], time: Fraction) -> Sequence[LumaGrid]:
    """Return the input shown at a time, and the next one if the time is between the two."""
    at = _find_shown(near, time) or 0
    return near[at : at + 1 + (near[at].time < time)]


def _find_last(near: Sequence[LumaGrid], time: Fraction) -> int:
    """Return the position of the last input that a result at that time may show."""
    return _find_shown(near, _get_neighbours(near, time)[-1].time) or 0


def check_outputs(
    stage: AnyStage, *, checks: Sequence[str] = CHECKS, time_scale: Fraction | int = 1
) -> CheckedStage:
    """Return `stage` that raises BadOutput for implausible results; others are unchanged.

    "finite" checks images and state at once. The others compare small luma grids with the input's,
    up to three input frames later, so they suit stages that show what their input shows.
    `time_scale`: the result's times are this many times the input's.
    """
    unknown = sorted(set(checks) - set(CHECKS))
    if unknown:
        raise BadSetting(f"unknown checks {', '.join(unknown)}: use some of {', '.join(CHECKS)}")
    if time_scale <= 0:
        raise BadSetting(f"time_scale is {time_scale}: it must be more than 0")
    return CheckedStage(stage, frozenset(checks), Fraction(time_scale))
