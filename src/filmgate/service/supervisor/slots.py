"""Places for workers on devices."""

from __future__ import annotations

import random
from time import monotonic

from filmgate.jobs.queue.backoff import compute_backoff_s
from filmgate.service.supervisor.devices import UsedDevice
from filmgate.service.supervisor.worker_handle import WorkerHandle
from filmgate.service.views import WorkerView

_MAX_STARTS = 5  # that fail in a row, after which readiness says so


class WorkerSlot:
    """A place for a worker on a device, and why it has none."""

    def __init__(self, name: str, device: UsedDevice) -> None:
        self.name, self.device = name, device
        self.worker: WorkerHandle | None = None
        self.failures = 0
        self.due_s = 0.0
        self.message = ""

    def fail(self, message: str) -> None:
        """Take note of a worker that did not start; the next one comes later."""
        self.failures += 1
        self.message = message
        self.due_s = monotonic() + compute_backoff_s(self.failures, random.uniform)

    def view(self) -> WorkerView:
        """Return its worker as clients see it."""
        if self.worker is not None:
            return self.worker.view()
        state = "failed" if self.failures >= _MAX_STARTS else "starting"
        return WorkerView(self.name, self.device.name, state, None, None, 0, 0, self.message)
