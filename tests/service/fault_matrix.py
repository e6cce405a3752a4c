"""The fault matrix: what can go wrong in a service, and the tests of it. It makes docs/faults.md.

python -m tests.service.fault_matrix write    write the page
python -m tests.service.fault_matrix run      run the tests, and write the page with their result
"""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "faults.md"
_INTRODUCTION = (
    "What can go wrong in a [service](serve.md), what its users see then, and the tests of it. "
    "`make faults` runs those with a name, `make test` and `make slow` all of the files; `make "
    "faults-long` kills a worker at every step of a job. This page is made by `python -m "
    "tests.service.fault_matrix write`."
)
START, END = "<!-- last run -->", "<!-- /last run -->"
QUEUE, MEDIA = "tests/jobs/queue", "tests/media"


@dataclass(frozen=True)
class Row:
    """A fault, what a user sees of it, and tests of other parts that prove it.

    Tests marked `fault(number)` are added. `note`: what is missing, or why there is no test.
    """

    number: int
    fault: str
    seen: str
    tests: tuple[str, ...] = ()
    note: str = ""


ROWS = (
    Row(
        1,
        "a worker is killed at any point of a run",
        "the job continues on another worker; "
        "event `worker_died` with the cause, and the crash report in the attempt",
        ("tests/backends/test_worker.py",),
    ),
    Row(
        2,
        "a worker crashes, or exits in a library",
        "the same; the report has the signal or "
        "exit code, the last lines of standard error and the stacks",
        ("tests/backends/test_worker.py",),
    ),
    Row(
        3,
        "a job kills three workers without a segment in between",
        "`failed`, reason `poison`, three reports; other jobs run; what is done can be played",
        (f"{QUEUE}/test_leases.py",),
    ),
    Row(
        4,
        "the server is killed",
        "after its restart the same jobs, events without a gap, and "
        "runs that continue after their latest segment",
        (f"{QUEUE}/test_failing_disk.py", "tests/service/test_story.py"),
        "1,000 kills of a queue's server at random moments: `make torture`",
    ),
    Row(
        5,
        "the server is killed while its answer is on its way",
        "the same idempotency key is the same job",
    ),
    Row(
        6,
        "SIGTERM, as at an update",
        "running jobs end their segment and are given back; exit code 0",
        ("tests/service/test_server.py",),
    ),
    Row(
        7,
        "power cut: files of a run are torn",
        "unfinished files are ignored, damaged segments are found by their hash and made again",
        (
            f"{QUEUE}/test_failing_disk.py",
            f"{QUEUE}/test_leases.py",
            "tests/jobs/test_damaged_directories.py",
        ),
        "power cuts of complete runs: `make torture`",
    ),
    Row(
        8,
        "power cut while the result is joined",
        "never half a file under the result's name",
        ("tests/jobs/test_resumable.py",),
        "power cuts: `make torture`",
    ),
    Row(
        9,
        "the disk is full: at a segment, in the queue, at an upload",
        "the job waits with the reason `disk_full` and continues by itself; an upload is refused",
        (f"{QUEUE}/test_failing_disk.py", "tests/service/uploads/test_store.py"),
    ),
    Row(
        10,
        "the disk fails (EIO), or a sync fails",
        "the queue is not used any more, readiness "
        "says so; what was acknowledged is there after a restart",
        (f"{QUEUE}/test_failing_disk.py",),
    ),
    Row(
        11,
        "the kernel kills a worker for lack of memory",
        "the report says that it was the kernel, and the attempt ended as `out_of_memory`; the job "
        "continues with the smallest settings, event `degraded`, and more memory, event "
        "`reservation_raised`, and gives the same result; if all of the memory is not enough, it "
        "fails, reason `out_of_memory`, and says what would help. The server is spared "
        "(`oom_score_adj`)",
        (
            "tests/backends/test_death_causes.py",
            "tests/service/worker/test_reduced_plan.py",
            f"{QUEUE}/test_reservations.py",
            "tests/jobs/scheduler/test_simulation.py",
        ),
    ),
    Row(
        12,
        "out of memory on the device",
        "the batch is halved, event `degraded`; if one frame "
        "does not fit, the job is tried again in a new process, with more memory",
        ("tests/core/test_replans.py", f"{QUEUE}/test_reservations.py"),
    ),
    Row(
        13,
        "an error of a library or a driver that may stay in the process",
        "the worker is replaced, and the job is tried again, three times at most",
    ),
    Row(
        14,
        "the GPU is lost",
        "workers of that device do not start; readiness says why",
        (),
        "tried with a worker that does not start (row 36), not with a GPU that is lost",
    ),
    Row(
        15,
        "a step hangs, or the process is stopped",
        "killed after the seconds that are set, with its stacks in the report; the job continues",
    ),
    Row(
        16,
        "steps become ten times slower",
        "nothing: a step may take ten times the longest one so far",
        (f"{QUEUE}/test_leases.py",),
        "there are no live sessions, so no circuit breaker",
    ),
    Row(
        17,
        "a network returns NaN",
        "the job is tried again, then it fails with the time of the frame",
        ("tests/core/wrappers/test_output_checks.py",),
    ),
    Row(
        18,
        "frames are black, frozen, flashing or shuffled",
        "the same; false alarms are measured in guard.md",
        ("tests/core/wrappers/test_output_checks.py",),
    ),
    Row(
        19,
        "an input is empty, truncated or no video",
        "refused at the upload, or the job fails at once with the reason",
        (f"{MEDIA}/containers/test_integrity.py", "tests/service/uploads/test_check.py"),
    ),
    Row(
        20,
        "an input has flipped bits",
        "refused, or concealed and counted, as the job says",
        (f"{MEDIA}/containers/test_integrity.py",),
    ),
    Row(
        21,
        "unusual videos: variable rate, rotation, edit lists, odd sizes",
        "correct times and pixels",
        ("tests/laws/test_files.py",),
    ),
    Row(
        22,
        "huge sizes, decompression bombs",
        "refused in a second and in little memory",
        (f"{MEDIA}/containers/test_declared_size.py", f"{MEDIA}/containers/test_hostile.py"),
    ),
    Row(
        23,
        "playlists and names that lead to other files or hosts",
        "refused; nothing else is opened, no packet is sent",
        (f"{MEDIA}/containers/test_hostile.py", "tests/service/uploads/test_check.py"),
    ),
    Row(24, "fifty equal requests at once", "one job", (f"{QUEUE}/test_job_queue.py",)),
    Row(
        25,
        "a client disconnects, or reads slowly",
        "the job continues; events are read again from any number on",
        ("tests/service/api/routes/test_events.py",),
    ),
    Row(
        26,
        "cancelling at any moment, twice, or too late",
        "`cancelled` only when the worker has stopped, and nothing is left; one whose result is "
        "complete first wins",
        (
            f"{QUEUE}/test_job_queue.py",
            f"{QUEUE}/test_cancel_races.py",
            "tests/jobs/scheduler/test_simulation.py",
        ),
    ),
    Row(
        27,
        "two servers on one folder",
        "the second ends with code 75 and names the first",
        (f"{QUEUE}/test_owner.py",),
    ),
    Row(
        28,
        "a worker returns after its lease has moved on",
        "what it reports is refused, and it is ended",
        (f"{QUEUE}/test_leases.py",),
    ),
    Row(
        29,
        "the wall clock jumps by a month",
        "no job expires, no duration is negative",
        (f"{QUEUE}/test_job_queue.py", f"{QUEUE}/test_clock.py"),
    ),
    Row(
        30,
        "weights are damaged, or contain code",
        "refused; other jobs run",
        ("tests/weights/test_state_dict.py", "tests/weights/test_store.py"),
    ),
    Row(
        31, "a cached result is damaged", "computed again", ("tests/storage/test_result_cache.py",)
    ),
    Row(
        32,
        "the queue's database is damaged",
        "the server does not start and changes nothing",
        (f"{QUEUE}/test_database.py",),
        "it is restored from a copy; nothing rebuilds it from the files of its jobs",
    ),
    Row(33, "Ray's head is killed, a node is cut off", "", (), "not there: one machine"),
    Row(
        34,
        "a client floods the queue",
        "refused with `Retry-After`; others get their share",
        (
            f"{QUEUE}/test_job_queue.py",
            "tests/jobs/scheduler/test_simulation.py",
            "tests/service/test_job_service.py",
        ),
    ),
    Row(
        35, "a worker leaks memory", "it is replaced between two jobs or segments, and no job fails"
    ),
    Row(36, "a worker does not start", "readiness says why; pauses between tries grow; jobs wait"),
    Row(
        37,
        "the receiver of a webhook fails, or is a private address",
        "",
        (),
        "not there: no webhooks",
    ),
    Row(
        38,
        "an upload is interrupted, or the server is killed in it",
        "it continues at the byte that was reported",
        ("tests/service/uploads/test_store.py", "tests/service/api/routes/test_uploads.py"),
    ),
)


