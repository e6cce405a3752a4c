"""Memory of a job whose network is pinned: it is not counted twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import BadSetting
from filmgate.jobs.scheduler.capacity import Device, Machine
from filmgate.service.job_service import JobService
from filmgate.service.schema import JobDefinition
from filmgate.service.settings import ServiceSettings
from filmgate.service.supervisor.late_plans import check_fit
from filmgate.service.worker.pins import find_pinned_bytes, read_pin, reserve
from tests.service.fakes import GIB, PLAN


def make_definition(**task: Any) -> JobDefinition:
    path = str(Path("/clip.mp4").absolute())
    return JobDefinition.from_json({"source": {"path": path}, "tasks": [task] if task else []})


@pytest.mark.parametrize(
    ("task", "pinned"),
    [
        ({}, 0),
        ({"task": "upscale"}, 3),  # its default model is compact
        ({"task": "upscale", "model": "compact"}, 3),
        ({"task": "upscale", "model": "compact", "device": "cuda:1"}, 0),
        ({"task": "interpolate", "model": "rife"}, 5),
        ({"task": "interpolate"}, 0),
    ],
)
def test_only_jobs_with_the_same_model_use_a_pin(task: dict[str, Any], pinned: int) -> None:
    machine = Machine((), 0, pins={"upscale": 3, "interpolate:rife": 5})
    assert find_pinned_bytes(make_definition(**task), machine) == pinned


def test_pinned_network_is_reserved_once() -> None:
    """Without that, the job of a large network that is pinned would not fit."""
    job, other = make_definition(task="upscale"), make_definition(task="interpolate")
    pins, gpu = {"upscale": 10 * GIB}, Device("cuda:0", 20 * GIB, 10 * GIB)
    machine = Machine((gpu,), 64 * GIB, pins=pins)
    plan = replace(PLAN, device_bytes=14 * GIB)
    assert reserve(plan, job, machine).device_bytes == 4 * GIB
    assert reserve(plan, other, machine).device_bytes == 14 * GIB
    check_fit(machine, reserve(plan, job, machine))
    in_ram = replace(PLAN, host_bytes=14 * GIB)
    assert reserve(in_ram, job, Machine((Device("cpu", 0),), 0, pins=pins)).host_bytes == 4 * GIB


def test_pin_that_cannot_be_read_any_more_is_nobodys() -> None:
    """A file of weights that was removed: jobs are taken nevertheless."""
    machine = Machine((), 0, pins={"upscale:gone.safetensors": 9, "nosuch": 7, "upscale": 3})
    assert find_pinned_bytes(make_definition(task="upscale"), machine) == 3


@pytest.mark.parametrize(
    ("pin", "field", "value"),
    [("upscale:diffvsr", "scale", 4), ("upscale:compact", "scale", 2),
     ("track:opencv-hog", "detector", "opencv_hog")],
)  # fmt: skip
def test_pin_names_a_model_of_any_task_and_a_scale_that_it_has(
    pin: str, field: str, value: object
) -> None:
    assert getattr(read_pin(pin), field) == value


@pytest.mark.parametrize(
    "pin", ["nosuch", "upscale:nosuch", "upscale:gone.safetensors", "generate:compact", ""]
)
def test_service_with_a_pin_that_names_nothing_does_not_start(tmp_path: Path, pin: str) -> None:
    settings = ServiceSettings(folder=tmp_path / "serve", pin=("upscale", pin))
    with pytest.raises(BadSetting, match="cannot be loaded") as error:
        JobService(settings)
    assert repr(pin) in str(error.value)
    assert not settings.folder.exists()
