"""The page of faults is that of the matrix, and every test that it names is there."""

from __future__ import annotations

from tests.house.tree import ROOT
from tests.service.fault_matrix import PAGE, ROWS, find_marked_tests, make_page, read_last_run


def test_page_of_faults_is_up_to_date() -> None:
    assert PAGE.read_text() == make_page(read_last_run()), (
        "run python -m tests.service.fault_matrix write"
    )


def test_every_row_has_tests_or_says_why_not() -> None:
    marked = find_marked_tests()
    assert [row.number for row in ROWS] == list(range(1, 39))
    assert marked.keys() <= {row.number for row in ROWS}
    for row in ROWS:
        assert marked.get(row.number) or row.tests or row.note, row.fault
        assert all((ROOT / name).exists() for name in row.tests), row.tests
