"""When a worker is replaced for what it holds: limits, leaks, and what is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from filmgate.service.supervisor.orphans import end_orphans, remember_processes
from filmgate.service.supervisor.recycling import explain_recycling, is_near_limit, measure_growth

MB = 1_000_000


def test_worker_above_its_limit_is_replaced() -> None:
    assert explain_recycling([300 * MB, 901 * MB], 900 * MB).startswith("it holds 901")
    assert explain_recycling([300 * MB, 899 * MB], 900 * MB) == ""
    assert is_near_limit([300 * MB, 770 * MB], 900 * MB)
    assert not is_near_limit([300 * MB, 760 * MB], 900 * MB)
    assert not is_near_limit([], 900 * MB)


def test_leak_is_found_by_its_slope() -> None:
    leak = [300 * MB + 10 * MB * job for job in range(30)]
    assert "grows by 10" in explain_recycling(leak, 10_000 * MB)
    assert explain_recycling(leak[:10], 10_000 * MB) == "", "too few jobs to tell"


@pytest.mark.parametrize(
    "held",
    [
        [300 * MB] * 30,
        [300 * MB] * 10 + [900 * MB] * 20,  # a network was loaded, and stays
        [(300 + 50 * (job % 2)) * MB for job in range(40)],
        [300 * MB + MB * job for job in range(40)],  # it grows, but hardly
    ],
)
def test_what_is_no_leak_stays(held: list[int]) -> None:
    assert explain_recycling(held, 10_000 * MB) == ""


def test_growth_is_that_of_most_pairs() -> None:
    assert measure_growth([0, 2, 4, 100, 8, 10]) == 2.0
    assert measure_growth([5]) == 0.0


def test_only_the_same_process_is_ended(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "input()"]
    child = subprocess.Popen(words, stdin=subprocess.PIPE)
    other = subprocess.Popen(words, stdin=subprocess.PIPE)
    try:
        remember_processes(tmp_path, [child.pid, other.pid])
        path = tmp_path / "workers.json"
        entries = json.loads(path.read_text())
        entries[1]["started"] -= 100.0  # the number was another process's then
        path.write_text(json.dumps(entries))
        assert end_orphans(tmp_path) == 1
        assert not psutil.pid_exists(child.pid)
        assert psutil.pid_exists(other.pid)
    finally:
        for process in (child, other):
            process.kill()
            process.communicate()


@pytest.mark.parametrize(
    "text", ["", "[", "{}", "[1]", '[{"pid": 1}]', '[{"pid": "x", "started": 0}]', "[" * 5000]
)
def test_damaged_list_of_processes_ends_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "workers.json").write_text(text)
    assert end_orphans(tmp_path) == 0
