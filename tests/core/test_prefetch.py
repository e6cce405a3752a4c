"""Prefetch: bounded in bytes, raises the producer's errors, and leaves no thread."""

import threading
from collections.abc import Iterator

import pytest

from filmgate.core.prefetch import map_threads, prefetch


def one_byte(_: object) -> int:
    return 1


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


class CountingSource:
    """Endless numbers; `over` is set when more than `allowed` are produced and not consumed."""

    def __init__(self, allowed: int) -> None:
        self.produced, self.consumed, self.allowed, self.closed = 0, 0, allowed, False
        self.over = threading.Event()

    def items(self) -> Iterator[int]:
        try:
            while True:
                self.produced += 1
                if self.produced - self.consumed > self.allowed:
                    self.over.set()
                yield self.produced
        finally:
            self.closed = True


def test_the_producer_is_at_most_its_budget_and_one_item_ahead() -> None:
    source = CountingSource(allowed=3 + 1)
    with prefetch(source.items(), 3, one_byte) as items:
        for _ in range(50):
            source.consumed = next(items)
        assert not source.over.wait(0.1)  # long enough to exceed it if it were unbounded


def test_all_items_come_in_order_through_a_narrow_queue() -> None:
    with prefetch(iter(range(1000)), 1, one_byte) as items:
        assert list(items) == list(range(1000))


def test_an_item_bigger_than_the_budget_passes_alone() -> None:
    with prefetch(iter([5, 500, 5]), 10, lambda item: item) as items:
        assert list(items) == [5, 500, 5]


def test_the_budget_is_in_bytes_not_in_items() -> None:
    source = CountingSource(allowed=2 + 1)
    with prefetch(source.items(), 250, lambda _: 100) as items:
        source.consumed = next(items)
        assert not source.over.wait(0.1)


def test_leaving_early_unblocks_the_producer_and_closes_its_source() -> None:
    source = CountingSource(allowed=10)
    with prefetch(source.items(), 1, one_byte) as items:
        assert next(items) == 1
    assert source.closed


def test_leaving_by_an_error_unblocks_the_producer_too() -> None:
    source = CountingSource(allowed=10)
    with pytest.raises(ZeroDivisionError), prefetch(source.items(), 1, one_byte):
        raise ZeroDivisionError
    assert source.closed


def test_the_producers_error_is_raised_after_the_items_before_it() -> None:
    class ProducerError(Exception):
        pass

    def items() -> Iterator[int]:
        yield 1
        raise ProducerError("a reason")

    received: list[int] = []
    with pytest.raises(ProducerError, match="a reason"), prefetch(items(), 9, one_byte) as numbers:
        received.extend(numbers)
    assert received == [1]


def test_an_error_on_closing_the_source_is_raised() -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"), prefetch(items(), 9, one_byte) as numbers:
        list(numbers)


def test_one_prefetch_feeds_another() -> None:
    def double(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            yield 2 * number

    source = CountingSource(allowed=99)
    with (
        prefetch(source.items(), 2, one_byte, "first") as first,
        prefetch(double(first), 2, one_byte, "second") as second,
    ):
        assert [next(second) for _ in range(20)] == [2 * k for k in range(1, 21)]
    assert source.closed


def test_items_are_produced_on_another_thread_of_that_name() -> None:
    names = (threading.current_thread().name for _ in range(2))
    with prefetch(names, 9, one_byte, "decode") as items:
        assert list(items) == ["decode", "decode"]


def test_map_threads_keeps_the_order_if_the_last_finishes_first() -> None:
    later = threading.Event()

    def fn(item: int) -> int:
        if item == 0:
            assert later.wait(5)
        later.set()
        return item * item

    assert map_threads(fn, [0, 1, 2, 3], threads=2) == [0, 1, 4, 9]


@pytest.mark.parametrize("threads", [1, 3])
def test_map_threads_raises_the_first_error(threads: int) -> None:
    def fn(item: int) -> int:
        if item % 2:
            raise KeyError(item)
        return item

    with pytest.raises(KeyError, match="1"):
        map_threads(fn, [0, 1, 2, 3], threads)
