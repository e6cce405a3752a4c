"""The flow of frames: direction, size, shot boundaries, and one encoding per frame."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.values import count_bytes
from filmgate.core.wrappers.model_stage import ModelStage, with_low_memory
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting, Unsupported
from filmgate.flow.estimator import DisEstimator
from filmgate.flow.stage import Flow, find_occlusion, upsample_flow
from filmgate.flow.warp_torch import warp
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.raft import RaftOptions
from filmgate.models.flow_model import Guide
from filmgate.testing.laws import run_chain
from filmgate.testing.sample_video import SampleVideo
from tests.flow.scenes import texture, view
from tests.models import tiny

CPU = Placement("cpu")
SCENE = texture(1, blur=2.0)
SPEC = StreamSpec(width=128, height=96, rate=Fraction(25), time_base=Fraction(1, 25), pixels="gray")


def video(images: list[Any], cut: int = -1) -> SampleVideo:
    frames = []
    for i, sample in enumerate(images):
        image = sample if isinstance(sample, Tensor) else Planes((sample,), "gray", ColorTags())
        extras = {"cut": True} if i == cut else {}
        frames.append(Frame(i, Fraction(i, 25), Fraction(1, 25), image, extras))
    return SampleVideo(SPEC, tuple(frames))


def run_flow(images: list[Any], cut: int = -1, **how: Any) -> list[Frame]:
    flow = Guide(**{"model": "dis", **how}).build_stage(CPU)
    return run_chain(Chain((flow,)), video(images, cut))


@pytest.mark.parametrize("scale", [1, Fraction(1, 2), Fraction(2, 5)])
def test_flow_leads_to_the_previous_frame_in_pixels(scale: Fraction) -> None:
    images = [view(SCENE, 4 * i, 2 * i) for i in range(3)]  # what is seen goes left and up
    first, *rest = run_flow(images, scale=scale)
    assert not first.extras
    for k, frame in enumerate(rest):
        flow: Any = frame.extras["flow_prev"]
        assert flow.shape == (2, *images[0].shape)
        assert flow.dtype == torch.float32
        inside = flow[:, 12:-12, 12:-12].flatten(1)
        assert inside.median(1).values.tolist() == pytest.approx([4, 2], abs=0.3)
        before, now = (torch.from_numpy(images[n])[None].float() for n in (k, k + 1))
        seen = warp(before[None], flow[None])[0]
        apart = (seen - now).abs()[:, 12:-12, 12:-12].mean()
        assert apart < 0.4 * (before - now).abs().mean()


@pytest.mark.parametrize("scale", [2, 4])
def test_a_scale_above_1_gives_flow_of_the_larger_frame(scale: int) -> None:
    images = [view(SCENE, 3 * i, 2 * i)[:40, :56] for i in range(2)]
    flow: Any = run_flow(images, scale=scale)[1].extras["flow_prev"]
    hidden: Any = run_flow(images, scale=scale)[1].extras["occluded"]
    assert flow.shape == (2, 40 * scale, 56 * scale)
    assert hidden.shape == flow.shape[1:]
    inside = flow[:, 8 * scale : -8 * scale, 8 * scale : -8 * scale].flatten(1)
    wanted = [3 * scale, 2 * scale]
    assert inside.median(1).values.tolist() == pytest.approx(wanted, abs=0.3 * scale)


def test_raft_keeps_less_for_one_direction() -> None:
    options = RaftOptions(weights=tiny.weights("raft_small"), updates=2)
    clip, states = video([view(SCENE, i, 0) for i in range(2)]), []
    flows: list[Any] = []
    for occlusion in (True, False):
        flow = Guide(model="raft_small", occlusion=occlusion, options=options).build_stage(CPU)
        state, frames = flow.step(flow.start(SPEC, clip.frames[0].position), clip.frames)
        states.append(count_bytes(state))
        flows.append(frames[1].extras["flow_prev"])
    assert states[1] <= 0.6 * states[0]
    assert torch.equal(*flows), "and the flow is the same"


def test_flow_can_be_cached_and_has_a_low_memory_mode() -> None:
    options = RaftOptions(weights=tiny.weights("raft_small"))
    guide = Guide(model="raft_small", options=options)
    _, model_stage = guide.stages(SPEC)
    assert isinstance(model_stage, ModelStage)
    assert "raft_small" in model_stage.settings
    assert "tiny" not in model_stage.settings, "the file's content counts, and not its place"
    assert len(model_stage.weights) == 64
    reduced: Any = with_low_memory(model_stage.stage)
    assert reduced.estimator.volume is False
    fixed = replace(guide, options=replace(options, volume=True)).build_stage(CPU)
    assert with_low_memory(fixed) is fixed, "the user's setting counts"
    rough = Guide(model="dis").build_stage(CPU)
    assert with_low_memory(rough) is rough


def test_uncovered_areas_are_occluded() -> None:
    images = []
    for i in range(2):
        sample = view(SCENE, 0, 0).copy()
        sample[30:66, 40 + 8 * i : 76 + 8 * i] = view(texture(2, blur=2.0), 0, 0)[:36, :36]
        images.append(sample)
    hidden: Any = run_flow(images)[1].extras["occluded"]
    assert hidden.dtype == torch.bool
    assert hidden[34:62, 41:47].float().mean() > 0.7
    assert hidden[:, 90:].float().mean() < 0.05
    assert "occluded" not in run_flow(images, occlusion=False)[1].extras


def test_there_is_no_flow_across_a_shot_boundary() -> None:
    frames = run_flow([view(SCENE, i, 0) for i in range(6)], cut=3)
    assert ["flow_prev" in frame.extras for frame in frames] == [False, True, True, False, True,
                                                                 True]  # fmt: skip


def test_flow_is_upsampled_in_values_and_position() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(20.0), indexing="ij")
    flow = torch.stack([0.5 * x + 1, 0.25 * y - x])
    full = upsample_flow(flow, (48, 60))  # 4 times as high, 3 times as wide
    high, wide = (torch.arange(48.0) + 0.5) / 4 - 0.5, (torch.arange(60.0) + 0.5) / 3 - 0.5
    v, u = torch.meshgrid(high, wide, indexing="ij")
    wanted = torch.stack([3 * (0.5 * u + 1), 4 * (0.25 * v - u)])
    assert float((full - wanted)[:, 4:-4, 4:-4].abs().max()) < 1e-4
    assert upsample_flow(flow, (12, 20)) is flow


def test_consistent_flow_occludes_only_the_outside() -> None:
    flow = torch.zeros(2, 10, 16)
    flow[0] = 3
    hidden = find_occlusion(flow, -flow)
    assert hidden[:, 13:].all()
    assert not hidden[:, :13].any()
    assert find_occlusion(flow, flow).all()


@dataclass(frozen=True)
class Counted(DisEstimator):
    """Dis, which counts the images that it is shown."""

    shown: list[int] = field(default_factory=list)

    def encode(self, sample: Tensor) -> Any:
        self.shown.append(1)
        return super().encode(sample)


def test_each_frame_is_encoded_once_for_every_batch() -> None:
    for batch in (1, 4):
        estimator = Counted()
        chain = Chain((Flow(estimator),), (batch,))
        run_chain(chain, video([view(SCENE, i, 0) for i in range(7)]), cuts=[3])
        assert len(estimator.shown) == 7


@pytest.mark.parametrize("model", ["raft_large", "raft_small"])
def test_raft_works_on_tensors_of_any_dtype_at_a_sixteenth(model: str) -> None:
    rgb = [torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        images = [sample.to(dtype) for sample in rgb]
        scale = Fraction(1, 16)
        options = RaftOptions(weights=tiny.weights(model), updates=2)
        made = run_flow(images, model=model, options=options, scale=scale)
        flow: Any = made[1].extras["flow_prev"]
        hidden: Any = made[1].extras["occluded"]
        assert (flow.shape, flow.dtype, hidden.shape) == ((2, 70, 90), torch.float32, (70, 90))
        assert bool(flow.isfinite().all())
        assert made[1].image is images[1]


def test_unsupported_inputs_are_refused() -> None:
    with pytest.raises(BadSetting, match="pass 4 to 1/16"):
        Guide(scale=Fraction(1, 32))
    with pytest.raises(BadSetting, match="raft_large, raft_small"):
        Guide(model="raft")
    with pytest.raises(BadSetting, match="updates is 0"):
        RaftOptions(updates=0)
    with pytest.raises(Unsupported, match="64x48 and the previous one 128x96"):
        run_flow([np.zeros((96, 128), np.uint8), np.zeros((48, 64), np.uint8)])
    with pytest.raises(Unsupported, match="object"):
        Flow(DisEstimator()).step((), [Frame(0, Fraction(0), Fraction(1), object())])
    hdr = StreamSpec(width=64, height=64, rate=None, time_base=Fraction(1), pixels="yuv420p10le",
               colour=ColorTags(matrix="bt2020nc", transfer="smpte2084"))  # fmt: skip
    with pytest.raises(Unsupported, match="HDR"):
        Guide(model="dis").stages(hdr)
