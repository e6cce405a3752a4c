"""A line of JSON when a test starts and one when it ends, so that a run can be resumed.

`make windows` passes this to pytest (-p tests.windows.journal). Tests that have ended in the
journal are not run again, and of a test with many variants (parametrize) some are enough.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

FILE = "FILMGATE_JOURNAL"  # environment: the file
MOST = "FILMGATE_VARIANTS"  # environment: how many variants of a test are run; all without it
STARTED, PASSED, FAILED, SKIPPED, OMITTED = "started", "passed", "failed", "skipped", "omitted"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a test."""

    test: str
    outcome: str
    reason: str = ""
    seconds: float = 0.0


def read_journal(file: Path) -> dict[str, Entry]:
    """Return the last entry of each test."""
    entries = {}
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        with suppress(ValueError, TypeError):  # half a line of a process that was killed
            entry = Entry(**json.loads(line))
            entries[entry.test] = entry
    return entries


def write_entries(file: Path, entries: Iterable[Entry]) -> None:
    """Add lines to the journal."""
    with file.open("a", encoding="utf-8") as journal:
        journal.writelines(f"{json.dumps(asdict(entry))}\n" for entry in entries)


def choose_variants(names: Sequence[str], most: int) -> set[str]:
    """Return the names that are run: of each test `most` variants, spread evenly."""
    tests = defaultdict[str, list[str]](list)
    for name in names:
        tests[name.partition("[")[0]].append(name)
    chosen = set[str]()
    for variants in tests.values():
        last = len(variants) - 1
        if last < most:
            chosen.update(variants)
        else:
            chosen.update(variants[round(k * last / (most - 1))] for k in range(most))
    return chosen


class Journal:
    """The plugin."""

    def __init__(self, file: Path, most: int) -> None:
        self.file, self.most = file, most
        self.reports: list[pytest.TestReport] = []

    @pytest.hookimpl(trylast=True)  # after those that the marks leave out
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        ended = {
            name for name, entry in read_journal(self.file).items()
            if entry.outcome not in (STARTED, OMITTED)
        }  # fmt: skip
        names = [item.nodeid for item in items]
        chosen = choose_variants(names, self.most) if self.most else set(names)
        write_entries(self.file, (Entry(name, OMITTED) for name in names
                                  if name not in chosen and name not in ended))  # fmt: skip
        left = chosen - ended
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in left])
        items[:] = [item for item in items if item.nodeid in left]

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.reports = []
        write_entries(self.file, [Entry(nodeid, STARTED)])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        outcome, reason = PASSED, ""
        for report in self.reports:
            if report.failed:
                outcome, reason = FAILED, f"{report.when}: {find_reason(report)}"
            elif report.skipped and outcome == PASSED:
                outcome, reason = SKIPPED, find_reason(report)
        seconds = round(sum(report.duration for report in self.reports), 2)
        write_entries(self.file, [Entry(nodeid, outcome, reason, seconds)])


def find_reason(report: pytest.TestReport) -> str:
    """Return why a test was skipped, or the last line on its failure."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    lines = _iter_errors(report.longreprtext.splitlines())
    return next(lines, "no reason")


def _iter_errors(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines of pytest that begin with E, the first being the error itself."""
    yield from (line.removeprefix("E").strip() for line in lines if line.startswith("E  "))
    yield from lines[-1:]


def pytest_configure(config: pytest.Config) -> None:
    most = int(os.environ.get(MOST, "0"))
    config.pluginmanager.register(Journal(Path(os.environ[FILE]), most))
