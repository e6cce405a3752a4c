"""The table of docs/formats.md is what is found."""

import pytest

from tests.media import formats_table


@pytest.mark.slow
def test_each_demuxer_is_tried() -> None:
    assert formats_table.find_untried() == set()


@pytest.mark.slow
def test_the_table_says_what_is_found() -> None:
    assert formats_table.build_table() == formats_table.read_page()


def test_no_cell_of_the_table_is_a_fault() -> None:
    assert "NO" not in formats_table.read_page().replace("NOT", "")
    assert formats_table.read_page().count("\n") == len(formats_table.FILES) + 1
