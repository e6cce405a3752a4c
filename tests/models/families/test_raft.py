"""RAFT: torchvision's results, keys and sizes; look-up, bands and half precision."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.device.placement import Placement
from filmgate.device.tensor_memory import LiveMemory
from filmgate.errors import BadSetting, BadWeights
from filmgate.flow.warp_torch import make_pixel_grid
from filmgate.models import registry
from filmgate.models.families import raft
from filmgate.models.families.raft import RaftOptions, correlation
from filmgate.models.families.raft import net as nets
from filmgate.models.families.raft.correlation import correlate, count_volume_bytes
from filmgate.models.families.raft.estimator import RaftEstimator
from filmgate.models.families.raft.net import LARGE, SMALL, EncodedFrame, Raft, Shape
from tests.cases import mark_slow_cases
from tests.models import tiny

# Recorded from torchvision 0.29.2, with weights and images by rule: see `golden`.
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "raft.json").read_text())
NAMES = ("raft_large", "raft_small")
SHAPES = {"raft_large": LARGE, "raft_small": SMALL}
pytestmark = pytest.mark.usefixtures("no_gradients")


def network(shape: Shape, dtype: torch.dtype = torch.float32) -> Raft:
    net = Raft(shape, "meta")
    net.load_state_dict(tiny.raft_tensors(shape), assign=True)
    return net.to(dtype).eval()


@pytest.fixture(scope="module", params=NAMES)
def full(request: Any) -> tuple[str, Raft]:  # its name, and the network
    return request.param, network(SHAPES[request.param])


@pytest.fixture(scope="module", params=[tiny.RAFT, tiny.RAFT_SMALL], ids=NAMES)
def small(request: Any) -> Raft:
    return network(request.param)


def make_image(seed: int, height: int, width: int) -> Tensor:
    """(1, 3, H, W) in [0, 1]: soft blots of eight pixels."""
    name = f"picture {seed}"  # that of the recorded values
    coarse = tiny.by_rule(name, (3 * (height // 8 + 1) * (width // 8 + 1),))
    coarse = coarse.view(1, 3, height // 8 + 1, width // 8 + 1)  # of deviation 0.1
    full = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear")
    return (0.5 + 2 * full[:, :, :height, :width]).clamp(0, 1)


def flow_of(net: Raft, a: Tensor, b: Tensor, **how: Any) -> Tensor:
    return net.estimate_flow(net.encode(a), net.encode(b), **how)


def reported(flow: Tensor) -> dict[str, Any]:
    flat = flow.flatten().double()
    at = [0, 1, flat.numel() // 3, flat.numel() // 2, flat.numel() - 1]
    return {"shape": list(flow.shape), "mean": float(flat.mean()), "std": float(flat.std()),
            "absmax": float(flat.abs().max()), "at": [float(flat[k]) for k in at]}  # fmt: skip


def test_results_match_those_recorded_from_torchvision(full: tuple[str, Raft]) -> None:
    name, net = full
    found, wanted = (
        reported(flow_of(net, make_image(1, 128, 136), make_image(2, 128, 136))),
        GOLDEN[name],
    )
    assert found["shape"] == wanted["shape"]
    for key in ("mean", "std", "absmax", "at"):
        assert found[key] == pytest.approx(wanted[key], abs=1e-4), key


@pytest.mark.slow  # importing torchvision takes five seconds; the recorded numbers are quick
@pytest.mark.parametrize("size", [(128, 128), (136, 200), (184, 320)])
def test_the_flow_is_that_of_torchvision(full: tuple[str, Raft], size: tuple[int, int]) -> None:
    optical_flow = pytest.importorskip(
        "torchvision.models.optical_flow", reason="torchvision is not installed here"
    )
    name, net = full
    theirs = getattr(optical_flow, name)().eval()
    assert net.state_dict().keys() == theirs.state_dict().keys()
    theirs.load_state_dict(net.state_dict())
    a, b = make_image(1, *size), make_image(2, *size)
    wanted = theirs(2 * a - 1, 2 * b - 1, num_flow_updates=4)[-1][0]
    assert float(wanted.abs().max()) > 1, "a flow of 0 would compare nothing"
    seen = net.encode(a), net.encode(b)
    for volume in (True, False):
        found = net.estimate_flow(*seen, updates=4, volume=volume)
        assert float((found - wanted).abs().max()) < 1e-4


def test_the_published_files_have_these_keys_and_sizes() -> None:
    for weights, count, numbers in zip(raft.WEIGHTS, (169, 106), (5_257_536, 990_162),
                                       strict=True):  # fmt: skip
        assert registry.find_weights(weights.name) == weights
        shapes = registry.get_tensor_shapes(weights)
        learnt = [name for name in shapes if "running" not in name and "num_" not in name]
        assert len(shapes) == count
        assert sum(torch.Size(shapes[name]).numel() for name in learnt) == numbers
        assert Shape.of(shapes) == SHAPES[weights.name]
        assert weights.licence == "BSD-3-Clause"
        assert shapes["update_block.motion_encoder.convcorr1.0.weight"][1] in (324, 196)


def test_the_volume_is_sampled_in_pieces_that_cudnn_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN fails with more than 65,535 maps; a real volume of so many takes 22 GB."""
    assert correlation.MAX_MAPS == 65_535
    sample, counts = torch.nn.functional.grid_sample, list[int]()

    def limited(maps: Tensor, *args: Any, **settings: Any) -> Tensor:
        counts.append(len(maps))
        return sample(maps, *args, **settings)

    monkeypatch.setattr(torch.nn.functional, "grid_sample", limited)
    a, b = torch.randn(2, 1, 8, 19, 22, generator=torch.Generator().manual_seed(1))
    volume, at = correlate(a, b, 4, volume=True), 1.5 + make_pixel_grid(19, 22, a.device)
    wanted = volume.sample_around(at)
    for most in (100, 209):
        monkeypatch.setattr(correlation, "MAX_MAPS", most)
        counts.clear()
        assert torch.equal(volume.sample_around(at), wanted)
        assert max(counts) <= most
        assert sum(counts) == 4 * 19 * 22


