"""The journal of `make windows`: what has ended is not run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.windows import __main__ as windows
from tests.windows.journal import (
    FAILED,
    OMITTED,
    PASSED,
    SKIPPED,
    STARTED,
    Entry,
    choose_variants,
    read_journal,
    write_entries,
)


def test_variants_are_spread_evenly() -> None:
    names = ["a", *(f"b[{k}]" for k in range(100)), "c[0]", "c[1]", "d"]
    chosen = choose_variants(names, 4)
    assert chosen == {"a", "b[0]", "b[33]", "b[66]", "b[99]", "c[0]", "c[1]", "d"}


def test_half_a_line_is_no_entry(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    assert read_journal(file) == {}
    write_entries(file, [Entry("a", STARTED), Entry("a", PASSED, seconds=2.5), Entry("b", STARTED)])
    with file.open("a") as journal:
        journal.write('{"test": "b", "outco')
    assert read_journal(file) == {"a": Entry("a", PASSED, seconds=2.5), "b": Entry("b", STARTED)}


def test_a_run_goes_on_behind_a_test_that_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pytest-timeout does on Windows; what failed earlier is tried again, what passed is not."""
    journal, starts = tmp_path / "journal.jsonl", list[list[str]]()
    write_entries(journal, [Entry("a", PASSED), Entry("b", SKIPPED), Entry("c", FAILED),
                            Entry("d", OMITTED), Entry("e", STARTED)])  # fmt: skip

    def run_pytest(place: str, journal: Path, *_: object) -> int:
        entries = read_journal(journal)
        left = [name for name in "abcdef" if name not in entries]
        starts.append(left)
        for name in left:
            write_entries(journal, [Entry(name, STARTED)])
            if name == "d":
                return 1
            write_entries(journal, [Entry(name, PASSED)])
        return 0

    monkeypatch.setattr(windows, "run_pytest", run_pytest)
    monkeypatch.setattr(windows, "HOME", tmp_path)
    (tmp_path / "logs").mkdir()
    found = {entry.test: entry.outcome for entry in windows.run_place("x", journal, 4)}
    assert starts == [["c", "d", "e", "f"], ["e", "f"]]
    assert found == {**dict.fromkeys("acef", PASSED), "b": SKIPPED, "d": FAILED}


def test_a_place_that_passed_is_started_again_for_more_variants_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, outcomes = tmp_path / "journal.jsonl", [FAILED, PASSED, PASSED]

    def run_pytest(place: str, journal: Path, *_: object) -> int:
        write_entries(journal, [Entry("a", outcomes.pop(0))])
        return 0

    monkeypatch.setattr(windows, "run_pytest", run_pytest)
    monkeypatch.setattr(windows, "HOME", tmp_path)
    (tmp_path / "logs").mkdir()
    left = []
    for most in (4, 4, 4, 0, 4):
        windows.run_place("x", journal, most)
        left.append(len(outcomes))
    assert left == [2, 1, 1, 0, 0]


def test_the_same_tree_has_the_same_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "ROOT", tmp_path)
    for name in ("pyproject.toml", "constraints.txt", "src/a.py", "tests/b.toml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    first = windows.hash_tree()
    (tmp_path / "src" / "__pycache__").mkdir()
    (tmp_path / "src" / "__pycache__" / "a.pyc").write_text("compiled")
    assert windows.hash_tree() == first
    (tmp_path / "tests" / "b.toml").rename(tmp_path / "tests" / "c.toml")
    assert windows.hash_tree() != first
