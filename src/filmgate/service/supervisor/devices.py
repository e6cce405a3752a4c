"""Which devices the service uses, and how much memory each has."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filmgate.backends.spawn import Workers
from filmgate.core.instrumentation.memory import measure_total_memory
from filmgate.errors import BadSetting
from filmgate.service.settings import ServiceSettings
from filmgate.service.worker.planning import list_devices
from filmgate.units import parse_bytes

_PROBE_S = 60.0  # for torch to be imported and to look at the GPUs


@dataclass(frozen=True, slots=True)
class UsedDevice:
    """A device of the service. `visible_gpus`: what its workers see of CUDA."""

    name: str
    budget_bytes: int
    visible_gpus: str


def find_devices(settings: ServiceSettings) -> tuple[UsedDevice, ...]:
    """Return the devices that the settings name. Raises BadSetting if one does not exist.

    torch is asked in a child process, and only if there may be a GPU.
    """
    if settings.devices == ("cpu",) or (settings.devices == ("auto",) and not _may_have_gpu()):
        return (UsedDevice("cpu", 0, ""),)
    found = dict(_ask_torch())
    names: list[str] = []
    for name in settings.devices:
        name = "cuda:0" if name == "cuda" else name
        if name == "auto":
            names += found or ["cpu"]
        elif name == "cpu" or name in found:
            names.append(name)
        else:
            raise BadSetting(f"devices has {name}, and this machine has "
                             f"{', '.join(found) or 'no GPU'}: pass auto")  # fmt: skip
    budget = parse_bytes(settings.vram) if settings.vram else None
    return tuple(
        UsedDevice(
            name, 0 if name == "cpu" else min(budget or found[name], found[name]),
            _find_visible(name),
        )
        for name in dict.fromkeys(names)
    )  # fmt: skip


def _find_visible(name: str) -> str:
    """Return what CUDA_VISIBLE_DEVICES has to be for a worker of this device."""
    if not name.startswith("cuda:"):
        return ""
    number = name.removeprefix("cuda:")
    ours = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return ours.split(",")[int(number)].strip() if ours else number


def find_host_budget(settings: ServiceSettings) -> int:
    """Return the RAM for all jobs, in bytes."""
    total = measure_total_memory()
    return min(parse_bytes(settings.ram), total) if settings.ram else total


def _may_have_gpu() -> bool:
    """Return whether there may be a GPU, without loading a library that would know."""
    places = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    return not sys.platform.startswith("linux") or any(Path(place).exists() for place in places)


def _ask_torch() -> Sequence[tuple[str, int]]:
    child = Workers().take()
    try:
        child.control.send((list_devices,))
        with suppress(EOFError, OSError):
            if child.messages.poll(_PROBE_S):
                answer: Any = child.messages.recv()
                return [(str(name), int(size)) for name, size in answer]
    finally:
        child.close()
    return []
