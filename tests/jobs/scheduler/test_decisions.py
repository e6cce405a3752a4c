"""Which jobs start, in which order, and which running ones yield to others."""

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filmgate.jobs.queue.values import JobClass, JobRecord
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.jobs.scheduler.decisions import Decisions, decide
from filmgate.jobs.scheduler.order import Policy, Situation
from tests.jobs.scheduler.situations import (
    BATCH,
    INTERACTIVE,
    LIVE,
    NOW_MS,
    make_machine,
    make_record,
    make_situation,
)


def start(situation: Situation, machine: Machine | None = None) -> str:
    """Return the ids of the jobs that start, in their order."""
    decisions = decide(machine or make_machine(), Policy(), situation)
    return " ".join(each.job_id for each in decisions.starts)


def ask(situation: Situation, *asked: str, machine: Machine | None = None) -> str:
    """Return the ids of the running jobs that are asked to yield."""
    decisions = decide(machine or make_machine(), Policy(), situation, frozenset(asked))
    return " ".join(decisions.yields)


def test_urgent_classes_come_first() -> None:
    jobs = [make_record("b"), make_record("i", INTERACTIVE), make_record("l", LIVE)]
    assert start(make_situation(jobs, idle="aaaaaa")) == "l i b"


def test_tenant_who_has_had_least_comes_first_and_is_charged_for_what_starts() -> None:
    jobs = [make_record(name) for name in ("x1", "x2", "x3", "y1", "y2", "z1")]
    used = {"x": 0, "y": 90, "z": 300}
    assert start(make_situation(jobs, idle="aaaaaa", used=used)) == "x1 x2 y1 x3 y2 z1"
    used = {"x": 200, "y": 10, "z": 0}
    assert start(make_situation(jobs, idle="aaa", used=used)) == "z1 y1 y2"


def test_running_jobs_count_before_they_are_charged() -> None:
    jobs = [make_record("x1"), make_record("y1")]
    running = [(make_record("x0", seconds=9999), "a", 45.0)]
    assert start(make_situation(jobs, running, idle="a", used={"x": 0, "y": 20})) == "y1"


def test_weight_divides_what_a_tenant_is_charged() -> None:
    jobs = [make_record(f"{tenant}{n}") for tenant in "xy" for n in range(9)]
    situation = make_situation(jobs, idle="a" * 10, used={"x": 0, "y": 0})
    heavy, light = (replace(account, weight=weight) for account, weight in (
        (next(a for a in situation.accounts if (a.tenant, a.job_class) == (tenant, BATCH)), weight)
        for tenant, weight in (("x", 4.0), ("y", 1.0))
    ))  # fmt: skip
    started = start(replace(situation, accounts=(heavy, light)), make_machine(1, size=1000))
    assert started.count("x") == 8


@pytest.mark.parametrize(
    ("usage", "order"),
    [
        ({}, "i b"),
        ({INTERACTIVE: 100.0, BATCH: 30.0}, "i b"),
        ({INTERACTIVE: 100.0, BATCH: 20.0}, "b i"),
        ({INTERACTIVE: 100.0, BATCH: 20.0, LIVE: 1e6}, "b i"),
    ],
)
def test_batch_jobs_have_a_share_of_their_own(usage: dict[JobClass, float], order: str) -> None:
    jobs = [make_record("i", INTERACTIVE), make_record("b")]
    assert start(make_situation(jobs, idle="aa", usage=usage)) == order


def test_live_jobs_leave_a_worker_to_others() -> None:
    machine = make_machine(1, size=1000)
    running = [(make_record(f"r{n}", LIVE), "a", 10.0) for n in range(4)]
    jobs = [make_record("l", LIVE), make_record("b")]
    assert start(make_situation(jobs, running, idle="a"), machine) == "b"
    assert start(make_situation(jobs[:1], running, idle="a"), machine) == "l", "none else waits"
    assert start(make_situation(jobs, running[:3], idle="aa"), machine) == "l b"
    assert start(make_situation(jobs, idle="a"), machine) == "l", "the only worker"


