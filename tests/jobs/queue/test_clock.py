"""The queue's time and its pauses between attempts."""

import random

import pytest

from filmgate.jobs.queue.backoff import compute_backoff_s
from filmgate.jobs.queue.clock import QueueClock
from tests.jobs.queue.queues import ManualClock


def test_time_follows_the_wall_clock_only_at_the_start_and_never_goes_back() -> None:
    source = ManualClock()
    clock = QueueClock(source, latest_ms=0)
    assert clock.now_ms() == 1_800_000_000_000
    source.wait(1.5)
    source.wall += 1e9
    assert clock.now_ms() == 1_800_000_001_500
    assert QueueClock(source, clock.now_ms()).now_ms() == 2_800_000_001_500
    source.wall = -5.0
    assert QueueClock(source, 1234).now_ms() == 1234
    source.wall = 1e30
    assert QueueClock(source, 0).now_ms() == 1 << 51


def test_pauses_double_up_to_a_limit_and_are_spread_over_all_of_their_length() -> None:
    def longest(low: float, high: float) -> float:
        return high

    assert [compute_backoff_s(n, longest) for n in (0, 1, 2, 3, 9, 10, 99, 10**6)] == [
        0, 1, 2, 4, 256, 300, 300, 300,
    ]  # fmt: skip
    random_ = random.Random(1)
    pauses = [compute_backoff_s(5, random_.uniform) for _ in range(1000)]
    assert min(pauses) < 0.2
    assert max(pauses) > 15.8
    assert sum(pauses) / 1000 == pytest.approx(8, abs=0.5)
