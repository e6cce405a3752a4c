"""The startup bench: medians and ratios of processes, each with its own peak memory."""

import sys
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import startup

    return startup


@pytest.mark.slow
def test_ratios_are_to_the_first_command_and_peaks_are_of_each_command(bench: Any) -> None:
    small = [sys.executable, "-c", "print('noise on standard output')"]
    large = [sys.executable, "-c", "x = bytes(range(256)) * 400_000; import time; time.sleep(0.1)"]
    rows = bench.measure({"small": small, "large": large}, 2)
    assert rows["small"]["ratio"] == 1
    assert rows["large"]["seconds"] >= 0.1
    assert rows["large"]["ratio"] == pytest.approx(
        rows["large"]["seconds"] / rows["small"]["seconds"]
    )
    assert rows["small"]["peak_mb"] < 60 < 100 < rows["large"]["peak_mb"]


def test_command_that_fails_ends_the_bench(bench: Any) -> None:
    with pytest.raises(CalledProcessError):
        bench.run_once([sys.executable, "-c", "raise SystemExit(3)"])
