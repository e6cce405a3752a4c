"""Measure the phases of a run: seconds, CPU, memory, and bytes copied to and from devices."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field, replace
from threading import Event as ThreadEvent
from threading import Lock, Thread
from time import perf_counter, process_time, thread_time
from typing import Any, ParamSpec, TypeVar

from filmgate.core.events import Done, Event, Phase, Profiled, Progress, Started
from filmgate.core.instrumentation.memory import (
    get_loaded_cuda,
    list_used_devices,
    make_memory_meter,
)
from filmgate.core.instrumentation.phases import record_phases
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.plan import Plan
from filmgate.errors import FilmgateError
from filmgate.planning.costs import Costs

P = ParamSpec("P")
R = TypeVar("R")
Names = tuple[str, ...]  # of the phases around a phase, and its own
Span = Callable[[str, float, float, str], None]  # name, start, end, name of the outermost phase

_SAMPLE_S = 0.02  # between two samples of the memory of the process
_MAX_EARLY = 1000  # spans before a trace is open
_REPORT_S = 2.0  # between two reports of a run

_PATH: ContextVar[Names] = ContextVar("filmgate_phase", default=())
_COUNTS: ContextVar[bool] = ContextVar("filmgate_counts", default=False)


@dataclass
class _Total:
    """What a phase took so far."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    calls: int = 0
    frames: int = 0
    to_device: int = 0
    from_device: int = 0
    host_bytes: int = 0
    device_bytes: int = 0


