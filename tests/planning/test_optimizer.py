"""Plans: what fits is chosen, what is fixed stays, and more budget never makes it slower."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.plan import Plan, queue_fill
from filmgate.errors import BadSetting
from filmgate.planning.costs import Costs, LinearCost, StageCost, device_bytes, host_bytes
from filmgate.planning.optimizer import choose, smallest
from filmgate.units import MIB

NET = StageCost(
    name="net",
    host=LinearCost(2e6, 1e6),
    seconds=LinearCost(0.2, 0.05),
    device=LinearCost(1e9, 5e8),
    made_bytes=12e6,
    state_bytes=3_000_000,
)
COSTS = Costs(
    program=100_000_000,
    given_bytes=3_000_000,
    result_bytes=12_000_000,
    stages=(
        replace(NET, name="flow", device=LinearCost(1e9, 1e8), seconds=LinearCost(0, 0.02)),
        NET,
    ),
    decode=LinearCost(20e6, 7e6),
    encode=LinearCost(80e6, 2e6),
)


def whole(plan: Plan, costs: Costs = COSTS) -> int:
    return sum(host_bytes(costs, plan).values())


@given(st.integers(50, 2000), st.one_of(st.none(), st.integers(1, 40)))
def test_what_is_chosen_fits_and_what_is_refused_has_no_smaller_plan(
    megabytes: int, device_gb: int | None
) -> None:
    host, device = megabytes * 10**6, device_gb and device_gb * 10**9
    choice = choose(COSTS, host, device, {})
    least = smallest(COSTS, {})
    if choice is None:
        assert whole(least) > host or device_bytes(COSTS, least) > (device or 1e12)
    else:
        assert whole(choice.plan) <= host
        assert device is None or device_bytes(COSTS, choice.plan) <= device
        assert whole(choice.plan) >= whole(least)


def test_the_smallest_budget_that_is_named_would_do_and_one_byte_less_would_not() -> None:
    needed = whole(smallest(COSTS, {}))
    assert choose(COSTS, needed, None, {})
    assert choose(COSTS, needed - 1, None, {}) is None


def test_more_budget_never_gives_a_smaller_knob() -> None:
    plans = [choose(COSTS, mb * 10**6, 10**10, {}) for mb in range(200, 1200, 25)]
    found = [choice.plan for choice in plans if choice]
    assert len({plan.queue_bytes for plan in found}) > 2
    for knob in ("queue_bytes", "chunk", "batches", "decode_threads", "encode_threads"):
        values = [getattr(plan, knob) for plan in found]
        if knob != "queue_bytes":  # a larger chunk wants a queue of its own size
            assert values == sorted(values), knob


def test_batches_grow_while_that_saves_time_and_shrink_for_the_device() -> None:
    free = choose(COSTS, 10**10, None, {})
    tight = choose(COSTS, 10**10, 3 * 10**9, {})
    assert free
    assert tight
    assert free.plan.batches == (1, 32)
    assert tight.plan.batches == (1, 4)
    assert free.reasons["batches"] == "more at a time would save no time"
    assert tight.reasons["batches"] == "made smaller to fit the device"
    assert tight.plan.chunk == free.plan.chunk


def test_a_knob_that_a_person_set_stays_and_is_told_as_theirs() -> None:
    fixed = {"chunk": 8, "batches": (2, 2), "queue_bytes": MIB, "decode_threads": 3}
    choice = choose(COSTS, 10**10, None, fixed)
    assert choice
    assert {name: getattr(choice.plan, name) for name in fixed} == fixed
    assert {choice.reasons[name] for name in fixed} == {"yours"}
    assert {name: getattr(smallest(COSTS, fixed), name) for name in fixed} == fixed
    assert choose(COSTS, whole(smallest(COSTS, {})), None, fixed) is None
    assert smallest(replace(COSTS, given_bytes=10), {"queue_bytes": MIB}).queue_bytes == MIB


def test_the_chunk_divides_a_segment_that_a_person_set() -> None:
    small = replace(COSTS, given_bytes=1000, result_bytes=1000)
    choice = choose(small, 10**10, None, {"segment_frames": 6})
    assert choice
    assert choice.plan.chunk == 2


def test_a_queue_holds_whole_chunks_and_one_that_is_too_big_alone() -> None:
    assert queue_fill(10, 4) == 8
    assert queue_fill(1, 4) == 4
    assert queue_fill(10, 0) == 0


def test_a_line_goes_through_what_was_measured_and_never_falls() -> None:
    line = LinearCost.through((1, 110.0), (4, 140.0))
    assert (line.fixed, line.per_item, line.at(8)) == (100, 10, 180)
    assert LinearCost.through((1, 100.0), (4, 90.0)).at(16) == 100
    steep = LinearCost.through((1, 10.0), (4, 100.0))
    assert steep.fixed == 0
    assert steep.at(4) >= 100
    assert LinearCost.through((1, 7.0), (1, 7.0)).at(2) == 14


def test_frames_that_multiply_on_the_way_cost_more_seconds() -> None:
    double = replace(NET, fed=Fraction(2))
    assert double.seconds_each(1) == 2 * NET.seconds_each(1)


@pytest.mark.parametrize("name", ["decode_threads", "encode_threads", "opencv_threads"])
def test_no_threads_are_refused(name: str) -> None:
    with pytest.raises(BadSetting, match=f"{name} is 0"):
        Plan(**{name: 0})  # type: ignore[arg-type]
