"""How long decode, each stage and encode were busy."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeVar

from filmgate.core.instrumentation.phases import phase

T = TypeVar("T")


@dataclass
class Clock:
    """Busy seconds by name. Each name is written by one thread; reading is always safe.

    `span` is called with the name, start and end (`perf_counter`) of each busy period, `level`
    with a queue's name and the bytes in it.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    span: Callable[[str, float, float], None] | None = None
    level: Callable[[str, int], None] | None = None

    @contextmanager
    def busy(self, name: str, frames: int = 0) -> Iterator[None]:
        """Add the time inside the `with` to `name`; it is a phase too, about so many frames."""
        start = perf_counter()
        try:
            with phase(name, frames):
                yield
        finally:
            end = perf_counter()
            self.seconds[name] = self.seconds.get(name, 0.0) + end - start
            if self.span is not None:
                self.span(name, start, end)

    def time_items(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield the same items, and add the time to produce each to `name`."""
        while True:
            with self.busy(name):
                item = next(items, self)
            if item is self:
                return
            yield item  # type: ignore[misc]  # only the sentinel is a Clock

    def busiest(self) -> str:
        """Return the name with the most seconds; "" if there is none yet."""
        return max(self.seconds, key=lambda name: self.seconds[name], default="")
