"""The event log: each event has a line of its own, also after a half-written one."""

import json
import os
from pathlib import Path

import pytest

from filmgate.core.events import Warned
from filmgate.jobs.event_log import EventLog


def test_half_written_line_does_not_damage_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.write(Warned("one"))
    complete = path.read_bytes()
    path.write_bytes(complete + complete[:9])
    with EventLog(path) as log:
        log.write(Warned("two"))
        log.write(Warned("three"))
    first, torn, *rest = path.read_text().splitlines()
    assert (first, torn) == (complete.decode().strip(), complete[:9].decode())
    assert [json.loads(line)["message"] for line in rest] == ["two", "three"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_full_disk_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    with EventLog(tmp_path / "events.jsonl") as log:
        log.write(Warned("lost"))
