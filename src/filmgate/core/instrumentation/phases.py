"""Phases: named parts of a run, also inside stages, which are measured if a profile asks for it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Recorder(Protocol):
    """Measures phases; `phase` and `carry` below are passed on to it."""

    def phase(self, name: str, frames: int) -> AbstractContextManager[None]: ...

    def carry(self, fn: Callable[P, R]) -> Callable[P, R]: ...


_RECORDER: ContextVar[Recorder | None] = ContextVar("filmgate_recorder", default=None)
_NOTHING = nullcontext()


def phase(name: str, frames: int = 0) -> AbstractContextManager[None]:
    """Measure the `with` as a phase of the one around it; it is about so many frames.

    Without a profile it does nothing. Not around a `yield`: the phase belongs to this thread.
    """
    recorder = _RECORDER.get()
    return _NOTHING if recorder is None else recorder.phase(name, frames)


def carry(fn: Callable[P, R]) -> Callable[P, R]:
    """Return `fn` for another thread: what it copies counts in the phase that is open here."""
    recorder = _RECORDER.get()
    return fn if recorder is None else recorder.carry(fn)


@contextmanager
def record_phases(recorder: Recorder | None) -> Iterator[None]:
    """Let `recorder` measure the phases of this thread inside the `with`; None changes nothing."""
    if recorder is None:
        yield
        return
    token = _RECORDER.set(recorder)
    try:
        yield
    finally:
        _RECORDER.reset(token)
