"""Tables and text for a terminal, in one style."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table


def build_table(*heads: str, fold: bool = False) -> Table:
    """Return an empty table; the columns of heads that begin with > are right-aligned.

    Names and numbers are never broken, unless `fold` allows that in every column.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for number, head in enumerate(heads):
        right = head.startswith(">")
        table.add_column(
            head.lstrip(">"),
            justify="right" if right else "left",
            no_wrap=not fold and (right or not number),
            overflow="fold" if fold else "ellipsis",
        )
    return table


def escape_text(text: str) -> str:
    """Return untrusted text without control characters, which could steer the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def build_plain_console() -> Console:
    """Return a console on standard output that prints text without markup or wrapping."""
    return Console(highlight=False, markup=False, soft_wrap=True)