def find_marked_tests() -> dict[int, list[str]]:
    """Return the tests marked `fault(row)`, by row, as file::function."""
    found: dict[int, list[str]] = {}
    for path in sorted((ROOT / "tests" / "service").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef):
                for row in _iter_rows(node):
                    name = f"{path.relative_to(ROOT).as_posix()}::{node.name}"
                    found.setdefault(row, []).append(name)
    return found


def _iter_rows(function: ast.FunctionDef) -> Iterator[int]:
    for mark in function.decorator_list:
        if match := re.fullmatch(r"pytest\.mark\.fault\((\d+)\)", ast.unparse(mark)):
            yield int(match[1])


def make_page(last_run: str) -> str:
    """Return the page; `last_run` is what it says of the latest run."""
    marked = find_marked_tests()
    lines = [
        "# Faults",
        "",
        _INTRODUCTION,
        "",
        f"{START}{last_run}{END}",
        "",
        "| | fault | a user sees | tests |",
        "| --- | --- | --- | --- |",
    ]
    for row in ROWS:
        names = [_shorten(name) for name in (*marked.get(row.number, ()), *row.tests)]
        tests = "<br>".join((*names, *([f"*{row.note}*"] if row.note else [])))
        lines.append(f"| {row.number} | {row.fault} | {row.seen or '-'} | {tests} |")
    return "\n".join(lines) + "\n"


