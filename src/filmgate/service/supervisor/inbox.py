"""The messages of all workers, read by a thread for each: one that stops half-way delays none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import Pipe
from queue import Empty, SimpleQueue

from filmgate.backends.text_pipe import Connection
from filmgate.service.supervisor.worker_handle import WorkerHandle


class Inbox:
    """Collects messages; `bell` is readable when there may be some."""

    def __init__(self) -> None:
        self.bell, self._ringer = Pipe(duplex=False)
        self._messages: SimpleQueue[tuple[WorkerHandle, object]] = SimpleQueue()
        self._lock, self._is_rung = threading.Lock(), False

    def listen(self, worker: WorkerHandle) -> None:
        """Collect the messages of a worker until its end, which sets `has_ended`."""
        worker.reader = threading.Thread(
            target=self._read, args=(worker,), name=f"reader {worker.name}", daemon=True
        )
        worker.reader.start()

    def wake(self) -> None:
        """Make `bell` readable."""
        with self._lock, suppress(OSError):
            if not self._is_rung:
                self._is_rung = True
                self._ringer.send_bytes(b"!")

    def clear(self) -> None:
        """Make `bell` unreadable, until the next message."""
        with self._lock:
            if self._is_rung:
                self.bell.recv_bytes()
                self._is_rung = False

    def take(self) -> Iterator[tuple[WorkerHandle, object]]:
        """Yield the messages so far, with their workers."""
        with suppress(Empty):
            while True:
                yield self._messages.get_nowait()

    def close(self) -> None:
        """Close the bell."""
        with self._lock:
            self._is_rung = True
            self._ringer.close()
            self.bell.close()

    def _read(self, worker: WorkerHandle) -> None:
        pipe: Connection = worker.child.messages
        with suppress(EOFError, OSError):  # also if it died in the middle of a message
            while True:
                self._messages.put((worker, pipe.recv()))
                self.wake()
        worker.has_ended = True
        self.wake()