def test_job_goes_where_it_leaves_the_least_free() -> None:
    machine = Machine((Device("a", 125), Device("b", 75), Device("c", 75, 30)), 1000)
    situation = make_situation([make_record("x", size=25)], idle="abc")
    (each,) = decide(machine, Policy(), situation).starts
    assert (each.device, each.worker) == ("c", "c2")


def test_predictions_of_all_that_runs_stay_within_four_fifths_of_the_budget() -> None:
    machine = Machine((Device("a", 100, resident_bytes=20),), 1000)
    running = [(make_record("r", size=30), "a", 10.0)]
    for size, starts in ((30, "x"), (31, "")):
        situation = make_situation([make_record("x", size=size)], running, idle="a")
        assert start(situation, machine) == starts
    machine = Machine((Device("a", 1000), Device("b", 1000)), 100)
    running = [(make_record("r", host=50), "a", 10.0)]
    for host, starts in ((30, "x"), (31, "")):
        situation = make_situation([make_record("x", host=host)], running, idle="ab")
        assert start(situation, machine) == starts


def test_job_that_fitted_when_it_came_runs_alone_though_more_is_resident_now() -> None:
    machine = Machine((Device("a", 100), Device("b", 100)), 125, host_resident_bytes=30)
    jobs = [make_record("x", host=90), make_record("s", host=5)]
    assert start(make_situation(jobs, idle="ab"), machine) == "x", "nothing runs with it"
    running = [(make_record("r", host=1), "a", 10.0)]
    assert start(make_situation(jobs, running, idle="b"), machine) == "s"
    assert start(make_situation([make_record("x", host=101)], idle="a"), machine) == ""


RAISED = Machine((Device("a", 0), Device("b", 0)), 125, host_resident_bytes=5)  # alone 100


@pytest.mark.parametrize("devices", ["a", "b", "ab"])
def test_jobs_anywhere_yield_to_an_overdue_one_that_has_to_run_alone(devices: str) -> None:
    """It was raised to all of the RAM: what is resident is dropped for it."""
    job = make_record("r", host=1 << 40, size=0, raised=2, waited_s=3600.0)
    job = RAISED.limit(job)
    assert job.demand.host_bytes == 100
    jobs = [job, make_record("q", host=1, size=0)]
    running = [(make_record(f"x{name}", host=30, size=0), name, 3600.0) for name in devices]
    names = {f"x{name}" for name in devices}
    situation = make_situation(jobs, running, idle="ab", used={"r": 0, "x": 5000, "q": 4000})
    decisions = decide(RAISED, Policy(), situation)
    assert (decisions.starts, set(decisions.yields)) == ((), names)
    again = decide(RAISED, Policy(), situation, frozenset(names))
    assert again == Decisions((), ()), "nothing else starts meanwhile, and each is asked once"
    assert start(make_situation(jobs, idle="ab", used={"r": 0, "q": 4000}), RAISED) == "r"


@pytest.mark.parametrize(("raised", "starts"), [(0, "x2"), (2, "")])
def test_later_jobs_of_a_tenant_do_not_pass_its_raised_one_for_ever(
    raised: int, starts: str
) -> None:
    """Each that starts is a turn of the tenant, which so is never overdue."""
    large = make_record("x1", host=100, size=0, raised=raised, waited_s=700.0)
    jobs = [large, make_record("x2", host=1, size=0)]
    running = [(make_record("x3", host=30, size=0), "a", 5.0)]
    situation = make_situation(jobs, running, idle="ab", used={"x": 9}, served_ms=NOW_MS - 5000)
    assert start(situation, RAISED) == starts
    tried = replace(large, not_before_ms=NOW_MS - 1000)
    situation = replace(situation, waiting=(tried, jobs[1]))
    assert start(situation, RAISED) == "x2", "it has just been tried"


def test_small_job_passes_one_that_does_not_fit_until_that_is_overdue() -> None:
    running = [(make_record("r", size=60), "a", 5.0)]
    small = make_record("s", size=30)
    for waited_s, starts in ((500.0, "s"), (700.0, "")):
        large = make_record("x", size=90, waited_s=waited_s)
        used = {"x": 0, "s": 5, "r": 0}
        assert start(make_situation([large, small], running, idle="aa", used=used)) == starts


