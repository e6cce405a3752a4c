"""Runs that take less memory than before, and give the same result."""

from __future__ import annotations

from pathlib import Path

import pytest

from filmgate.core.plan import Plan
from filmgate.jobs.run_directory import RunDirectory
from filmgate.jobs.stored_run import read_stored_plan, write_stored_plan
from filmgate.service.worker.reduced_plan import reduce_run

PLAN = Plan(chunk=8, segment_frames=48, queue_bytes=1 << 20, batches=(4,))


def test_run_that_has_not_started_gets_smaller_settings(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert reduce_run(directory, None, is_started=False) is None
    reduced = reduce_run(directory, PLAN, is_started=False)
    assert reduced == Plan(chunk=1, segment_frames=48, queue_bytes=1, batches=(4,))


@pytest.mark.parametrize("is_started", [False, True])
def test_run_keeps_smaller_settings_only_if_it_goes_on(tmp_path: Path, is_started: bool) -> None:
    directory = RunDirectory(tmp_path)
    write_stored_plan(directory, PLAN, 96)
    reduced = reduce_run(directory, None, is_started=is_started)
    assert reduced is not None
    assert (reduced.chunk, reduced.segment_frames) == (1, 48)
    stored = read_stored_plan(directory)
    assert (stored.to_plan(), stored.frames) == (reduced if is_started else PLAN, 96)