class Profile:
    """A recorder of one run in this process; entered for as long as it lasts.

    The end of a phase waits for CUDA, so that each has its own seconds: the run may be slower, its
    results are the same.
    """

    def __init__(self) -> None:
        self.started = perf_counter()
        self._predicted: Mapping[str, float] = {}  # seconds of each source frame
        self._cpu_s, self._lock = process_time(), Lock()
        self._totals: dict[Names, _Total] = {}
        self._open: list[tuple[Names, float]] = []  # with their beginnings
        self._host_bytes, self._device_bytes = 0, 0
        self._span: Span | None = None
        self._early: list[tuple[str, float, float, str]] = []
        self._measure = make_memory_meter()
        self._ended = ThreadEvent()
        self._sampler = Thread(target=self._sample, name="profile", daemon=True)
        self._has_accelerator: bool | None = None

    def __enter__(self) -> Profile:
        self._sampler.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._sampler.join()

    def send_spans(self, span: Span | None) -> None:
        """Give every phase to `span` from now on, those that have ended at once."""
        self._span = span
        if span is not None:
            for early in self._early:
                span(*early)
            self._early.clear()

    def predict(self, costs: Costs, plan: Plan) -> None:
        """Take what a plan predicts for its parts, to be reported with what they took."""
        stages = zip(costs.stages, plan.batches or (1,) * len(costs.stages), strict=True)
        own = {stage.name: stage.seconds_per_frame(batch) for stage, batch in stages}
        self._predicted = {"decode": costs.decode_s, **own, "encode": costs.encode_s}

    def report(self, events: Iterable[Event]) -> Generator[Event, None, None]:
        """Yield the events of the run, and what was measured: before Done, and so far every two
        seconds and when it stops with an error or a signal. An error is raised again."""
        started: Started | None = None
        read, reported_s = 0, 0.0
        try:
            for event in events:
                if isinstance(event, Started):
                    started = event
                if isinstance(event, Started | Progress):
                    read = event.read
                if isinstance(event, Done) and started:
                    yield self.make_event(started, event.read)
                yield event
                if started and not isinstance(event, Done) and (
                    perf_counter() - reported_s >= _REPORT_S
                ):  # fmt: skip
                    yield self.make_event(started, read, final=False)
                    reported_s = perf_counter()
        except (FilmgateError, KeyboardInterrupt):
            if started:
                yield self.make_event(started, read, final=False)
            raise

    def make_clock(self, level: Callable[[str, int], None] | None = None) -> Clock:
        """Return a clock whose parts are the outermost phases, in whichever thread they run."""
        return _ProfiledClock(level=level, profile=self)

    def activate(self) -> AbstractContextManager[None]:
        """Measure phases in this thread inside the `with`."""
        return record_phases(self)

    @contextmanager
    def phase(self, name: str, frames: int) -> Iterator[None]:
        """See `phases.phase`."""
        path = (*_PATH.get(), name)
        with self._lock:
            total = self._totals.setdefault(path, _Total())
            self._open.append(opened := (path, perf_counter()))
        token, cuda = _PATH.set(path), self._open_device(path[:-1])
        start, cpu_s = perf_counter(), thread_time()
        try:
            with self._count_copies():
                yield
        finally:
            if cuda or (cuda := get_loaded_cuda()):
                self._close_device(cuda, path)
            end, cpu_s = perf_counter(), thread_time() - cpu_s
            _PATH.reset(token)
            if not total.host_bytes:  # it is shorter than the time between two samples
                self._observe(self._measure())
            with self._lock:
                self._open.remove(opened)
                total.seconds += end - start
                total.cpu_seconds += cpu_s
                total.calls += 1
                total.frames += frames
            self._add_span(name, start, end, path[0])

    def carry(self, fn: Callable[P, R]) -> Callable[P, R]:
        """See `phases.carry`."""
        context = copy_context()

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._make_counter():
                return fn(*args, **kwargs)

        return lambda *args, **kwargs: context.copy().run(call, *args, **kwargs)

    def make_event(self, started: Started, reached: int, *, final: bool = True) -> Profiled:
        """Return what was measured up to source frame `reached`: plan, load, decode, the stages in
        order, encode. Without `final` phases that are under way count until now."""
        now = perf_counter()
        seconds, read = now - self.started, reached - started.read
        self._observe(self._measure())
        order = ("plan", "load", "decode", *started.stages, "encode")
        phases = list[Phase]()
        with self._lock:
            under_way = dict.fromkeys(self._totals, 0.0)
            for path, start in self._open if not final else ():
                under_way[path] += now - start
            if ("decode",) in self._totals:
                self._totals[("decode",)].frames = read
            for name in order:
                if (name,) in self._totals:
                    phases += self._list_phases((name,), read)
        added = (replace(one, seconds=one.seconds + under_way[one.name]) for one in phases)
        return Profiled(
            tuple(added), seconds, process_time() - self._cpu_s, self._host_bytes,
            self._device_bytes, read, started.read, final,
        )  # fmt: skip

    def _list_phases(self, path: Names, read: int) -> Iterator[Phase]:
        """Yield a phase, and behind it those inside of it in the order in which they came."""
        total = self._totals[path]
        each = self._predicted.get(path[0]) if len(path) == 1 else None
        yield Phase(
            path, total.seconds, total.cpu_seconds, total.calls, total.frames, total.to_device,
            total.from_device, total.host_bytes, total.device_bytes,
            None if each is None else each * read,
        )  # fmt: skip
        for other in self._totals:
            if other[:-1] == path:
                yield from self._list_phases(other, read)

    def _add_span(self, name: str, start: float, end: float, track: str) -> None:
        if self._span is not None:
            self._span(name, start, end, track)
        elif len(self._early) < _MAX_EARLY:
            self._early.append((name, start, end, track))

    # --- copies -----------------------------------------------------------------------------------

    def _count_copies(self) -> AbstractContextManager[object]:
        """Return a `with` that counts this thread's copies, if nothing around it does."""
        if _COUNTS.get() or not self._find_accelerator():
            return nullcontext()
        return self._make_counter()

    @contextmanager
    def _make_counter(self) -> Iterator[None]:
        if not self._find_accelerator():
            yield
            return
        from filmgate.device.copy_counter import CopyCounter

        token = _COUNTS.set(True)
        try:
            with CopyCounter(self._add_copy):
                yield
        finally:
            _COUNTS.reset(token)

    def _add_copy(self, to_device: int, from_device: int) -> None:
        path = _PATH.get()
        with self._lock:
            for length in range(1, len(path) + 1):
                total = self._totals[path[:length]]
                total.to_device += to_device
                total.from_device += from_device

    def _find_accelerator(self) -> bool:
        """Return whether torch is loaded and can use another device than the CPU."""
        torch: Any = sys.modules.get("torch")
        if self._has_accelerator is None and hasattr(torch, "backends"):
            self._has_accelerator = bool(
                torch.cuda.is_available() or torch.backends.mps.is_available()
            )
        return bool(self._has_accelerator)

    # --- memory -----------------------------------------------------------------------------------

    def _sample(self) -> None:
        while not self._ended.wait(_SAMPLE_S):
            self._observe(self._measure())

    def _observe(self, host_bytes: int) -> None:
        """Take note of the memory of the process, which belongs to all open phases."""
        self._host_bytes = max(self._host_bytes, host_bytes)
        with self._lock:
            for path, _ in self._open:
                total = self._totals[path]
                total.host_bytes = max(total.host_bytes, host_bytes)

    def _open_device(self, parent: Names) -> Any:
        """Return torch.cuda if it is in use; what it held until now belongs to the parent."""
        cuda = get_loaded_cuda()
        if cuda:
            self._close_device(cuda, parent)
        return cuda

    def _close_device(self, cuda: Any, path: Names) -> None:
        """Wait for the devices; what they held since the last call belongs to `path`."""
        held = 0
        for device in list_used_devices(cuda):
            cuda.synchronize(device)
            held += cuda.max_memory_allocated(device)
            cuda.reset_peak_memory_stats(device)
        self._device_bytes = max(self._device_bytes, held)
        with self._lock:
            for length in range(1, len(path) + 1):
                total = self._totals[path[:length]]
                total.device_bytes = max(total.device_bytes, held)


@dataclass
class _ProfiledClock(Clock):
    profile: Profile = field(default_factory=Profile)

    @contextmanager
    def busy(self, name: str, frames: int = 0) -> Iterator[None]:
        with self.profile.activate(), super().busy(name, frames):
            yield