def test_other_devices_are_used_while_one_is_kept_free() -> None:
    machine = make_machine(2)
    running = [(make_record("r", size=60), "a", 5.0), (make_record("q", size=80), "b", 5.0)]
    jobs = [make_record("x", size=90, waited_s=700.0), make_record("s", size=15)]
    decisions = decide(machine, Policy(), make_situation(jobs, running, idle="ab"))
    assert [(each.job_id, each.device) for each in decisions.starts] == [("s", "b")]


def test_overdue_job_that_needs_ram_lets_nothing_else_start() -> None:
    machine = make_machine(2, host=100)
    running = [(make_record("r", host=60), "a", 5.0)]
    jobs = [make_record("x", host=90, waited_s=700.0), make_record("s", host=10)]
    assert start(make_situation(jobs, running, idle="ab"), machine) == ""


def test_job_that_can_never_fit_keeps_nothing_free() -> None:
    jobs = [make_record("x", size=101, waited_s=9999.0), make_record("s")]
    assert start(make_situation(jobs, idle="a")) == "s"


def test_new_tenants_cannot_keep_an_overdue_one_waiting() -> None:
    """Each of them starts with what the least served one has had."""
    old = make_record("o", waited_s=2000.0)
    new = make_record("n")
    used = {"o": 1000.0, "n": 0.0}
    assert start(make_situation([old, new], idle="a", used=used)) == "o"
    patient = make_record("o", waited_s=900.0)
    assert start(make_situation([patient, new], idle="a", used=used)) == "n"


@pytest.mark.parametrize(
    ("waiting", "running", "usage", "asked"),
    [
        (LIVE, BATCH, {}, "r"),
        (LIVE, INTERACTIVE, {}, "r"),
        (LIVE, LIVE, {}, ""),
        (INTERACTIVE, BATCH, {}, "r"),
        (INTERACTIVE, BATCH, {INTERACTIVE: 1000.0}, ""),
        (BATCH, INTERACTIVE, {BATCH: 1000.0}, ""),
        (BATCH, INTERACTIVE, {INTERACTIVE: 1000.0}, "r"),
        (BATCH, LIVE, {INTERACTIVE: 1000.0}, ""),
        (BATCH, BATCH, {}, ""),
    ],
)
def test_running_job_yields_to_a_class_that_comes_first(
    waiting: JobClass, running: JobClass, usage: dict[JobClass, float], asked: str
) -> None:
    situation = make_situation(
        [make_record("w", waiting)], [(make_record("r", running), "a", 100.0)], usage=usage
    )
    assert ask(situation) == asked


def test_job_that_has_just_started_yields_to_live_jobs_only() -> None:
    running = [(make_record("r"), "a", 20.0)]
    assert ask(make_situation([make_record("w", INTERACTIVE)], running)) == ""
    assert ask(make_situation([make_record("w", LIVE)], running)) == "r"


def test_tenant_far_ahead_yields_to_one_far_behind() -> None:
    running = [(make_record("x1"), "a", 100.0), (make_record("y1"), "a", 100.0)]
    for ahead, asked in ((110.0, ""), (130.0, "x1")):
        used = {"w": 1000.0, "y": 1000.0 - 100, "x": 1000.0 + ahead - 100}
        assert ask(make_situation([make_record("w1")], running, used=used)) == asked
    overdue = make_record("w1", waited_s=700.0)
    used = {"w": 1000.0, "y": 0.0, "x": 901.0}
    assert ask(make_situation([overdue], running, used=used)) == "x1"
    assert ask(make_situation([make_record("x2")], running, used=used)) == ""


