"""Every family and flow model on a pretended CUDA device: no mix of devices, and the CPU's results.

Families are found in the registry: a new one is tried without a line here.
"""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.device.placement import Placement
from filmgate.media.pixels.planes import Planes
from filmgate.models import flow_model
from filmgate.models.families.diffvsr import DiffVsrOptions
from filmgate.models.families.film import FilmOptions
from filmgate.models.flow_model import Guide
from filmgate.models.registry import find_family, list_flow_models, load_families
from filmgate.tasks import interpolate, upscale
from filmgate.testing.fake_cuda import fake_cuda
from filmgate.testing.laws import assert_same_frames, run_chain
from filmgate.testing.sample_video import make_sample_video
from tests.gpu.shared import make_film_weights
from tests.models import tiny, tiny_diffvsr

pytestmark = pytest.mark.usefixtures("one_thread")

VIDEO = make_sample_video(3, pixels="yuv420p", width=48, height=40)
HEAVY = frozenset({"diffvsr"})  # its libraries take ten seconds to import


def list_samples() -> Iterator[Any]:
    """Yield one task of each family that can use a device, and a Guide of each flow model."""
    samples: list[Any] = [*interpolate.samples(), *upscale.samples(), *flow_model.samples()]
    for sample in samples:
        if isinstance(sample, Guide) or find_family(sample.model).uses_device:
            yield sample


SAMPLES = {sample.model: sample for sample in reversed(tuple(list_samples()))}


def mark_slow(slow: frozenset[str]) -> pytest.MarkDecorator:
    """Return the mark that runs a test for every family, and for these in the slow suite."""
    values = [pytest.param(name, marks=[pytest.mark.slow] * (name in slow)) for name in SAMPLES]
    return pytest.mark.parametrize("name", values)


def test_every_family_that_uses_a_device_is_tried() -> None:
    families = {
        family.name
        for family in load_families()
        if family.uses_device and (family.build_interpolator or family.build_upscaler)
    }
    assert SAMPLES.keys() == families | set(list_flow_models())


def run(name: str, device: str, frames: int = 2, sleeps: bool = False) -> tuple[Frame, ...]:
    """Return what a device makes of so many frames, on the CPU."""
    video = replace(VIDEO, frames=VIDEO.frames[:frames])
    task = tiny.with_weights(SAMPLES[name])
    if name == "film":
        task = replace(task, options=FilmOptions(weights=make_film_weights()))
    if name == "diffvsr":
        options = DiffVsrOptions(weights=tiny_diffvsr.folder(), steps=1, flow="dis")
        task = replace(task, options=options)
    cuts, pieces = ((1, 2), range(3)) if sleeps else ((), range(0))
    with fake_cuda() if device == "cuda" else nullcontext():
        chain = Chain(replace(task, device=device).stages(video.spec))
        return tuple(copy_to_cpu(frame) for frame in run_chain(chain, video, cuts, pieces))


run_on_cpu = cache(lambda name: run(name, "cpu"))


def copy_to_cpu(frame: Frame) -> Frame:
    extras = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in frame.extras.items()}
    return replace(frame, extras=extras)


def get_values(frame: Frame) -> list[Any]:
    """Return the planes, in code values, and the flow, in pixels."""
    assert isinstance(frame.image, Planes)
    flow = frame.extras.get("flow_prev")
    return [*frame.image.arrays, *([] if flow is None else [flow])]


@mark_slow(HEAVY)
def test_no_family_makes_flat_frames(name: str) -> None:
    """Of which every device would make the same."""
    for frame in run_on_cpu(name):
        assert isinstance(frame.image, Planes)
        assert frame.image.arrays[0].std() > 2


@mark_slow(HEAVY)
def test_in_float32_a_family_gives_what_it_gives_on_the_cpu(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Placement, "choose_dtype", lambda *_, **__: torch.float32)
    for found, wanted in zip(run(name, "cuda"), run_on_cpu(name), strict=True):
        assert found.position == wanted.position
        for a, b in zip(get_values(found), get_values(wanted), strict=True):
            error = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
            # strips are larger on a device, so the last bits may differ
            assert error.max() <= (1 if a.dtype == np.uint8 else 1e-4)
            assert error.mean() < 0.01


@mark_slow(HEAVY | {"rife", "raft_small"})  # the CPU is slow in half precision
def test_with_a_devices_dtype_a_family_is_close_to_that(name: str) -> None:
    """In half precision where the family uses it: no mix of dtypes."""
    for found, wanted in zip(run(name, "cuda"), run_on_cpu(name), strict=True):
        for a, b in zip(get_values(found), get_values(wanted), strict=True):
            error = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
            assert error.max() <= (2 if a.dtype == np.uint8 else 0.1)


@mark_slow(frozenset(SAMPLES))
def test_a_state_on_the_device_sleeps(name: str) -> None:
    """Laws 1 and 2, exact."""
    assert_same_frames(run(name, "cuda", 3, sleeps=True), run(name, "cuda", 3), "laws 1 and 2")