def _shorten(name: str) -> str:
    path, _, function = name.partition("::")
    return f"`{path}`" + (
        f" {function.removeprefix('test_').replace('_', ' ')}" if function else ""
    )


def read_last_run() -> str:
    """Return what the page says of the latest run."""
    text = PAGE.read_text() if PAGE.exists() else ""
    return text.partition(START)[2].partition(END)[0] or "not run yet"


def run() -> int:
    """Run the marked tests; write the page with their count; return the exit code."""
    names = {name for marked in find_marked_tests().values() for name in marked}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = ["-m", "not clips and not weights", "-n", "logical", "--dist", "worksteal",
                 "--timeout", "600", f"--junitxml={report}", *sorted(names)]  # fmt: skip
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *words], cwd=ROOT, check=False
        ).returncode
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None, "pytest wrote a report"
    counts = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = counts["failures"] + counts["errors"]
    passed = counts["tests"] - failed - counts["skipped"]
    text = (f"Last run: {datetime.now(UTC):%Y-%m-%d}, {passed} tests passed, {failed} failed, "
            f"{counts['skipped']} skipped, in {float(suite.get('time', 0)):.0f} s "
            f"({platform.system()}, Python {platform.python_version()}).")  # fmt: skip
    PAGE.write_text(make_page(text))
    return code


if __name__ == "__main__":
    if sys.argv[1:] == ["run"]:
        sys.exit(run())
    PAGE.write_text(make_page(read_last_run()))
