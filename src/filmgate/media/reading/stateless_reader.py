"""The base of readers that open their files for each read."""

from __future__ import annotations

from typing import Self


class StatelessReader:
    """A context manager with nothing to close: no file is open between two reads."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""
