"""Measurements of memory."""

import subprocess
import sys

import numpy as np
import psutil
import pytest

from filmgate.core.instrumentation.memory import (
    make_memory_meter,
    measure_available_memory,
    measure_peak,
    measure_total_memory,
)

MB = 10**6


def test_a_peak_is_measured_after_the_memory_is_freed() -> None:
    with measure_peak() as peak:
        held = np.ones(40 * MB, np.uint8)
        del held
    assert 39 * MB < peak.bytes < 60 * MB


def test_memory_freed_before_is_not_reused_unmeasured() -> None:
    """In its own process, since memory of other tests affects the measurement."""
    script = """
import numpy as np
from filmgate.core.instrumentation.memory import measure_peak
pieces = [np.ones(100_000, np.uint8) for _ in range(200)]  # small: they come from the heap
del pieces
with measure_peak() as peak:
    pieces = [np.ones(100_000, np.uint8) for _ in range(200)]
assert 15_000_000 < peak.bytes < 30_000_000, peak
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_peak_is_sampled_if_the_system_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filmgate.core.instrumentation.memory._reset_peak", lambda: False)
    with measure_peak() as peak:
        held = np.ones(40 * MB, np.uint8)
    assert peak.bytes > 39 * MB
    assert held.nbytes == 40 * MB


def test_available_and_resident_memory_are_measured() -> None:
    assert measure_available_memory() > MB
    resident = psutil.Process().memory_info().rss  # on Linux it is read without psutil
    assert make_memory_meter()() == pytest.approx(resident, rel=0.1)
    assert 0 < measure_total_memory() <= psutil.virtual_memory().total
