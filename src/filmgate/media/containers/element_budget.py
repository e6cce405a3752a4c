"""A bound on the elements of a container that are followed, one by one, in Python."""

MAX_ELEMENTS = 1_000_000  # a second; a video of two hours has half as many


class TooManyElements(Exception):
    """A container has more elements than are followed."""


class ElementBudget:
    """The number of elements that may still be followed, or of rows that may be read."""

    def __init__(self, left: int | None = None) -> None:
        self._left = MAX_ELEMENTS if left is None else left

    def spend(self, count: int = 1) -> None:
        """Count elements. Raises TooManyElements when none are left."""
        self._left -= count
        if self._left < 0:
            raise TooManyElements
