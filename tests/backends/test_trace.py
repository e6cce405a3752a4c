"""The trace: tracks, marks and counters that a viewer can read, even of a run that failed."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from filmgate.backends.trace import Trace, explain_bottleneck
from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.events import Done
from filmgate.core.frame import Frame
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.plan import Plan
from filmgate.core.run import run
from filmgate.errors import BadSetting
from tests.core.in_memory import MemorySink, MemorySource
from tests.laws.synthetic import make_video


def large(frames: Sequence[Frame]) -> Sequence[Frame]:
    if len(frames) > 1:
        raise MemoryError("1 fits")
    return frames


def write_trace(path: Path, max_bytes: int = 1 << 20) -> list[dict[str, Any]]:
    with Trace(path, max_bytes) as trace:
        clock = Clock(span=trace.add_span, level=trace.add_level)
        chain = Chain((each(large),), (2,), clock)
        for event in run(MemorySource(make_video([25] * 8, 0)), chain, MemorySink(), Plan(chunk=2)):
            trace.add_event(event)
    entries: list[dict[str, Any]] = json.loads(path.read_text())
    return [entry for entry in entries if entry]


def test_run_has_a_track_for_each_part_with_marks_and_counters(tmp_path: Path) -> None:
    entries = write_trace(tmp_path / "trace.json")
    kinds = {kind: [e for e in entries if e["ph"] == kind] for kind in "XiCM"}
    tracks = {e["tid"]: e["args"]["name"] for e in kinds["M"] if e["name"] == "thread_name"}
    assert sorted(tracks.values()) == ["decode", "encode", "large"]
    assert all(tracks[e["tid"]] == e["name"] for e in kinds["X"])
    assert all(e["ts"] >= 0 and e["dur"] >= 0 for e in kinds["X"])
    threads = {e["name"]: e["args"]["thread"] for e in kinds["X"]}
    assert len(set(threads.values())) == 3
    marks = [e["name"] for e in kinds["i"]]
    assert marks == ["replanned: large takes 1 at a time", "committed 1", "done"]
    counters = {e["name"] for e in kinds["C"]}
    assert counters == {"memory MB", "frames", "after decode, MB", "after compute, MB"}
    levels = [e["args"]["held"] for e in kinds["C"] if e["name"] == "after compute, MB"]
    assert levels[-1] == 0 < max(levels)


def test_trace_of_a_killed_run_lacks_only_its_end(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.json")
    trace.add_mark("started")
    trace._file.flush()
    text = (tmp_path / "trace.json").read_text()
    assert [e["name"] for e in json.loads(text + "{}]") if e] == ["process_name", "started"]
    trace.close()


@pytest.mark.parametrize("torn", [b"", b'{"pid": 1, "ph": "X", "na'])
def test_resumed_run_is_appended_to_its_trace(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "trace.json"
    with Trace(path) as trace:
        trace.add_mark("first")
    path.write_bytes(path.read_bytes().removesuffix(b"{}]\n") + (torn or b"{}]\n"))
    for name in ("second", "third"):
        with Trace(path, append=True) as trace:
            trace.add_mark(name)
    entries = [entry for entry in json.loads(path.read_text()) if entry]
    marks = [entry for entry in entries if entry["ph"] == "i"]
    assert [(mark["name"], mark["pid"]) for mark in marks] == [
        ("first", 1), ("second", 2), ("third", 3),
    ]  # fmt: skip
    assert marks[0]["ts"] <= marks[1]["ts"] <= marks[2]["ts"]
    runs = [entry["args"]["name"] for entry in entries if entry["name"] == "process_name"]
    assert runs == ["filmgate", "filmgate, run 2", "filmgate, run 3"]


def test_new_run_replaces_an_older_trace(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with Trace(tmp_path / "trace.json") as trace:
            trace.add_mark(name)
    assert "first" not in (tmp_path / "trace.json").read_text()


def test_trace_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"trace .*none.trace\.json: No such file"):
        Trace(tmp_path / "none" / "trace.json")


def test_trace_ends_before_it_is_too_large(tmp_path: Path) -> None:
    entries = write_trace(tmp_path / "trace.json", 1000)
    assert entries[-1]["name"] == "the trace is full"
    assert [e["name"] for e in entries].count("the trace is full") == 1
    assert (tmp_path / "trace.json").stat().st_size < 1200


@pytest.mark.skipif(
    sys.platform == "win32" or not Path("/dev/full").exists(), reason="needs a disk that is full"
)
def test_full_disk_ends_the_trace_but_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filmgate.backends.trace.check_replaceable", lambda *_: None)
    with Trace(Path("/dev/full")) as trace:
        for k in range(2000):
            trace.add_mark(f"mark {k}")


def test_bottleneck_is_named_with_what_would_help() -> None:
    text = explain_bottleneck(Done(9, 9, 10.0, {"decode": 1.0, "dis": 4.0, "encode": 9.5}))
    assert text.startswith("encode was busy 95% of the time, the stages were idle 60%: ")
    assert "--preset" in text
    assert "dis was busy 90%" in explain_bottleneck(Done(9, 9, 10.0, {"decode": 1.0, "dis": 9.0}))
    assert "decode was busy" in explain_bottleneck(Done(9, 9, 10.0, {"decode": 8.0, "dis": 4.0}))
    busy = {"decode": 4.5, "a": 4.0, "b": 4.6, "encode": 4.8}
    assert explain_bottleneck(Done(9, 9, 10.0, busy)).startswith("b was busy 46% of the time: ")
    busy = {"decode": 1.0, "encode": 2.0}
    assert "waited for the disk" in explain_bottleneck(Done(9, 9, 10.0, busy))
    assert explain_bottleneck(Done(0, 0, 0.0)) == ""
