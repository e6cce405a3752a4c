"""The flow that frames carry: right way, right size, none across cuts, each frame seen once."""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.values import nbytes
from filmgate.core.wrappers.model_stage import ModelStage, with_low_memory
from filmgate.errors import BadSetting, Unsupported
from filmgate.flow.estimator import Dis
from filmgate.flow.stage import Flow, enlarged, occluded
from filmgate.flow.warp_torch import warp
from filmgate.media.pixels.planes import Planes
from filmgate.models.flow_model import Guide
from filmgate.testing.laws import SampleVideo, play
from tests.flow.scenes import texture, view
from tests.models import tiny

SCENE = texture(1, blur=2.0)
SPEC = StreamSpec(width=128, height=96, rate=Fraction(25), time_base=Fraction(1, 25), pixels="gray")


def video(pictures: list[Any], cut: int = -1) -> SampleVideo:
    frames = []
    for i, picture in enumerate(pictures):
        image = picture if isinstance(picture, Tensor) else Planes((picture,), "gray", ColorTags())
        extras = {"cut": True} if i == cut else {}
        frames.append(Frame(i, Fraction(i, 25), Fraction(1, 25), image, extras))
    return SampleVideo(SPEC, tuple(frames))


def told(pictures: list[Any], cut: int = -1, **how: Any) -> list[Frame]:
    flow = Guide(**{"model": "dis", **how}).stage()
    return play(Chain((flow,)), video(pictures, cut))


@pytest.mark.parametrize("scale", [1, Fraction(1, 2), Fraction(2, 5)])
def test_flow_leads_to_the_frame_before_in_pixels_of_the_frame(scale: Fraction) -> None:
    pictures = [view(SCENE, 4 * i, 2 * i) for i in range(3)]  # what is seen goes left and up
    first, *rest = told(pictures, scale=scale)
    assert not first.extras
    for k, frame in enumerate(rest):
        flow: Any = frame.extras["flow_prev"]
        assert flow.shape == (2, *pictures[0].shape)
        assert flow.dtype == torch.float32
        inside = flow[:, 12:-12, 12:-12].flatten(1)
        assert inside.median(1).values.tolist() == pytest.approx([4, 2], abs=0.3)
        before, now = (torch.from_numpy(pictures[n])[None].float() for n in (k, k + 1))
        seen = warp(before[None], flow[None])[0]
        apart = (seen - now).abs()[:, 12:-12, 12:-12].mean()
        assert apart < 0.4 * (before - now).abs().mean()


@pytest.mark.parametrize("scale", [2, 4])
def test_above_1_the_frame_is_enlarged_and_flow_is_in_pixels_of_that(scale: int) -> None:
    pictures = [view(SCENE, 3 * i, 2 * i)[:40, :56] for i in range(2)]
    flow: Any = told(pictures, scale=scale)[1].extras["flow_prev"]
    hidden: Any = told(pictures, scale=scale)[1].extras["occluded"]
    assert flow.shape == (2, 40 * scale, 56 * scale)
    assert hidden.shape == flow.shape[1:]
    inside = flow[:, 8 * scale : -8 * scale, 8 * scale : -8 * scale].flatten(1)
    wanted = [3 * scale, 2 * scale]
    assert inside.median(1).values.tolist() == pytest.approx(wanted, abs=0.3 * scale)


def test_raft_keeps_less_where_nobody_asks_for_the_way_back() -> None:
    how = {"model": "raft_small", "weights": tiny.weights("raft_small"), "updates": 2}
    reel, states = video([view(SCENE, i, 0) for i in range(2)]), []
    flows: list[Any] = []
    for occlusion in (True, False):
        flow = Guide(occlusion=occlusion, **how).stage()  # type: ignore[arg-type]
        state, frames = flow.step(flow.start(SPEC, reel.frames[0].position), reel.frames)
        states.append(nbytes(state))
        flows.append(frames[1].extras["flow_prev"])
    assert states[1] <= 0.6 * states[0]
    assert torch.equal(*flows), "and the flow is the same"


def test_flow_can_be_kept_and_can_do_with_less_memory() -> None:
    guide = Guide(model="raft_small", weights=tiny.weights("raft_small"))
    _, costly = guide.stages(SPEC)
    assert isinstance(costly, ModelStage)
    assert "raft_small" in costly.settings
    assert "tiny" not in costly.settings, "the file's content counts, and not its place"
    assert len(costly.weights) == 64
    lean: Any = with_low_memory(costly.stage)
    assert lean.estimator.volume is False
    told = replace(guide, volume=True).stage()
    assert with_low_memory(told) is told, "somebody's own word counts"
    rough = Guide(model="dis").stage()
    assert with_low_memory(rough) is rough


