"""Networks that stay from job to job: used again, pinned, dropped in the order of their use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from filmgate.core.frame import StreamSpec
from filmgate.errors import BadSetting, NotLoaded
from filmgate.jobs.queue.values import Demand, Lease
from filmgate.service.supervisor.worker_handle import WorkerHandle
from filmgate.service.worker import job_run, warm_models
from filmgate.service.worker.messages import Idle, RunJob, WorkerSetup
from filmgate.service.worker.start_up import load_pins
from filmgate.service.worker.warm_models import WarmModels
from filmgate.tasks.upscale import Upscale


class Device:
    """A device on which each network takes 10 bytes."""

    def __init__(self, models: WarmModels) -> None:
        self.models = models

    def measure(self) -> int:
        return 10 * len(self.models._loaded)


def load(path: Path) -> str:
    return f"network of {path.name}"


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> WarmModels:
    models = WarmModels()
    monkeypatch.setattr(warm_models, "measure_device_bytes", Device(models).measure)
    return models


def test_the_longest_unused_is_dropped_first_and_pins_stay(models: WarmModels) -> None:
    with models.pin("a pin"):
        models.load(load, Path("pinned"))
    for name in ("a", "b", "c", "a"):
        models.load(load, Path(name))
    assert models.pins == {"a pin": 10}
    assert models.release(30) == 1
    assert {key[1].name for key in models._loaded} == {"pinned", "a", "c"}  # type: ignore[index]  # keys are tuples
    assert models.release(0) == 2
    assert [key[1].name for key in models._loaded] == ["pinned"]  # type: ignore[index]  # as above
    assert models.load(load, Path("b")) == "network of b"


def test_pin_that_cannot_be_loaded_is_reported() -> None:
    failed = load_pins(("convert", "upscale:nope"), WarmModels())
    assert len(failed) == 2
    assert failed[0].startswith("convert could not be loaded")


def test_pin_that_fails_midway_keeps_nothing_and_one_named_twice_counts_once(
    models: WarmModels,
) -> None:
    def load_half() -> None:
        with models.pin("half"):
            models.load(load, Path("first"))
            raise NotLoaded("the second is missing")

    with pytest.raises(NotLoaded):
        load_half()
    for _ in range(2):
        with models.pin("twice"):
            models.load(load, Path("a"))
    assert models.pins == {"twice": 10}
    assert models.release(10) == 1
    assert [key[1].name for key in models._loaded] == ["a"]  # type: ignore[index]  # keys are tuples


@pytest.mark.parametrize(("scale", "failed"), [(4, 0), (2, 0), (16, 1)])
def test_pin_of_a_file_of_weights_has_the_scale_of_the_file(
    scale: int, failed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, loaded = WarmModels(), Path("weights")

    def stages(task: Upscale, spec: StreamSpec, cache: WarmModels) -> None:
        cache.load(load_array, loaded)
        if task.scale != scale:
            raise BadSetting(f"it enlarges {scale} times")

    monkeypatch.setattr(Upscale, "stages", stages)
    assert len(load_pins(("upscale:image",), models)) == failed
    assert models.pins == ({} if failed else {"upscale:image": 400})
    assert models.count_bytes() == (400 if failed else 0), "what is not pinned can be dropped"


def test_networks_of_earlier_jobs_are_not_what_a_job_takes(
    models: WarmModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 50 bytes on the device 10 are pinned, 20 of a job before, and 20 its own: one of them was
    there."""
    monkeypatch.setattr(models, "_count", lambda keys: 10 * len(list(keys)))
    with models.pin("a pin"):
        models.load(load, Path("pinned"))
    for name in ("a", "b", "c"):
        models.load(load, Path(name))
    models.begin_job()
    assert models.left_bytes == 30
    for name in ("pinned", "a", "new", "new", "a"):
        models.load(load, Path(name))
    assert models.left_bytes == 20
    monkeypatch.setattr(job_run, "measure_device_peak", lambda: 50)
    order = RunJob(lease=Lease("j", 1, "w"), definition={}, folder=Path(), plan=None,
                   demand=Demand(), keep_samples=False)  # fmt: skip
    run = job_run.JobRun(order, lambda message: None, models, job_run.Orders())
    assert run._peak.device_bytes == 30, "the server subtracts the pin"
    models.begin_job()
    assert models.left_bytes == 40


@pytest.mark.slow
def test_pinned_network_is_not_loaded_again_by_a_job() -> None:
    models = WarmModels()
    assert load_pins(("upscale",), models) == ()
    pinned = dict(models._loaded)
    assert pinned
    load_pins(("upscale",), models)
    assert models._loaded == pinned


def test_networks_in_ram_are_counted_and_dropped_by_their_bytes() -> None:
    models = WarmModels()
    with models.pin("a pin"):
        models.load(load_array, Path("pinned"))
    for name in ("a", "b", "c", "a"):
        models.load(load_array, Path(name))
    assert models.count_bytes() == 3 * 400
    models.drop_bytes(0)
    assert models.count_bytes() == 3 * 400
    models.drop_bytes(401)
    assert {key[1].name for key in models._loaded} == {"pinned", "a"}  # type: ignore[index]  # keys are tuples
    models.drop_bytes(10**9)
    assert [key[1].name for key in models._loaded] == ["pinned"]  # type: ignore[index]  # as above
    assert models.count_bytes() == 0
    assert models.pins == {"a pin": 400}, "without a GPU it is in RAM"


class Network:
    """Has weights of 400 bytes."""

    def parameters(self) -> Iterator[memoryview]:
        return iter([memoryview(bytes(400))])


def load_array(path: Path) -> Network:
    return Network()


@pytest.mark.slow
def test_worker_that_is_asked_to_drop_networks_says_what_it_holds_then() -> None:
    """Its pins stay. A real process: the order comes between two jobs."""
    setup = WorkerSetup(device="cpu", visible_gpus="", pins=("upscale",), device_bytes=0)
    worker = WorkerHandle.spawn("cpu-0.1", setup)
    try:
        first = receive_idle(worker)
        worker.take_idle(first)
        assert (worker.pinned.host_bytes, worker.pinned.device_bytes) == (first.pins["upscale"], 0)
        assert first.pins["upscale"] > 10_000
        worker.drop_networks(1 << 40)
        second = receive_idle(worker)
        worker.take_idle(second)
        assert (second.is_after_job, second.network_bytes) == (False, 0)
        assert second.pins == first.pins
        assert len(worker.idle_bytes) == 1, "no job has ended"
    finally:
        worker.close()


def receive_idle(worker: WorkerHandle) -> Idle:
    assert worker.child.messages.poll(60), "the worker does not answer"
    message = worker.child.messages.recv()
    assert isinstance(message, Idle)
    return message
