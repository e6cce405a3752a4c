"""Where the seconds go: how long decode, each stage and encode were busy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")


@dataclass
class Clock:
    """Seconds busy by name. Each name is written by one thread; reading is always safe.

    `span` is told the name, beginning and end (as `perf_counter` counts) of each time it was busy,
    `level` a queue's name and the bytes in it.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    span: Callable[[str, float, float], None] | None = None
    level: Callable[[str, int], None] | None = None

    @contextmanager
    def busy(self, name: str) -> Iterator[None]:
        """Counts the time inside the `with` to `name`."""
        began = perf_counter()
        try:
            yield
        finally:
            ended = perf_counter()
            self.seconds[name] = self.seconds.get(name, 0.0) + ended - began
            if self.span is not None:
                self.span(name, began, ended)

    def each(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """The same items; the time it takes to make each is counted to `name`."""
        while True:
            with self.busy(name):
                item = next(items, self)
            if item is self:
                return
            yield item  # type: ignore[misc]  # only the sentinel is a Clock

    def busiest(self) -> str:
        """The name with most seconds; "" before anything was counted."""
        return max(self.seconds, key=lambda name: self.seconds[name], default="")
