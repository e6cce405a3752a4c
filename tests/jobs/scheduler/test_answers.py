"""The answers to a client: now, later and when, or never and what would."""

import pytest

from filmgate.jobs.queue.values import Demand, JobRecord
from filmgate.jobs.scheduler.answers import Answer, Later, Now, answer, estimate_starts
from filmgate.jobs.scheduler.capacity import Device, Machine, NeverFits, explain_misfit
from filmgate.jobs.scheduler.order import Policy, Situation
from tests.jobs.scheduler.situations import INTERACTIVE, make_machine, make_record, make_situation


def ask(situation: Situation, job: JobRecord) -> Answer:
    return answer(make_machine(2), Policy(), situation, job)


def test_job_that_can_start_starts_now_and_where() -> None:
    job = make_record("x")
    assert ask(make_situation(idle="b"), job) == Now("b")
    assert ask(make_situation([job], idle="b"), job) == Now("b")


def test_waiting_job_has_a_position_and_a_predicted_start() -> None:
    running = [
        (make_record("r", seconds=100), "a", 40.0),
        (make_record("q", seconds=50), "b", 45.0),
    ]
    waiting = [make_record("x1", seconds=30), make_record("x2", seconds=30),
               make_record("y1", seconds=10)]  # fmt: skip
    situation = make_situation(waiting, running, used={"x": 0, "y": 20, "r": 0, "q": 0})
    assert ask(situation, waiting[0]) == Later(1, 5.0)
    assert ask(situation, waiting[2]) == Later(2, 35.0)
    assert ask(situation, waiting[1]) == Later(3, 45.0)
    assert ask(situation, make_record("z1", INTERACTIVE)) == Later(1, 5.0)
    assert ask(make_situation(waiting), waiting[1]) == Later(3, None), "no worker is connected"


@pytest.mark.parametrize(
    ("demand", "found"),
    [
        (Demand(81), "81 bytes on a device where 80 bytes can be used"),
        (Demand(0, 801), "801 bytes of RAM where 800 bytes can be used"),
        (Demand(5_000_000, 801), "5.0 MB on a device where 80 bytes can be used and 801 bytes"),
    ],
)
def test_job_that_never_fits_knows_what_would(demand: Demand, found: str) -> None:
    machine = Machine((Device("a", 50), Device("b", 100)), 1000)
    misfit = explain_misfit(machine, demand)
    assert misfit is not None
    assert found in misfit.message
    assert "choose settings that take at most 80 bytes on the device" in misfit.message
    options = {"larger": Demand(90), "tiles of 256": Demand(70, 10), "tiles of 128": Demand(30)}
    misfit = explain_misfit(machine, demand, options)
    assert misfit is not None
    assert (misfit.alternative, misfit.message.rpartition(": ")[2]) == (
        "tiles of 256", "tiles of 256 would fit",
    )  # fmt: skip
    job = make_record("x", size=demand.device_bytes, host=demand.host_bytes)
    assert isinstance(answer(machine, Policy(), make_situation(), job), NeverFits)


def test_what_is_resident_counts_and_exactly_what_is_free_fits() -> None:
    machine = Machine((Device("a", 100, resident_bytes=30),), 1000, 300)
    assert explain_misfit(machine, Demand(50, 500)) is None
    assert explain_misfit(machine, Demand(51, 500)) is not None
    assert explain_misfit(machine, Demand(50, 501)) is not None
    none = explain_misfit(Machine((), 1000), Demand())
    assert none is not None
    assert "a device, and this machine has none" in none.message


def test_all_starts_are_predicted_in_one_pass_as_each_alone() -> None:
    waiting = [make_record(f"{tenant}{n}", seconds=10 + n) for n in range(3) for tenant in "xyz"]
    situation = make_situation(waiting, [(make_record("r", seconds=100), "a", 40.0)])
    starts = estimate_starts(Policy(), situation)
    assert sorted(one.position for one in starts.values()) == list(range(1, 10))
    for job in waiting:
        assert ask(situation, job) == starts[job.id]
