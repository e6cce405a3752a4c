"""The log: each event a line of its own, whatever became of the line before."""

import json
import os
from pathlib import Path

import pytest

from filmgate.core.events import Warned
from filmgate.jobs.event_log import Log


def test_a_line_whose_writer_was_shot_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with Log(path) as log:
        log.tell(Warned("one"))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:9])
    with Log(path) as log:
        log.tell(Warned("two"))
        log.tell(Warned("three"))
    first, torn, *rest = path.read_text().splitlines()
    assert (first, torn) == (whole.decode().strip(), whole[:9].decode())
    assert [json.loads(line)["message"] for line in rest] == ["two", "three"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux")
def test_a_log_that_finds_no_room_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    with Log(tmp_path / "events.jsonl") as log:
        log.tell(Warned("lost"))
