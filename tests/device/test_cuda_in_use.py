"""What is asked of CUDA: nothing for a job on the CPU, and only about devices in use for others."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import filmgate as fg
from filmgate.core.instrumentation import memory
from filmgate.core.instrumentation.memory import get_loaded_cuda, release_cached_memory
from filmgate.device.placement import Placement
from filmgate.jobs.identity import describe_run
from filmgate.pipeline.cache_key import hash_package
from filmgate.planning.fit import fit
from filmgate.planning.limits import Budget, Limits
from tests import videos


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    source = videos.make(videos.Video(frames=4, size=(16, 16)), tmp_path / "in.mp4")
    return fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mp4"),
                  (fg.Upscale(device="cpu"),))  # fmt: skip


def test_a_job_on_the_cpu_does_not_start_cuda(job: fg.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context takes hundreds of megabytes of the GPU, and of RAM."""

    def start() -> None:
        raise AssertionError("CUDA is started")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "_lazy_init", start)
    with pytest.raises(AssertionError, match="CUDA is started"):
        torch.cuda.mem_get_info()
    assert "device" not in describe_run(job, Limits())["versions"]
    assert fit(job).budget.device is None
    assert list(fg.events(job, limits=Limits(cache=True)))[-1].read == 4  # type: ignore[union-attr]
    release_cached_memory()


def make_cuda(reserved: dict[int, int]) -> SimpleNamespace:
    """Three devices of 20 GB, half of it free."""
    emptied = list[bool]()
    return SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 3,
        memory_reserved=lambda k: reserved.get(k, 0),
        mem_get_info=lambda k: {0: (10**10, 2 * 10**10), 2: (10**10, 2 * 10**10)}[k],
        get_device_name=lambda k: f"GPU {k}",
        empty_cache=lambda: emptied.append(True),
        emptied=emptied,
    )


def test_devices_in_use_are_asked_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    without = hash_package()
    cuda = make_cuda({2: 10**9})
    monkeypatch.setitem(memory.sys.modules, "torch", SimpleNamespace(cuda=cuda))  # type: ignore[attr-defined]
    assert get_loaded_cuda() is cuda
    assert Budget.of_machine().device == 10**10 + 10**9 - 10**9
    release_cached_memory()
    assert cuda.emptied == [True]
    on_two = hash_package()
    monkeypatch.setitem(memory.sys.modules, "torch", SimpleNamespace(cuda=make_cuda({0: 1})))  # type: ignore[attr-defined]
    assert len({without, on_two, hash_package()}) == 3


def test_the_name_of_a_gpu_is_part_of_the_run(job: fg.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: f"the GPU {name}")
    assert Placement("cuda:1").gpu_name == "the GPU cuda:1"
    assert Placement("cpu").gpu_name == Placement("mps").gpu_name == ""
    on_gpu = fg.Job(job.source, job.sink, (fg.Upscale(device="cuda:1"), fg.Interpolate()))
    assert describe_run(on_gpu, Limits())["versions"]["device"] == "the GPU cuda:1"
