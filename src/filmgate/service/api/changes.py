"""Wait for changes of jobs without a thread for each client that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filmgate.service.job_service import JobService


class JobChanges:
    """Wakes the requests that wait for a job, in the loop of the server."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: Callable[[], None] = _do_nothing
        self.is_closed = False

    def open(self) -> None:
        """Begin; called in the loop."""
        self._loop = asyncio.get_running_loop()
        self._end = self._service.subscribe(self._report)

    def close(self) -> None:
        """Wake everybody for the last time; streams end."""
        self.is_closed = True
        self._end()
        for events in self._waiting.values():
            for event in events:
                event.set()

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """Yield what is set at each change of a job from now on; whoever waits clears it."""
        event = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(event)
        if self.is_closed:
            event.set()
        try:
            yield event
        finally:
            events = self._waiting[job_id]
            events.discard(event)
            if not events:
                del self._waiting[job_id]

    def _report(self, job_id: str) -> None:
        """Called by any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake, job_id)

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()


def _do_nothing() -> None:
    pass
