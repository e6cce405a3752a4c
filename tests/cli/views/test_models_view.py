"""The list of models fits the terminal: no name is broken, and in a pipe each row is one line."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from filmgate.cli.commands.models import describe_published
from filmgate.cli.views import models_view
from filmgate.models.registry import load_families


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, bool], list[str]]:
    """Return the lines for a terminal, or a pipe, of so many columns."""

    def draw(columns: int, is_terminal: bool) -> list[str]:
        out = StringIO()
        monkeypatch.setattr(
            models_view, "Console",
            lambda highlight, width=columns: Console(
                highlight=highlight, width=width, file=out, force_terminal=is_terminal,
                color_system=None,
            ),
        )  # fmt: skip
        others = [(one, True) for one in load_families() if not one.weights or one.by_hand]
        models_view.print_models(others, describe_published(), Path("/models"))
        return out.getvalue().splitlines()

    return draw


@pytest.mark.parametrize("columns", [60, 80, 150])
def test_no_word_is_broken_on_a_terminal(
    columns: int, draw: Callable[[int, bool], list[str]]
) -> None:
    lines = draw(columns, True)
    assert max(map(len, lines)) <= columns
    words = {word.strip(";,") for line in lines for word in line.split()}
    for row in describe_published():
        wanted = (row["weights"], row["family"], row["state"], *row["licence"].split())
        assert {word.strip(";,") for word in wanted} <= words
    assert {"opencv_hog", "hmr2", "by", "hand", "non-commercial", "predicted"} <= words


def test_each_row_is_a_line_in_a_pipe(draw: Callable[[int, bool], list[str]]) -> None:
    lines = draw(80, False)
    for row in describe_published():
        (line,) = (line for line in lines if line.split()[:2] == [row["family"], row["weights"]])
        assert row["licence"] in line
        assert row["state"] in line
    assert sum(line.startswith("by hand, phalp: ") for line in lines) == 1
