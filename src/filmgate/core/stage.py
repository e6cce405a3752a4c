"""The stage protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from inspect import signature
from types import FunctionType, MappingProxyType
from typing import Any, Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.errors import StageContractError

S = TypeVar("S")

# What is wrong with methods that are called with a number of arguments. Every chain asks, and
# reading a signature is slow.
_METHOD_FAULTS: WeakKeyDictionary[FunctionType, dict[int, str | None]] = WeakKeyDictionary()
# Methods of a stage, with the number of arguments that each is called with.
_METHODS = MappingProxyType({"reach": 1, "output": 1, "start": 2, "step": 2, "finish": 1})


@dataclass(frozen=True, slots=True)
class Reach:
    """Seconds of past and future input that one output needs; None if there is no known bound."""

    past: Fraction | None = Fraction(0)
    future: Fraction | None = Fraction(0)

    def __add__(self, other: "Reach") -> "Reach":
        """Return the reach of two stages in a row."""
        return Reach(_add(self.past, other.past), _add(self.future, other.future))


def _add(a: Fraction | None, b: Fraction | None) -> Fraction | None:
    return None if a is None or b is None else a + b


def frames_to_seconds(count: int, spec: StreamSpec) -> Fraction | None:
    """Return the duration of `count` frames; None if the rate varies and `count` is not 0."""
    if not count:
        return Fraction(0)
    return None if spec.rate is None else count / spec.rate


@runtime_checkable
class Stage(Protocol[S]):
    """One step of a chain: frames in, frames out, all memory of the stream in the state S.

    The stage holds weights and settings and is never modified. S is a plain, bounded value (see
    core/serialization.py) that is passed to `step` and returned from it, never changed in place.
    The adapters `each`, `windowed` and `blocks` make a stage from a pure function.
    """

    @property
    def name(self) -> str:
        """The name shown in plans, traces and errors."""
        ...

    def reach(self, spec: StreamSpec) -> Reach:
        """Return how much past and future one output needs, for the input stream `spec`."""
        ...

    def output(self, spec: StreamSpec) -> StreamSpec:
        """Return the format of the output, before the first frame: size, rate, pixel format."""
        ...

    def start(self, spec: StreamSpec, first: Position) -> S:
        """Return the state before the first frame, which is at `first`."""
        ...

    def step(self, state: S, frames: Sequence[Frame]) -> tuple[S, list[Frame]]:
        """Process the next frames; return the new state and the frames that are ready.

        A step that raises has no effect: the same state can be used again.
        """
        ...

    def finish(self, state: S) -> tuple[S | None, list[Frame]]:
        """Return frames that remain at the end; called again until the state is None."""
        ...


AnyStage = Stage[Any]


# --- work before the first frame ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Preview:
    """A small image of unfinished work: `rgb` has 3 bytes for each of width x height pixels."""

    width: int
    height: int
    rgb: bytes


@dataclass(frozen=True, slots=True)
class Preparation:
    """The state of a stage after one move of its preparation: move `done` of `total`.

    `what` names such a move ("step"), `stage` the stage. `notice`: what the user should know.
    `next_s`: seconds that the next move will take, predicted; 0 if unknown.
    """

    state: Any
    done: int
    total: int
    what: str
    notice: str = ""
    next_s: float = 0.0
    preview: Preview | None = None
    stage: str = ""


@runtime_checkable
class PreparingStage(Protocol):
    """A stage that works before its first frame, such as one that denoises all frames at once.

    A run calls `prepare` before the first frame, and again when it is resumed, until it returns
    None. States that differ from the one before are stored, so a stopped run repeats at most a
    move. A `step` that comes too early makes the remaining moves by itself.
    """

    @property
    def prepares(self) -> bool:
        """Whether there may be such work; a wrapper answers for the stage inside."""
        ...

    def prepare(self, state: Any) -> Preparation | None:
        """Make the next move; None: nothing is left to do. One that raises has no effect."""
        ...


def can_prepare(stage: object) -> bool:
    """Return whether a stage may have work before its first frame."""
    return isinstance(stage, PreparingStage) and stage.prepares


def prepare_stage(stage: object, state: Any) -> Preparation | None:
    """Return what the next move of a stage's preparation makes of its state, None if none is left.

    Most stages have none.
    """
    return stage.prepare(state) if isinstance(stage, PreparingStage) else None


# --- wrappers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StageWrapper:
    """A stage that forwards everything to another one. Subclasses override what they change."""

    stage: AnyStage

    @property
    def name(self) -> str:
        return self.stage.name

    def reach(self, spec: StreamSpec) -> Reach:
        return self.stage.reach(spec)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.stage.output(spec)

    def start(self, spec: StreamSpec, first: Position) -> Any:
        return self.stage.start(spec, first)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        return self.stage.step(state, frames)

    def finish(self, state: Any) -> tuple[Any, list[Frame]]:
        return self.stage.finish(state)

    @property
    def prepares(self) -> bool:
        return can_prepare(self.stage)

    def prepare(self, state: Any) -> Preparation | None:
        return prepare_stage(self.stage, state)


# --- values that are no stage ---------------------------------------------------------------------


def require_stage(stage: object) -> None:
    """Raise StageContractError, with the members that are missing, if this is not a stage."""
    what = explain_fault(stage, "stage", "name", _METHODS)
    if what is not None:
        raise StageContractError(f"{what}. The adapters each, windowed and blocks make a stage "
                                 "from a function of frames")  # fmt: skip


def require_stages(stages: object, task: object) -> None:
    """Raise StageContractError if `task` returned something else than a sequence of stages."""
    if not isinstance(stages, tuple | list):
        raise StageContractError(
            f"{type(task).__name__}.stages returned {type(stages).__name__}, wanted a tuple of "
            "stages: return (stage,) for one, () for none"
        )


def explain_fault(
    value: object, kind: str, attribute: str, methods: Mapping[str, int]
) -> str | None:
    """Return why a value is no `kind`: missing members, methods of other arguments; None if it is.

    `methods` have the number of arguments that each is called with.
    """
    if (what := _describe(value, kind)) is not None:
        return what
    name = type(value).__name__
    missing = [member for member in (attribute, *methods) if not hasattr(value, member)]
    if missing:
        return (f"{name} is no {kind}: it has no {' and no '.join(missing)}, wanted "
                f"{', '.join([attribute, *methods])}")  # fmt: skip
    for method, count in methods.items():
        fault = _find_signature_fault(getattr(value, method), count)
        if fault is not None:
            return f"{name}.{method} {fault}"
    return None


def _describe(value: object, kind: str) -> str | None:
    """Return what is wrong with a class or a function in place of a stage or a task."""
    if isinstance(value, type):
        return f"{value.__name__} is a class, wanted a {kind}: pass {value.__name__}(...)"
    if callable(value) and hasattr(value, "__code__"):
        name = getattr(value, "__name__", "it")
        advice = f"each({name})" if kind == "stage" else f"a task that has each({name}) as a stage"
        return f"{name} is a function, wanted a {kind}: pass {advice}"
    return None


def _find_signature_fault(method: object, count: int) -> str | None:
    if not callable(method):
        return f"is {method!r:.40}, wanted a method"
    function = getattr(method, "__func__", None)
    if not isinstance(function, FunctionType):
        return _find_call_fault(method, count)
    faults = _METHOD_FAULTS.setdefault(function, {})
    if count not in faults:
        faults[count] = _find_call_fault(method, count)
    return faults[count]


def _find_call_fault(method: Callable[..., object], count: int) -> str | None:
    try:
        found = signature(method)
    except ValueError:  # of C, which has none
        return None
    try:
        found.bind(*[None] * count)
    except TypeError:
        return f"takes {found}, wanted a method that is called with {count} arguments"
    return None
