"""The service in virtual time: no job is lost, doubled, starved or over-admitted."""

import os
import random
from pathlib import Path

import pytest

from filmgate.jobs.queue.values import Demand
from filmgate.jobs.scheduler.decisions import decide
from tests.cases import mark_slow_cases
from tests.jobs.queue.disk import get_disk
from tests.jobs.scheduler.simulation import (
    compute_jain,
    decide_fifo,
    measure_fairness,
    run_seed,
)
from tests.jobs.scheduler.world import World, make_request

pytestmark = pytest.mark.skipif(get_disk() is None, reason="SQLite is not a library of its own")
STRIDE = int(os.environ.get("FILMGATE_STRIDE", "1"))  # a larger one tries fewer seeds
PER_TEST, SEEDS = 20, 2000
QUICK = [(0, 5)]
SLOW = [(start, start + PER_TEST) for start in range(0, SEEDS, PER_TEST * STRIDE)]


@pytest.mark.parametrize(("first", "end"), mark_slow_cases(QUICK, [*QUICK, *SLOW]))
def test_seeds(first: int, end: int, tmp_path: Path) -> None:
    for seed in range(first, end):
        run_seed(seed, tmp_path)


@pytest.mark.parametrize("scale", mark_slow_cases([1], [1, 8]))
def test_tenant_that_floods_the_queue_gets_no_more_than_the_others(
    scale: int, tmp_path: Path
) -> None:
    fair = measure_fairness(decide, tmp_path, scale)
    fifo = measure_fairness(decide_fifo, tmp_path, scale)
    assert fair >= 0.95
    assert fifo == pytest.approx(0.2)


def test_index_of_fairness() -> None:
    assert compute_jain([5.0, 5.0, 5.0]) == pytest.approx(1)
    assert compute_jain([9.0, 0.0, 0.0]) == pytest.approx(1 / 3)


def test_large_job_starts_although_small_ones_keep_coming(tmp_path: Path) -> None:
    """It takes all of a device, which never is empty by itself."""
    world = World(tmp_path, devices={"a": 3})
    random_, large = random.Random(1), make_request("large", demand=Demand(100, 0, 10))
    world.run(5)

    def submit() -> None:
        demand = Demand(random_.randint(20, 40), 0, 30)
        world.queue.submit(make_request("small", 3, random_.uniform(5, 15), demand=demand))
        world.at(8, submit)

    submit()
    world.run(60)
    job = world.queue.submit(large).job
    world.run(1500, lambda: world.queue.get(job.id).epoch > 0)
    assert world.clock.now_s < 900
    world.close()
