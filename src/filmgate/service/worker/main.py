"""The main function of a worker process: load pins, then run one job after another."""

from __future__ import annotations

import faulthandler
import gc
import os
import sys
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from filmgate.backends.spawn import SHOW_STACKS, STOP
from filmgate.core.instrumentation.memory import (
    make_memory_meter,
    release_cached_memory,
    trim_heap,
)
from filmgate.service.worker.messages import (
    CancelJob,
    DropNetworks,
    End,
    Failed,
    GiveBack,
    Idle,
    Message,
    RunJob,
    WorkerSetup,
)
from filmgate.service.worker.process_limits import prefer_as_victim

if TYPE_CHECKING:
    from filmgate.backends.text_pipe import Connection
    from filmgate.jobs.queue.values import Lease
    from filmgate.service.worker.job_run import Orders
    from filmgate.service.worker.warm_models import WarmModels

_LAST_S = 0.5  # for a step to end after the server is gone


class Channel:
    """The pipes of a worker: messages from any thread, and orders as they come."""

    def __init__(self, sender: Connection, receiver: Connection, stacks: int) -> None:
        self._sender, self._receiver, self._stacks = sender, receiver, stacks
        self._sending = threading.Lock()
        self._orders: dict[Lease, Orders] = {}
        self._lock = threading.Lock()
        self.jobs: SimpleQueue[RunJob | DropNetworks | End] = SimpleQueue()
        self._ends = False

    def send(self, message: Message) -> None:
        """Send a message; if the server is gone, this process ends soon."""
        if isinstance(message, Failed):
            self._ends = self._ends or message.ends
        with self._sending, suppress(OSError):
            self._sender.send(message)

    @property
    def ends(self) -> bool:
        """Whether the process is to end, as its state is not trusted."""
        return self._ends

    def find_orders(self, lease: Lease) -> Orders:
        """Return what was and will be asked of the job with this lease."""
        from filmgate.service.worker.job_run import Orders

        with self._lock:
            return self._orders.setdefault(lease, Orders())

    def forget(self, lease: Lease) -> None:
        """Forget the orders of a job that has ended."""
        with self._lock:
            self._orders.pop(lease, None)

    def listen(self) -> None:
        """Take orders until the server is gone, then end this process: for a thread of its own."""
        with suppress(EOFError, OSError):
            while True:
                order = self._receiver.recv()
                if order == SHOW_STACKS:
                    faulthandler.dump_traceback(self._stacks)
                elif isinstance(order, CancelJob):
                    self.find_orders(order.lease).cancel = True
                elif isinstance(order, GiveBack):
                    self.find_orders(order.lease).give_back = True
                elif isinstance(order, RunJob | DropNetworks | End):
                    self.jobs.put(order)
                elif order == STOP:
                    self.jobs.put(End())
        threading.Event().wait(_LAST_S)
        os._exit(1)


def work(setup: WorkerSetup, sender: Connection, receiver: Connection, stacks: int) -> None:
    """Run jobs until the server ends this process."""
    if setup.visible_gpus is not None:  # before torch is imported
        os.environ["CUDA_VISIBLE_DEVICES"] = setup.visible_gpus
    prefer_as_victim(500)
    channel = Channel(sender, receiver, stacks)
    threading.Thread(target=channel.listen, name="orders", daemon=True).start()
    from filmgate.service.worker.job_run import JobRun
    from filmgate.service.worker.start_up import load_pins, try_device
    from filmgate.service.worker.warm_models import WarmModels, reset_device_peak

    models = WarmModels()
    try_device(setup.device)
    warnings = load_pins(setup.pins, models)
    has_own_memory = setup.device_bytes > 0  # where networks are, and not in RAM
    _report_idle(channel, models, has_own_memory, warnings)
    while isinstance(order := channel.jobs.get(), RunJob | DropNetworks):
        if isinstance(order, DropNetworks):
            models.drop_bytes(order.size_bytes)
            _report_idle(channel, models, has_own_memory, is_after_job=False)
            continue
        if has_own_memory:
            models.release(max(0, setup.device_bytes - order.demand.device_bytes))
            models.begin_job()
        reset_device_peak()
        JobRun(order, channel.send, models, channel.find_orders(order.lease)).run()
        channel.forget(order.lease)
        if channel.ends:
            break
        _report_idle(channel, models, has_own_memory)
    sys.stdout.flush()
    sys.stderr.flush()


def _report_idle(
    channel: Channel, models: WarmModels, has_own_memory: bool, warnings: tuple[str, ...] = (), *,
    is_after_job: bool = True,
) -> None:  # fmt: skip
    """Free what can be freed, and report what is held nevertheless."""
    from filmgate.service.worker.warm_models import measure_device_bytes

    gc.collect()
    release_cached_memory()
    trim_heap()
    channel.send(Idle(
        resident_bytes=make_memory_meter()(), device_bytes=measure_device_bytes(),
        pins=dict(models.pins), warnings=warnings, is_after_job=is_after_job,
        network_bytes=0 if has_own_memory else models.count_bytes(),
    ))  # fmt: skip
