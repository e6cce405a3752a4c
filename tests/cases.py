"""Which cases of a parametrised test run in the quick suite."""

from collections.abc import Collection, Sequence
from itertools import product
from typing import Any

import pytest


def mark_slow_cases(quick: Collection[Any], cases: Sequence[Any]) -> list[Any]:
    """Return all cases; those that are not in `quick` run in `make slow` only.

    Raises AssertionError for a name in `quick` that is no case.
    """
    unknown = [case for case in quick if case not in cases]
    assert not unknown, f"{unknown} are no cases of this test"
    return [case if case in quick else _slow(case) for case in cases]


def mark_slow_combinations(quick: Collection[Any], *lists: Sequence[Any]) -> list[Any]:
    """Return the same for every combination of the lists; tuples in them are unpacked."""
    combinations = [tuple(_spread(entries)) for entries in product(*lists)]
    return mark_slow_cases([tuple(_spread(entries)) for entries in quick], combinations)


def _spread(entries: Sequence[Any]) -> list[Any]:
    return [x for entry in entries for x in (entry if isinstance(entry, tuple) else (entry,))]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
