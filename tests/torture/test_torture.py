"""The torture checks find what they look for, and continue where they were interrupted."""

import faulthandler
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable
from math import gcd
from pathlib import Path

import pytest

from filmgate.storage.atomic import write_atomic
from tests.torture.__main__ import CHECKS, run_check, spread
from tests.torture.commands import BYSTANDER, Check, Failure, check_end, run_forked
from tests.torture.outputs import VIDEO_OUTPUTS
from tests.torture.power_cuts import LOSSES, Moment, Recorder
from tests.torture.state import State

pytestmark = pytest.mark.filterwarnings("ignore:.*fork")  # Python 3.12 warns of threads


def fail_by_code() -> int:
    return 3


def print_traceback() -> int:
    print("Traceback (most recent call last)", file=sys.stderr)
    return 2


def crash() -> int:
    faulthandler.disable()  # pytest's would print to the terminal
    os.abort()


def use_too_much_time() -> int:
    os.kill(os.getpid(), signal.SIGXCPU)  # as the limit of CPU seconds does
    return 0


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (fail_by_code, "wrong"),
        (print_traceback, "traceback"),
        (crash, "traceback"),
        (use_too_much_time, "hang"),
    ],
)
def test_each_kind_of_failure_is_found(call: Callable[[], int], kind: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        check_end(run_forked(call, tmp_path, tmp_path / "log"), (0, 2), "a command")
    assert caught.value.kind == kind


def test_partial_result_and_lost_file_are_found(tmp_path: Path) -> None:
    folder, output = tmp_path / "disk", VIDEO_OUTPUTS[2]
    reference = {output.name: b"complete"}
    output.fill(folder)
    assert not output.check_moment(folder, reference, "case")
    (folder / output.name).write_bytes(b"comp")
    with pytest.raises(Failure, match=r"wrong: case: out\.mp4 is partial"):
        output.check_moment(folder, reference, "case")
    (folder / output.name).unlink()
    with pytest.raises(Failure, match=r"lost: case: out\.mp4 before it is replaced"):
        output.check_moment(folder, reference, "case")
    (folder / output.name).write_bytes(b"complete")
    assert output.check_moment(folder, reference, "case")
    output.check_result(folder, reference, "case")
    (folder / BYSTANDER).write_text("changed")
    with pytest.raises(Failure, match="lost: case: the user's file"):
        output.check_result(folder, reference, "case")


def record_moments(write: Callable[[Path], object], folder: Path) -> list[Moment]:
    """Return the moments of a folder in which `write` replaces a file."""
    disk, kept = folder / "disk", folder / "moments"
    disk.mkdir()
    (disk / "a.txt").write_bytes(b"old")

    def call() -> int:
        recorder = Recorder(disk)
        recorder.start()
        write(disk / "a.txt")
        recorder.note_moment()
        kept.write_bytes(pickle.dumps(recorder.moments))
        return 0

    check_end(run_forked(call, folder, folder / "log"), (0,), "writing")
    moments: list[Moment] = pickle.loads(kept.read_bytes())
    return moments


def restore_all(moments: list[Moment], folder: Path) -> set[bytes]:
    """Return what the file holds after a power cut at any of the moments."""
    found = set()
    for moment in moments:
        for names, data in LOSSES:
            moment.restore(folder, names, data)
            found.add((folder / "a.txt").read_bytes())
    return found


def test_synced_file_survives_any_power_cut(tmp_path: Path) -> None:
    moments = record_moments(lambda path: write_atomic(path, b"new text"), tmp_path)
    assert len(moments) >= 4
    assert restore_all(moments, tmp_path / "after") == {b"old", b"new text"}


def test_file_that_is_not_synced_is_lost_in_a_power_cut(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.with_suffix(".new").write_bytes(b"new text")
        path.with_suffix(".new").replace(path)

    found = restore_all(record_moments(write, tmp_path), tmp_path / "after")
    assert found == {b"old", b"new \0\0\0\0", b""}


def test_two_names_of_a_file_are_restored_as_one_file(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        path.with_name("b.txt").hardlink_to(path)

    *_, after = record_moments(write, tmp_path)
    folder = tmp_path / "after"
    after.restore(folder, "now", "synced")
    assert (folder / "a.txt").samefile(folder / "b.txt")
    after.restore(folder, "synced", "synced")
    assert os.listdir(folder) == ["a.txt"]


def test_interrupted_check_continues_unless_the_source_has_changed(tmp_path: Path) -> None:
    tried: list[int] = []

    def attempt(number: int) -> int:
        tried.append(number)
        if number == 2:
            raise Failure("lost", "a file")
        return 3

    check, path = Check("kills", 4, 2, lambda folder: attempt), tmp_path / "state" / "a.jsonl"
    run_check(check, State(path, "source"), range(4), deadline=0)
    assert tried == []
    run_check(check, State(path, "source"), range(3), deadline=time.monotonic() + 60)
    state = State(path, "source")
    run_check(check, state, range(4), deadline=time.monotonic() + 60)
    assert tried == [0, 1, 2, 3]
    row = {"tried": 10, "wrong": 0, "lost": 1, "hangs": 0, "tracebacks": 0}
    assert state.count([check]) == {"kills": row}
    assert [failure["text"] for failure in state.list_failures()] == ["lost: a file"]
    assert not State(path, "another source").has("kills", 0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_short_part_tries_every_kind(check: Check) -> None:
    """Kinds of outputs and files follow one another by the number of the case."""
    cases = spread(check, short=True)
    assert len(cases) == check.short
    assert set(cases) <= set(spread(check, short=False))
    kinds = {"kills of the worker": 5, "power cuts, video": 3, "power cuts, image": 2,
             "hostile": 17, "damaged": 6, "two runs": 3, "kills of a queue": 1,
             "power cuts of a queue": 1}  # fmt: skip
    (count,) = (count for name, count in kinds.items() if check.name.startswith(name))
    assert gcd(cases.step, count) == 1
    assert check.short >= count
