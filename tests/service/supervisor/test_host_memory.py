"""Which RAM jobs can get while workers hold networks, and which of these make room."""

import random

import pytest

from filmgate.jobs.queue.values import Demand
from filmgate.jobs.scheduler.capacity import Machine, Room
from filmgate.service.supervisor.host_memory import Holding, choose_drops, find_resident_bytes


@pytest.mark.parametrize(
    ("holdings", "wanted"),
    [
        ([], 7),
        ([Holding(30, 0)], 7),  # the next job takes its place
        ([Holding(90, 60)], 7),
        ([Holding(90, 60), Holding(40, 0)], 7 + 40),
        ([Holding(90, 60, 100), Holding(40, 10)], 7 + 60),  # those of a busy one stay
        ([Holding(90, 60, 100), Holding(90, 20, 0)], 7 + 60 + 20),
        ([Holding(90, 20, None, 40)], 7 + 40),  # pins stay always
        ([Holding(90, 20, 100, 40), Holding(70, 0, None, 40)], 7 + 20 + 80),
    ],
)
def test_what_jobs_cannot_get(holdings: list[Holding], wanted: int) -> None:
    assert find_resident_bytes(7, {str(k): h for k, h in enumerate(holdings)}) == wanted


@pytest.mark.parametrize(
    ("needed", "others", "wanted"),
    [
        (20, {}, {}),  # 10 of the server, 50 of networks, 20: there is room
        (50, {}, {"a": 10}),
        (500, {}, {"a": 50}),
        (20, {"b": Holding(40, 30)}, {"a": 20}),
        (60, {"b": Holding(40, 30)}, {"a": 50, "b": 10}),
        (60, {"b": Holding(40, 30), "c": Holding(30, 20)}, {"a": 50, "b": 30, "c": 10}),
        (20, {"b": Holding(40, 30, 60)}, {"a": 50}),  # a busy one keeps its own
    ],
)
def test_the_worker_that_starts_the_job_drops_first(
    needed: int, others: dict[str, Holding], wanted: dict[str, int]
) -> None:
    holdings = {"a": Holding(80, 50), **others}
    assert choose_drops(100, 10, needed, "a", holdings) == wanted


def test_what_is_admitted_fits_once_networks_are_dropped() -> None:
    """Any workers: what runs, what starts and what is left stay within what can be used."""
    choose = random.Random(1)
    for _ in range(2000):
        own, program = choose.randint(0, 10), choose.randint(1, 5)
        machine = Machine((), 125)
        holdings = dict[str, Holding]()
        room = machine.most_host_bytes - own
        for name in "abcd"[: choose.randint(1, 4)]:
            networks = choose.randint(0, 20)
            reserved = choose.choice((None, choose.randint(program, 30)))
            taken = networks + reserved if reserved else program
            if taken > room:
                continue
            room -= taken
            holdings[name] = Holding(program + networks, networks, reserved)
        idle = [name for name, holding in holdings.items() if holding.reserved_bytes is None]
        if not idle:
            continue
        resident = find_resident_bytes(own, holdings)
        free = Room(Machine((), 125, resident), [], {}).free_host
        free -= sum(h.reserved_bytes or 0 for h in holdings.values())
        demand = Demand(0, choose.randint(program, 60))
        if demand.host_bytes > free:
            continue
        start = choose.choice(idle)
        drops = choose_drops(100, own, demand.host_bytes, start, holdings)
        total = own + demand.host_bytes + holdings[start].network_bytes - drops.get(start, 0)
        for name, holding in holdings.items():
            if name != start:
                in_use = holding.network_bytes + holding.reserved_bytes if (
                    holding.reserved_bytes
                ) else holding.held_bytes  # fmt: skip
                total += in_use - drops.get(name, 0)
        assert total <= machine.most_host_bytes