def test_as_few_as_possible_are_asked_and_each_once() -> None:
    machine = make_machine(2)
    running = [
        (make_record("p", size=30), "a", 300.0), (make_record("q", size=30), "a", 200.0),
        (make_record("r", size=30), "a", 100.0), (make_record("s", size=90), "b", 100.0),
    ]  # fmt: skip
    large = make_record("w", INTERACTIVE, size=90)
    assert ask(make_situation([large], running), machine=machine) == "s"
    assert ask(make_situation([large], running), "s", machine=machine) == ""
    assert ask(make_situation([large], running), "q", "r", "p", machine=machine) == ""
    small = make_record("w", INTERACTIVE, size=40)
    assert ask(make_situation([small], running[:3]), machine=machine) == "p", "furthest ahead"
    two = [make_record("v", INTERACTIVE, size=40), make_record("w", INTERACTIVE, size=90)]
    assert ask(make_situation(two, running), machine=machine).split() == ["p", "s"]


def test_nothing_starts_where_a_job_is_about_to_yield_to_another() -> None:
    running = [(make_record("r", size=90), "a", 100.0)]
    jobs = [make_record("w", LIVE, size=90), make_record("b", size=10)]
    decisions = decide(make_machine(), Policy(), make_situation(jobs, running, idle="a"))
    assert decisions == Decisions((), ("r",))


def test_no_worker_or_no_device_is_no_error() -> None:
    job = make_record("x")
    assert start(make_situation([job])) == ""
    assert start(make_situation([job], idle="z")) == ""
    assert start(make_situation([job], idle="a"), Machine((), 100)) == ""
    gone = [(make_record("r"), "z", 100.0)]
    assert start(make_situation([job], gone, idle="a")) == "x"


CLASSES = st.sampled_from(list(JobClass))
JOBS = st.lists(
    st.tuples(CLASSES, st.integers(0, 110), st.integers(0, 300), st.sampled_from("xyz")),
    max_size=12,
)


@given(waiting=JOBS, running=JOBS, idle=st.text("ab", max_size=4), waited_s=st.integers(0, 2000))
def test_decisions_never_admit_too_much_nor_give_anything_twice(
    waiting: list[tuple[JobClass, int, int, str]],
    running: list[tuple[JobClass, int, int, str]],
    idle: str,
    waited_s: int,
) -> None:
    machine = make_machine(2, size=100, host=300)

    def make(name: str, values: tuple[JobClass, int, int, str]) -> JobRecord:
        job_class, size, host, tenant = values
        return make_record(name, job_class, size, host=host, tenant=tenant, waited_s=waited_s)

    taken, host, runs = {"a": 0, "b": 0}, 0, []
    for number, values in enumerate(running):
        job, device = make(f"r{number}", values), "ab"[number % 2]
        if taken[device] + job.demand.device_bytes <= 100 and host + job.demand.host_bytes <= 300:
            taken[device] += job.demand.device_bytes
            host += job.demand.host_bytes
            runs.append((job, device, 100.0))
    jobs = {f"w{number}": make(f"w{number}", values) for number, values in enumerate(waiting)}
    decisions = decide(machine, Policy(), make_situation(list(jobs.values()), runs, idle))
    for each in decisions.starts:
        taken[each.device] += jobs[each.job_id].demand.device_bytes
        host += jobs[each.job_id].demand.host_bytes
        assert each.worker.startswith(each.device)
    assert max(taken.values()) <= 100
    assert host <= 300
    workers = [each.worker for each in decisions.starts]
    assert len(set(workers)) == len(workers)
    started = [each.job_id for each in decisions.starts]
    assert len(set(started)) == len(started)
    assert len(set(decisions.yields)) == len(decisions.yields)
    assert {job.id for job, _, _ in runs if job.job_class is not LIVE} >= set(decisions.yields)
    fits = [job for job in jobs.values() if job.demand.device_bytes <= 100
            and job.demand.host_bytes <= 300]  # fmt: skip
    if fits and idle and not runs:
        assert started, "a worker is idle, a job fits, and nothing runs"


@pytest.mark.slow
def test_decision_with_many_tenants_is_quick() -> None:
    random_ = random.Random(1)
    jobs = [make_record(f"{n}", random_.choice(list(JobClass)), tenant=f"t{n % 100}")
            for n in range(800)]  # fmt: skip
    situation = make_situation(jobs, idle="abcd", used={f"t{n}": float(n) for n in range(100)})
    began = time.process_time()
    for _ in range(20):
        decide(make_machine(4), Policy(), situation)
    assert (time.process_time() - began) / 20 < 0.1
