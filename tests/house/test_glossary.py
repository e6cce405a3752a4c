"""The project speaks the field's language: none of its old words is left."""

from pathlib import Path

import pytest

from tests.house.glossary import find_all, find_old_words

PLACES = ("src/", "tests/", "docs/", "README.md", "examples/", "bench/", "training/")


@pytest.mark.parametrize("place", PLACES)
def test_no_old_word_is_left(place: str) -> None:
    """HOUSE.md section 1 lists the words; `python -m tests.house.glossary` prints each place."""
    assert find_all((place,)) == []


def test_old_words_are_found_in_names_and_in_prose(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("the_film_told\nOneKnob\na run goes on\nmodel film is FILM\nsomething else\n")
    lines = [row.split(":")[1] for row in find_old_words(path, tmp_path)]
    assert lines == ["1", "1", "2", "3"]
