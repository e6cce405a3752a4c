"""The one look of our tables on a terminal."""

from rich import box
from rich.console import Console
from rich.table import Table


def sheet(*heads: str, fold: bool = False) -> Table:
    """A table with these heads; those that begin with > stand at the right.

    Names and figures are never broken, unless `fold` says that every column may be.
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


def safe(text: str) -> str:
    """A stranger's text without what would steer the terminal, or could not be written to it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def plain_console() -> Console:
    """Standard output, for people."""
    return Console(highlight=False, markup=False, soft_wrap=True)