def test_look_up_equals_the_volume_at_every_position() -> None:
    """Near and far apart, between full places, at edges and far outside."""
    chance = torch.Generator().manual_seed(1)
    a, b = torch.randn(2, 1, 8, 19, 22, generator=chance)
    still = make_pixel_grid(19, 22, a.device)
    for spread in (0.0, 3.0, 40.0, 1e6):
        at = still + spread * torch.randn(2, 19, 22, generator=chance)
        at[:, :2, :9] = still[:, :2, :9] - 4.5
        for radius in (3, 4):
            volume, looked = (
                correlate(a, b, radius, way).sample_around(at) for way in (True, False)
            )
            assert volume.shape == looked.shape == (1, 4 * (2 * radius + 1) ** 2, 19, 22)
            near = at.abs().amax(0) < 1000
            assert float((volume - looked)[0, :, near].abs().max()) < 2e-5
    at[:, 5, 5] = float("nan")  # as from spoilt weights: the guard's affair, no crash
    assert correlate(a, b, 4, False).sample_around(at)[0, :, 5, 5].isnan().all()


def test_the_volume_is_used_up_to_a_size(small: Raft, monkeypatch: Any) -> None:
    seen = EncodedFrame(torch.rand(1, 8, 16, 17), torch.rand(1, 8, 16, 17))
    asked = list[bool]()

    def spied(a: Tensor, b: Tensor, radius: int, volume: bool) -> Any:
        asked.append(volume)
        return correlate(a, b, radius, volume)

    monkeypatch.setattr(nets, "correlate", spied)
    full = small.estimate_flow(seen, seen, 2)
    monkeypatch.setattr(nets, "VOLUME_BYTES", count_volume_bytes(16, 17) - 1)
    assert float((small.estimate_flow(seen, seen, 2) - full).abs().max()) < 1e-4
    assert asked == [True, False]


@pytest.mark.parametrize("rows", [1, 5, 32])
def test_bands_give_the_complete_image(rows: int, small: Raft) -> None:
    image = make_image(3, 136, 128)
    full, banded = small.encode(image), small.encode(image, rows)
    assert float((full.features - banded.features).abs().max()) < 2e-5
    assert full.context is not None
    assert banded.context is not None
    assert float((full.context - banded.context).abs().max()) < 2e-5


