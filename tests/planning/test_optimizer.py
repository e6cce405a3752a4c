"""The optimizer: a plan that fits is found, fixed settings stay, more budget is never slower."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.core.plan import Plan, compute_queue_fill
from filmgate.errors import BadSetting
from filmgate.planning.costs import (
    Costs,
    LinearCost,
    StageCost,
    predict_device_bytes,
    predict_host_bytes,
)
from filmgate.planning.optimizer import choose_plan, find_smallest_plan
from filmgate.units import MIB

NET = StageCost(
    name="net",
    host=LinearCost(2e6, 1e6),
    seconds=LinearCost(0.2, 0.05),
    device=LinearCost(1e9, 5e8),
    new_bytes_per_frame=12e6,
    state_bytes=3_000_000,
)
COSTS = Costs(
    program=100_000_000,
    input_bytes=3_000_000,
    result_bytes=12_000_000,
    stages=(
        replace(NET, name="flow", device=LinearCost(1e9, 1e8), seconds=LinearCost(0, 0.02)),
        NET,
    ),
    decode=LinearCost(20e6, 7e6),
    encode=LinearCost(80e6, 2e6),
)


def total(plan: Plan, costs: Costs = COSTS) -> int:
    return sum(predict_host_bytes(costs, plan).values())


@given(st.integers(50, 2000), st.one_of(st.none(), st.integers(1, 40)))
def test_chosen_plan_fits_and_a_refused_budget_is_below_the_smallest_plan(
    megabytes: int, device_gb: int | None
) -> None:
    host, device = megabytes * 10**6, device_gb and device_gb * 10**9
    choice = choose_plan(COSTS, host, device, {})
    least = find_smallest_plan(COSTS, {})
    if choice is None:
        assert total(least) > host or predict_device_bytes(COSTS, least) > (device or 1e12)
    else:
        assert total(choice.plan) <= host
        assert device is None or predict_device_bytes(COSTS, choice.plan) <= device
        assert total(choice.plan) >= total(least)


def test_smallest_budget_is_enough_and_one_byte_less_is_not() -> None:
    needed = total(find_smallest_plan(COSTS, {}))
    assert choose_plan(COSTS, needed, None, {})
    assert choose_plan(COSTS, needed - 1, None, {}) is None


def test_larger_budget_never_gives_a_smaller_setting() -> None:
    choices = [choose_plan(COSTS, mb * 10**6, 10**10, {}) for mb in range(200, 1200, 25)]
    plans = [choice.plan for choice in choices if choice]
    assert len({plan.queue_bytes for plan in plans}) > 2
    for name in ("queue_bytes", "chunk", "batches", "decode_threads", "encode_threads"):
        values = [getattr(plan, name) for plan in plans]
        if name != "queue_bytes":  # a larger chunk needs a queue of its own size
            assert values == sorted(values), name


def test_batches_grow_while_that_saves_time_and_are_reduced_for_the_device() -> None:
    free = choose_plan(COSTS, 10**10, None, {})
    tight = choose_plan(COSTS, 10**10, 3 * 10**9, {})
    assert free
    assert tight
    assert free.plan.batches == (1, 32)
    assert tight.plan.batches == (1, 4)
    assert free.reasons["batches"] == "larger batches would save no time"
    assert tight.reasons["batches"] == "reduced to fit the device"
    assert tight.plan.chunk == free.plan.chunk


def test_settings_of_the_user_stay_and_are_marked_as_such() -> None:
    fixed = {"chunk": 8, "batches": (2, 2), "queue_bytes": MIB, "decode_threads": 3}
    choice = choose_plan(COSTS, 10**10, None, fixed)
    assert choice
    assert {name: getattr(choice.plan, name) for name in fixed} == fixed
    assert {choice.reasons[name] for name in fixed} == {"set by you"}
    smallest = find_smallest_plan(COSTS, fixed)
    assert {name: getattr(smallest, name) for name in fixed} == fixed
    assert choose_plan(COSTS, total(find_smallest_plan(COSTS, {})), None, fixed) is None
    small = find_smallest_plan(replace(COSTS, input_bytes=10), {"queue_bytes": MIB})
    assert small.queue_bytes == MIB


def test_chunk_divides_a_segment_of_the_user() -> None:
    small = replace(COSTS, input_bytes=1000, result_bytes=1000)
    choice = choose_plan(small, 10**10, None, {"segment_frames": 6})
    assert choice
    assert choice.plan.chunk == 2


def test_queue_holds_complete_chunks_and_at_least_one() -> None:
    assert compute_queue_fill(10, 4) == 8
    assert compute_queue_fill(1, 4) == 4
    assert compute_queue_fill(10, 0) == 0


def test_linear_cost_goes_through_both_points_and_never_falls() -> None:
    line = LinearCost.from_points((1, 110.0), (4, 140.0))
    assert (line.fixed, line.per_item, line.at(8)) == (100, 10, 180)
    assert LinearCost.from_points((1, 100.0), (4, 90.0)).at(16) == 100
    steep = LinearCost.from_points((1, 10.0), (4, 100.0))
    assert steep.fixed == 0
    assert steep.at(4) >= 100
    assert LinearCost.from_points((1, 7.0), (1, 7.0)).at(2) == 14


def test_stage_that_gets_twice_the_frames_costs_twice_the_seconds() -> None:
    double = replace(NET, frames_in=Fraction(2))
    assert double.seconds_per_frame(1) == 2 * NET.seconds_per_frame(1)


@pytest.mark.parametrize("name", ["decode_threads", "encode_threads", "opencv_threads"])
def test_zero_threads_are_refused(name: str) -> None:
    with pytest.raises(BadSetting, match=f"{name} is 0"):
        Plan(**{name: 0})  # type: ignore[arg-type]
