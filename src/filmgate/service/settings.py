"""What whoever runs a service may set."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from filmgate.errors import BadSetting
from filmgate.service.telemetry.traces import find_endpoint
from filmgate.units import parse_bytes

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
MAX_WORKERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """How a service runs; each field is a flag. Raises BadSetting for values out of bounds."""

    folder: Path
    """Folder of the service: its queue, uploads, results, keys and logs."""

    devices: tuple[str, ...] = ("auto",)
    """Devices that jobs run on: auto (each GPU, or the CPU), cpu, cuda:0, mps."""

    workers: int = 1
    """Worker processes for each device."""

    ram: str | None = None
    """RAM for all jobs together: 16GB. Default: that of the machine."""

    vram: str | None = None
    """Memory for jobs on each GPU: 20GB. Default: that of the GPU."""

    pin: tuple[str, ...] = ()
    """Tasks whose networks each worker loads at its start and keeps: upscale, upscale:diffvsr."""

    keep_samples: bool = False
    """Keep the first, middle and last frame in and out of each job, next to its result."""

    max_waiting: int = 10_000
    """Jobs that may wait at once."""

    max_waiting_per_key: int = 2_000
    """Jobs of one key that may wait at once."""

    keep_finished_s: float = 7 * 86_400.0
    """Seconds for which a finished job and its result are kept."""

    loading_s: float = 1800.0
    """Seconds without progress after which a worker that loads is killed."""

    step_s: float = 60.0
    """Seconds without progress after which a worker that computes is killed."""

    cancel_s: float = 5.0
    """Seconds after which the worker of a cancelled job is killed if it has not stopped."""

    plan_s: float = 60.0
    """Seconds that predicting the memory of a job may take."""

    recycle_percent: int = 90
    """A worker is replaced when it holds so much of the RAM between jobs."""

    traces: str | None = None
    """Address of a collector that gets traces by OTLP over HTTP: http://127.0.0.1:4318. Default:
    nothing is traced."""

    def __post_init__(self) -> None:
        if not self.devices or any(not _DEVICE.fullmatch(name) for name in self.devices):
            raise BadSetting(f"devices is {', '.join(self.devices) or 'empty'}: pass auto, cpu, "
                             "cuda:0 or mps")  # fmt: skip
        if len(set(self.devices)) < len(self.devices):
            raise BadSetting(f"devices is {', '.join(self.devices)}: name each device once")
        _check("workers", self.workers, 1, MAX_WORKERS)
        _check("max_waiting", self.max_waiting, 1, 1_000_000)
        _check("max_waiting_per_key", self.max_waiting_per_key, 1, 1_000_000)
        _check("recycle_percent", self.recycle_percent, 10, 100)
        for name in ("loading_s", "step_s", "cancel_s", "plan_s"):
            _check(name, getattr(self, name), 0.05, 86_400)
        _check("keep_finished_s", self.keep_finished_s, 1, 10 * 366 * 86_400)
        for size in filter(None, (self.ram, self.vram)):
            parse_bytes(size)
        if self.traces is not None:
            find_endpoint(self.traces)

    @property
    def queue_path(self) -> Path:
        """The database of the queue."""
        return self.folder / "queue.db"

    @property
    def uploads(self) -> Path:
        """The folder of uploaded files."""
        return self.folder / "uploads"

    @property
    def logs(self) -> Path:
        """The folder of the service's logs."""
        return self.folder / "logs"


def find_default_folder() -> Path:
    """Return the folder that FILMGATE_SERVE names. Default: ~/.local/share/filmgate/serve."""
    name = os.environ.get("FILMGATE_SERVE")
    return Path(name) if name else Path.home() / ".local" / "share" / "filmgate" / "serve"


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadSetting(f"{name} is {value}: pass {low} to {high}")
