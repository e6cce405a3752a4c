"""Processes that a server which was killed has left behind, and that did not end by themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filmgate.storage.atomic import write_atomic

_NAME = "workers.json"
_MAX_BYTES, _MAX_WORKERS = 1 << 16, 1000
_SAME_S = 1.0  # by which the start of the same process may differ between two readings


def remember_processes(folder: Path, pids: Iterable[int]) -> None:
    """Write which processes run now, so that a later server finds those that still do."""
    import psutil

    found = []
    for pid in pids:
        with suppress(psutil.Error):
            found.append({"pid": pid, "started": psutil.Process(pid).create_time()})
    with suppress(OSError):  # a full disk: they end by themselves, as a rule
        write_atomic(folder / _NAME, json.dumps(found).encode())


def end_orphans(folder: Path) -> int:
    """Kill the processes of an earlier server that still run; return how many there were.

    A process is only killed if it started when that one did: its number may be another's now.
    """
    import psutil

    processes = []
    for entry in _read(folder / _NAME):
        with suppress(psutil.Error, TypeError, ValueError):
            process = psutil.Process(int(entry["pid"]))
            if abs(process.create_time() - float(entry["started"])) < _SAME_S:
                process.kill()
                processes.append(process)
    psutil.wait_procs(processes, 5)
    return len(processes)


def _read(path: Path) -> list[Mapping[str, Any]]:
    """Return the list in the file; [] if it is no such file."""
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= _MAX_BYTES:
            value = json.loads(path.read_bytes())
            if isinstance(value, list) and len(value) <= _MAX_WORKERS:
                return [one for one in value if isinstance(one, dict)
                        and one.keys() == {"pid", "started"}]  # fmt: skip
    return []
