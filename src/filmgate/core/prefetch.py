"""Threads: iterate ahead on another thread within a byte budget, and map over several threads."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Condition, Thread
from typing import Generic, TypeVar

from filmgate.core.instrumentation.torch_settings import limit_torch_threads

T = TypeVar("T")
R = TypeVar("R")


class _Queue(Generic[T]):
    """Items between two threads, bounded by their bytes, and how the producer ended."""

    def __init__(
        self, budget_bytes: int, size: Callable[[T], int], level: Callable[[int], None] | None
    ) -> None:
        self.items: deque[tuple[T, int]] = deque()
        self.room, self.size, self.changed = budget_bytes, size, Condition()
        self.ended = self.closed = False
        self.budget_bytes, self.level = budget_bytes, level
        self.error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Add an item when there is room (an empty queue takes any). False: the queue is closed."""
        needed = self.size(item)
        with self.changed:
            self.changed.wait_for(lambda: self.closed or not self.items or needed <= self.room)
            if self.closed:
                return False
            self.items.append((item, needed))
            self.room -= needed
            self.changed.notify_all()
            self.report_level()
            return True

    def report_level(self) -> None:
        if self.level is not None:
            self.level(self.budget_bytes - self.room)

    def end(self, error: BaseException | None) -> None:
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def close(self) -> None:
        with self.changed:
            self.closed = True
            self.items.clear()
            self.changed.notify_all()

    def drain(self) -> Generator[T, None, None]:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.items or self.ended)
                if not self.items:
                    if self.error is not None:
                        raise self.error
                    return
                item, freed = self.items.popleft()
                self.room += freed
                self.changed.notify_all()
                self.report_level()
            yield item
            del item  # or it stays alive here after the consumer has dropped it


@contextmanager
def prefetch(
    items: Iterable[T],
    budget_bytes: int,
    size: Callable[[T], int],
    name: str = "prefetch",
    level: Callable[[str, int], None] | None = None,
) -> Generator[Iterator[T], None, None]:
    """Iterate `items` on another thread, ahead of the consumer by at most `budget_bytes`.

    An item larger than the budget passes alone. The producer's error is raised in the consumer.
    Leaving the `with` unblocks the producer, closes `items` and joins the thread. `level` is
    called with `name` and the queued bytes whenever they change.
    """
    queue = _Queue(budget_bytes, size, partial(level, name) if level else None)

    def produce() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not queue.put(item):
                    break
                del item  # or it stays alive here while the next one is produced
        except BaseException as caught:  # noqa: BLE001 - it is raised again in the consumer
            error = caught
        try:
            if isinstance(items, Generator):
                items.close()
        except BaseException as caught:  # noqa: BLE001
            error = error or caught
        queue.end(error)

    thread = Thread(target=produce, name=name, daemon=True)
    thread.start()
    results = queue.drain()
    try:
        yield results
    finally:
        queue.close()
        results.close()
        thread.join()


def map_threads(fn: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """Return `fn` of each item, computed on several threads, in order. Raises the first error.

    Torch uses one thread in each of them.
    """
    if threads == 1 or len(items) == 1:
        return [fn(item) for item in items]
    with (
        limit_torch_threads() as start,
        ThreadPoolExecutor(threads, thread_name_prefix="map", initializer=start) as pool,
    ):
        return list(pool.map(fn, items))
