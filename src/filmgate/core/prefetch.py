"""The only thread primitive: work done ahead on another thread, bounded in bytes."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from threading import Condition, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Queue(Generic[T]):
    """What lies between two threads: items, their bytes, and how it ended."""

    def __init__(
        self, budget_bytes: int, size: Callable[[T], int], level: Callable[[int], None] | None
    ) -> None:
        self.items: deque[tuple[T, int]] = deque()
        self.room, self.size, self.changed = budget_bytes, size, Condition()
        self.ended = self.closed = False
        self.budget_bytes, self.level = budget_bytes, level
        self.error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Waits for room (an empty queue takes anything). False: nobody wants it any more."""
        needed = self.size(item)
        with self.changed:
            self.changed.wait_for(lambda: self.closed or not self.items or needed <= self.room)
            if self.closed:
                return False
            self.items.append((item, needed))
            self.room -= needed
            self.changed.notify_all()
            self.tell()
            return True

    def tell(self) -> None:
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
                self.tell()
            yield item
            del item  # the consumer may hold it; this thread's frame must not


@contextmanager
def prefetch(
    items: Iterable[T],
    budget_bytes: int,
    size: Callable[[T], int],
    name: str = "ahead",
    level: Callable[[str, int], None] | None = None,
) -> Generator[Iterator[T], None, None]:
    """Iterates `items` on its own thread, ahead of the consumer by at most `budget_bytes`.

    An item bigger than the budget passes alone. An error of the producer comes out here. Leaving
    the `with` frees a producer that is blocked, closes its source and joins the thread. `level` is
    told `name` and how many bytes lie between, whenever that changes.
    """
    queue = _Queue(budget_bytes, size, partial(level, name) if level else None)

    def pump() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                if not queue.put(item):
                    break
                del item  # else it lives on here while the next one is made
        except BaseException as caught:  # noqa: BLE001 - it is raised again where it is read
            error = caught
        try:
            if isinstance(items, Generator):
                items.close()
        except BaseException as caught:  # noqa: BLE001
            error = error or caught
        queue.end(error)

    thread = Thread(target=pump, name=name, daemon=True)
    thread.start()
    results = queue.drain()
    try:
        yield results
    finally:
        queue.close()
        results.close()
        thread.join()


def map_threads(fn: Callable[[T], R], items: Sequence[T], threads: int) -> list[R]:
    """`fn` of each item on several threads, in order; the first error comes out here."""
    if threads == 1 or len(items) == 1:
        return [fn(item) for item in items]
    with ThreadPoolExecutor(threads, thread_name_prefix="spread") as pool:
        return list(pool.map(fn, items))