def test_what_a_thing_uncovers_was_not_to_be_seen_before() -> None:
    pictures = []
    for i in range(2):
        picture = view(SCENE, 0, 0).copy()
        picture[30:66, 40 + 8 * i : 76 + 8 * i] = view(texture(2, blur=2.0), 0, 0)[:36, :36]
        pictures.append(picture)
    hidden: Any = told(pictures)[1].extras["occluded"]
    assert hidden.dtype == torch.bool
    assert hidden[34:62, 41:47].float().mean() > 0.7
    assert hidden[:, 90:].float().mean() < 0.05
    assert "occluded" not in told(pictures, occlusion=False)[1].extras


def test_there_is_no_flow_across_a_cut() -> None:
    frames = told([view(SCENE, i, 0) for i in range(6)], cut=3)
    assert ["flow_prev" in frame.extras for frame in frames] == [False, True, True, False, True,
                                                                 True]  # fmt: skip


def test_a_field_is_enlarged_with_its_values_and_in_its_place() -> None:
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(20.0), indexing="ij")
    flow = torch.stack([0.5 * x + 1, 0.25 * y - x])
    whole = enlarged(flow, (48, 60))  # 4 times as high, 3 times as wide
    high, wide = (torch.arange(48.0) + 0.5) / 4 - 0.5, (torch.arange(60.0) + 0.5) / 3 - 0.5
    v, u = torch.meshgrid(high, wide, indexing="ij")
    wanted = torch.stack([3 * (0.5 * u + 1), 4 * (0.25 * v - u)])
    assert float((whole - wanted)[:, 4:-4, 4:-4].abs().max()) < 1e-4
    assert enlarged(flow, (12, 20)) is flow


def test_flow_that_comes_back_hides_nothing_but_what_lies_outside() -> None:
    flow = torch.zeros(2, 10, 16)
    flow[0] = 3
    hidden = occluded(flow, -flow)
    assert hidden[:, 13:].all()
    assert not hidden[:, :13].any()
    assert occluded(flow, flow).all()


@dataclass(frozen=True)
class Counted(Dis):
    """Dis, which counts the pictures that it is shown."""

    shown: list[int] = field(default_factory=list)

    def seen(self, picture: Tensor) -> Any:
        self.shown.append(1)
        return super().seen(picture)


def test_each_frame_is_seen_once_whatever_the_batch() -> None:
    for batch in (1, 4):
        estimator = Counted()
        chain = Chain((Flow(estimator),), (batch,))
        play(chain, video([view(SCENE, i, 0) for i in range(7)]), cuts=[3])
        assert len(estimator.shown) == 7


@pytest.mark.parametrize("model", ["raft_large", "raft_small"])
def test_raft_guides_tensors_of_any_dtype_at_a_sixteenth(model: str) -> None:
    rgb = [torch.rand(3, 70, 90, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        pictures = [picture.to(dtype) for picture in rgb]
        scale = Fraction(1, 16)
        made = told(pictures, model=model, weights=tiny.weights(model), scale=scale, updates=2)
        flow: Any = made[1].extras["flow_prev"]
        hidden: Any = made[1].extras["occluded"]
        assert (flow.shape, flow.dtype, hidden.shape) == ((2, 70, 90), torch.float32, (70, 90))
        assert bool(flow.isfinite().all())
        assert made[1].image is pictures[1]


def test_what_cannot_be_done_is_told() -> None:
    with pytest.raises(BadSetting, match="wanted 4 to 1/16"):
        Guide(scale=Fraction(1, 32))
    with pytest.raises(BadSetting, match="raft_large, raft_small"):
        Guide(model="raft")
    with pytest.raises(BadSetting, match="updates is 0"):
        Guide(updates=0)
    with pytest.raises(Unsupported, match="64x48 and the one before 128x96"):
        told([np.zeros((96, 128), np.uint8), np.zeros((48, 64), np.uint8)])
    with pytest.raises(Unsupported, match="object"):
        Flow(Dis()).step((), [Frame(0, Fraction(0), Fraction(1), object())])
    hdr = StreamSpec(width=64, height=64, rate=None, time_base=Fraction(1), pixels="yuv420p10le",
               colour=ColorTags(matrix="bt2020nc", transfer="smpte2084"))  # fmt: skip
    with pytest.raises(Unsupported, match="HDR"):
        Guide(model="dis").stages(hdr)