@pytest.mark.parametrize("dtype", mark_slow_cases([torch.float16], [torch.float16, torch.bfloat16]))
def test_no_mix_of_dtypes_raises_and_flow_stays_float32(dtype: torch.dtype, small: Raft) -> None:
    half = network(small.shape, dtype)
    images = [make_image(k, 128, 128) for k in (1, 2)]
    full = flow_of(small, *images, updates=3)
    for given, volume in ((torch.float32, True), (torch.float16, False), (torch.bfloat16, True)):
        a, b = (image.to(given) for image in images)
        seen = half.encode(a), half.encode(b, rows=24)
        assert seen[0].features.dtype == dtype
        found = half.estimate_flow(*seen, updates=3, volume=volume)
        assert found.dtype == torch.float32
        assert float((found - full).abs().mean()) < 0.02 * float(full.abs().max()) + 0.05
    with torch.autocast("cpu", torch.bfloat16):
        found = flow_of(small, *images, updates=2)
    assert found.dtype == torch.float32


def test_a_frame_is_encoded_once_for_both_directions(small: Raft, monkeypatch: Any) -> None:
    counted, seen = list[Tensor](), Raft.encode

    def spied(self: Raft, image: Tensor, rows: int | None = None) -> EncodedFrame:
        counted.append(image)
        return seen(self, image, rows)

    monkeypatch.setattr(Raft, "encode", spied)
    flow = RaftEstimator(small, updates=1)
    kept = [flow.encode(make_image(k, 60, 100)[0]) for k in range(3)]
    for a, b in pairwise(kept):
        there, back = flow.estimate(b, a, (60, 100), True)
        assert back is not None
        assert there.shape == back.shape == (2, 60, 100)
    assert len(counted) == 3
    assert counted[0].shape == (1, 3, 128, 128), "repeated to the least that can be correlated"


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match="not weights of RAFT"):
        raft.build_flow(
            "raft_large", RaftOptions(weights=tmp_path / "other.safetensors"), Placement()
        )
    wrong = tiny.raft_tensors(tiny.RAFT)
    wrong["update_block.flow_head.conv2.bias"] = torch.zeros(3)
    save_file(wrong, tmp_path / "wrong.safetensors")
    with pytest.raises(BadWeights, match=r"conv2.bias is 3, expected 2"):
        raft.build_flow(
            "raft_large", RaftOptions(weights=tmp_path / "wrong.safetensors"), Placement()
        )
    with pytest.raises(BadSetting, match="raft_tiny"):
        raft.build_flow("raft_tiny", RaftOptions(), Placement())
    with pytest.raises(BadWeights, match="filmgate models pull raft_small"):
        raft.build_flow("raft_small", RaftOptions(), Placement())


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "gb"), [(torch.float32, 3.0), (torch.float16, 1.8)])
def test_half_of_2880_x_5120_is_predicted_under_3_gb(dtype: torch.dtype, gb: float) -> None:
    """The volume at full scale asked for 198 GB. Live bytes, weights and the state included."""
    with LiveMemory() as live:
        net = Raft(LARGE, "meta").to(dtype).eval().requires_grad_(False)
        live.add(*net.parameters())
        flow = RaftEstimator(net, updates=2, volume=False)
        images = [torch.empty(3, 1440, 2560, device="meta") for _ in range(2)]
        a, b = map(flow.encode, images)
        found, _ = flow.estimate(a, b, (1440, 2560), True)
    assert found.shape == (2, 1440, 2560)
    assert live.peak < gb * 1e9
    assert count_volume_bytes(360, 640) > 212e9


def test_a_state_may_come_from_another_device() -> None:
    there = RaftEstimator(Raft(tiny.RAFT, "meta").requires_grad_(False), updates=1)
    here = EncodedFrame(torch.zeros(1, 8, 16, 16), torch.zeros(1, 8, 16, 16))
    now = there.encode(torch.zeros(3, 128, 128))
    flow, back = there.estimate(now, here, (128, 128), True)
    assert back is not None
    assert flow.is_meta
    assert back.is_meta
