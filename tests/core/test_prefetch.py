"""The thread primitive: bounded in bytes, honest about errors, and it leaves nothing behind."""

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


class Counted:
    """Endless numbers, how many were made, and a sign when more than `allowed` are out."""

    def __init__(self, allowed: int) -> None:
        self.made, self.taken, self.allowed, self.closed = 0, 0, allowed, False
        self.over = threading.Event()

    def items(self) -> Iterator[int]:
        try:
            while True:
                self.made += 1
                if self.made - self.taken > self.allowed:
                    self.over.set()
                yield self.made
        finally:
            self.closed = True


def test_the_producer_is_never_further_ahead_than_its_budget_and_one_item() -> None:
    source = Counted(allowed=3 + 1)
    with prefetch(source.items(), 3, one_byte) as items:
        for _ in range(50):
            source.taken = next(items)
        assert not source.over.wait(0.1)  # long enough to run away in, were it free to


def test_all_items_come_in_order_through_a_narrow_queue() -> None:
    with prefetch(iter(range(1000)), 1, one_byte) as items:
        assert list(items) == list(range(1000))


def test_an_item_bigger_than_the_budget_passes_alone() -> None:
    with prefetch(iter([5, 500, 5]), 10, lambda item: item) as items:
        assert list(items) == [5, 500, 5]


def test_the_budget_is_in_bytes_not_in_items() -> None:
    source = Counted(allowed=2 + 1)
    with prefetch(source.items(), 250, lambda _: 100) as items:
        source.taken = next(items)
        assert not source.over.wait(0.1)


def test_leaving_early_frees_a_blocked_producer_and_closes_its_source() -> None:
    source = Counted(allowed=10)
    with prefetch(source.items(), 1, one_byte) as items:
        assert next(items) == 1
    assert source.closed


def test_leaving_by_an_error_frees_the_producer_too() -> None:
    source = Counted(allowed=10)
    with pytest.raises(ZeroDivisionError), prefetch(source.items(), 1, one_byte):
        raise ZeroDivisionError
    assert source.closed


def test_an_error_of_the_producer_comes_out_as_itself_after_the_items_before_it() -> None:
    class Unheard(Exception):
        pass

    def items() -> Iterator[int]:
        yield 1
        raise Unheard("a reason")

    seen: list[int] = []
    with pytest.raises(Unheard, match="a reason"), prefetch(items(), 9, one_byte) as numbers:
        seen.extend(numbers)
    assert seen == [1]


def test_an_error_on_closing_the_source_is_not_swallowed_while_somebody_listens() -> None:
    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"), prefetch(items(), 9, one_byte) as numbers:
        list(numbers)


def test_one_ahead_feeds_another() -> None:
    def doubled(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            yield 2 * number

    source = Counted(allowed=99)
    with (
        prefetch(source.items(), 2, one_byte, "first") as first,
        prefetch(doubled(first), 2, one_byte, "second") as second,
    ):
        assert [next(second) for _ in range(20)] == [2 * k for k in range(1, 21)]
    assert source.closed


def test_items_are_made_on_another_thread_of_that_name() -> None:
    names = (threading.current_thread().name for _ in range(2))
    with prefetch(names, 9, one_byte, "decode") as items:
        assert list(items) == ["decode", "decode"]


def test_spread_keeps_the_order_though_the_last_is_done_first() -> None:
    later = threading.Event()

    def fn(item: int) -> int:
        if item == 0:
            assert later.wait(5)
        later.set()
        return item * item

    assert map_threads(fn, [0, 1, 2, 3], threads=2) == [0, 1, 4, 9]


@pytest.mark.parametrize("threads", [1, 3])
def test_spread_raises_the_first_error(threads: int) -> None:
    def fn(item: int) -> int:
        if item % 2:
            raise KeyError(item)
        return item

    with pytest.raises(KeyError, match="1"):
        map_threads(fn, [0, 1, 2, 3], threads)
