"""Output checks: implausible images and non-finite states become an error."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.core.values import count_nonfinite
from filmgate.core.wrappers.luma_grid import LumaGrid, difference, luma_grid, normalized_difference
from filmgate.core.wrappers.model_stage import CHECKS
from filmgate.errors import BadOutput, BadSetting

# What they were chosen by stands in docs/guard.md; levels are parts of full scale.
_BLANK, _SEEN = 0.008, 0.05  # contrast of a picture without content, and of one with some
_FLASH, _BRIGHTER = 0.08, 3.0  # a jump in brightness, beyond so many times the input's own
_HELD = 6  # results in a row that show the same
_MOVED, _STILL = 0.012, 0.12  # the input moved meanwhile; the result by this part of it at most
_SURE, _LIKER = 0.02, 0.5  # another picture of the input is so much, and twice, as like
_BACK, _AHEAD = 6, 3  # input frames around its own that a result is compared with
_MOST = 512  # glances of the input held, if a stage lags behind further than that


@dataclass(frozen=True, slots=True)
class CheckState:
    """What `check_outputs` remembers: the stage's state, and what was seen of the film of late."""

    state: Any
    came: tuple[LumaGrid, ...] = ()
    waiting: tuple[LumaGrid, ...] = ()  # results that are judged when more of the input is here
    judged: tuple[LumaGrid, ...] = ()


@dataclass(frozen=True)
class CheckedStage(StageWrapper):
    """See `check_outputs`."""

    checks: frozenset[str]
    stretch: Fraction

    def start(self, spec: StreamSpec, first: Position) -> CheckState:
        state = self.stage.start(spec, first)
        self._finite_state(state, first.time)
        return CheckState(state)

    def step(self, state: CheckState, frames: Sequence[Frame]) -> tuple[CheckState, list[Frame]]:
        after, made = self.stage.step(state.state, frames)
        if frames:
            self._finite_state(after, frames[0].time)
        self._finite(made)
        return self._seen(replace(state, state=after), frames, made, ended=False), made

    def finish(self, state: CheckState) -> tuple[CheckState | None, list[Frame]]:
        after, made = self.stage.finish(state.state)
        if after is not None and state.came:
            self._finite_state(after, state.came[-1].time)
        self._finite(made)
        watch = self._seen(replace(state, state=after), (), made, ended=True)
        return (None if after is None else watch), made

    def _finite_state(self, state: Any, time: Fraction) -> None:
        count = count_nonfinite(state) if "finite" in self.checks else 0
        if count:
            raise self._error("not finite", time, f"{count} numbers of its state are NaN or "
                              "infinite: what follows would be too")  # fmt: skip

    def _finite(self, made: Sequence[Frame]) -> None:
        for frame in made if "finite" in self.checks else ():
            count = count_nonfinite((frame.image, dict(frame.extras)))
            if count:
                raise self._error("not finite", frame.time / self.stretch,
                                  f"{count} numbers of its picture {frame.index} are NaN or "
                                  "infinite")  # fmt: skip

    def _error(self, kind: str, time: Fraction, what: str) -> BadOutput:
        return BadOutput(
            f"{self.name}, at {float(time):.3f} s of its input: {what}. Another dtype or smaller "
            "tiles may help; if the pictures are meant to be so, guard it without this check",
            kind,
            time,
        )

    # --- pictures against the input -----------------------------------------------------------

    def _seen(
        self, watch: CheckState, came: Sequence[Frame], made: Sequence[Frame], ended: bool
    ) -> CheckState:
        """What is remembered after these; judges every result that can be."""
        if not self.checks - {"finite"}:
            return watch
        inputs = (*watch.came, *(g for f in came if (g := luma_grid(f, f.time))))
        results = (g for f in made if (g := luma_grid(f, f.time / self.stretch)))
        waiting, judged = [*watch.waiting, *results], list(watch.judged)
        newest = inputs[-1].index if inputs else -1
        while waiting:
            at = _at(inputs, waiting[0].time)
            if at is None:  # longer ago than what is held: nothing can be said
                waiting.pop(0)
                continue
            if inputs[at].index + _AHEAD > newest and not ended:
                break
            one = waiting.pop(0)
            near = inputs[max(0, at - _BACK) : at + _AHEAD + 1]
            self._judge(one, near, judged)
            self._frozen(one, inputs, judged)
            judged = [*judged[1 - _HELD :], one]
        needed = _at(inputs, min(g.time for g in (*waiting[:1], *judged))) if judged else None
        drop = max(0, (needed or 0) - _BACK, len(inputs) - _MOST)
        return replace(watch, came=inputs[drop:], waiting=tuple(waiting), judged=tuple(judged))

    def _judge(self, one: LumaGrid, near: Sequence[LumaGrid], judged: Sequence[LumaGrid]) -> None:
        """One result, with the input around it and the results before it."""
        last = _at(near, _around(near, one.time)[-1].time) or 0
        contrast = min(g.contrast for g in near[max(0, last - 2) : last + 1])
        if "black" in self.checks and one.contrast < _BLANK and contrast > _SEEN:
            raise self._error("black", one.time, f"picture {one.index} is blank, at {one.level:.2f}"
                              f" of full brightness, and its input is not")  # fmt: skip
        if not judged:
            return
        before = judged[-1]
        if "flashing" in self.checks and before.time >= near[0].time:
            own, since = abs(one.level - before.level), _at(near, before.time) or 0
            levels = [g.level for g in near[max(0, since - 1) : last + 1]]
            if own > _FLASH + _BRIGHTER * (max(levels) - min(levels)):
                raise self._error("flashing", one.time, f"brightness jumps from {before.level:.2f} "
                                  f"to {one.level:.2f} of full scale at picture {one.index}, and "
                                  "that of its input does not")  # fmt: skip
        if "shuffled" in self.checks:
            self._shuffled(one, near, before)

    def _frozen(
        self, one: LumaGrid, inputs: Sequence[LumaGrid], judged: Sequence[LumaGrid]
    ) -> None:
        """Whether the last results show the same, and the input at their times does not."""
        enough = len(judged) >= _HELD - 1 and judged[0].time >= inputs[0].time
        if not enough or "frozen" not in self.checks:
            return
        own = max(difference(one, g) for g in judged)
        now = _around(inputs, one.time)[0]
        moved = max(difference(now, _around(inputs, g.time)[0]) for g in judged)
        if moved > _MOVED and own < _STILL * moved:
            raise self._error("frozen", judged[0].time, f"pictures {judged[0].index} to {one.index}"
                              " show the same, and its input moves")  # fmt: skip

    def _shuffled(self, one: LumaGrid, near: Sequence[LumaGrid], before: LumaGrid) -> None:
        """Whether a result surely shows an earlier picture of the input than the one before it."""
        if one.contrast < _BLANK:
            return
        own, last = ([normalized_difference(g, k) for k in near] for g in (one, before))
        shows, showed = (min(range(len(near)), key=far.__getitem__) for far in (own, last))
        if shows >= showed:
            return
        pairs = ((own[shows], min(own[shows + 1 :])), (last[showed], min(last[: shows + 1])))
        if all(best < _LIKER * rival and rival - best > _SURE for best, rival in pairs):
            raise self._error("shuffled", one.time, f"picture {one.index} shows its input at "
                              f"{float(near[shows].time):.3f} s, and the picture before it shows "
                              f"{float(near[showed].time):.3f} s")  # fmt: skip


