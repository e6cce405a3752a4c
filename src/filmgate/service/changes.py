"""Who waits for changes of jobs, and how they learn of them."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from time import monotonic


class Changes:
    """Tells threads and callbacks which jobs got events."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: dict[int, Callable[[str], None]] = {}
        self._waiting: dict[str, set[threading.Event]] = {}
        self._numbers = itertools.count()
        self._is_closed = False
        self.count = 0  # of changes so far

    def notify(self, job_id: str) -> None:
        """Wake those who wait for the job, and call the callbacks."""
        with self._lock:
            self.count += 1
            callbacks = tuple(self._callbacks.values())
            for waiting in self._waiting.get(job_id, ()):
                waiting.set()
        for callback in callbacks:
            callback(job_id)

    def subscribe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call `callback` at each change, until the function that is returned is called."""
        with self._lock:
            number = next(self._numbers)
            self._callbacks[number] = callback

        def unsubscribe() -> None:
            with self._lock:
                self._callbacks.pop(number, None)

        return unsubscribe

    def wait(self, job_id: str, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Return when `is_done`, asked at each change of the job; after `timeout_s`; if closed."""
        changed, end_s = threading.Event(), monotonic() + timeout_s
        with self._lock:
            self._waiting.setdefault(job_id, set()).add(changed)
        try:
            while not self._is_closed and not is_done() and (left_s := end_s - monotonic()) > 0:
                changed.wait(left_s)
                changed.clear()
        finally:
            with self._lock:
                self._waiting[job_id].discard(changed)
                if not self._waiting[job_id]:
                    del self._waiting[job_id]

    def close(self) -> None:
        """Let everyone who waits return."""
        with self._lock:
            self._is_closed = True
            for waiting in itertools.chain.from_iterable(self._waiting.values()):
                waiting.set()