def _at(inputs: Sequence[LumaGrid], time: Fraction) -> int | None:
    """The place of the input that is shown at that time; None if it is no longer held."""
    if not inputs or time < inputs[0].time:
        return None
    return next(i for i in reversed(range(len(inputs))) if inputs[i].time <= time)


def _around(near: Sequence[LumaGrid], time: Fraction) -> Sequence[LumaGrid]:
    """The input shown at that time, and the next one if the time lies between the two."""
    at = _at(near, time) or 0
    return near[at : at + 1 + (near[at].time < time)]


def check_outputs(
    stage: AnyStage, *, checks: Sequence[str] = CHECKS, stretch: Fraction | int = 1
) -> CheckedStage:
    """The stage, with BadOutput in place of results that can't be right; else nothing changes.

    "finite" looks at pictures and state before anything goes on; the others compare small grey
    pictures with those of the input, up to three input frames later, so are for stages that show
    what their input shows. `stretch`: the result's times are so many times the input's.
    """
    unknown = sorted(set(checks) - set(CHECKS))
    if unknown:
        raise BadSetting(f"checks are {', '.join(unknown)}: wanted some of {', '.join(CHECKS)}")
    if stretch <= 0:
        raise BadSetting(f"stretch is {stretch}: wanted more than 0")
    return CheckedStage(stage, frozenset(checks), Fraction(stretch))
