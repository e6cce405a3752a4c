"""RIFE: values recorded from the published code, published keys, and large motion."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import filmgate as fg
from filmgate.core.frame import ColorTags, StreamSpec
from filmgate.errors import BadWeights, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.families import rife
from filmgate.models.families.rife import RifeOptions
from filmgate.models.families.rife.net import Rife
from filmgate.quality.verify import check
from filmgate.weights.store import WeightsStore
from tests import videos
from tests.models import tiny

HALF = Fraction(1, 2)
pytestmark = pytest.mark.usefixtures("no_gradients")


def make_net(**factors: float) -> Rife:
    """Return the tiny network; `factors` multiply tensors."""
    tensors = tiny.rife_tensors()
    for name, factor in factors.items():
        tensors[name.replace("__", ".")] *= factor
    net = Rife(tiny.RIFE)
    net.load_state_dict(tensors)
    return net.eval()


def image(seed: int, height: int = 128, width: int = 128) -> Tensor:
    numbers = np.random.RandomState(seed).rand(1, height, width, 3).astype(np.float32)
    return torch.from_numpy(numbers).permute(0, 3, 1, 2).contiguous()


# Of the published code with the same weights: mean, std, first 4, last 2 (images of seeds 0 and 1).
RECORDED: tuple[tuple[float, bool, float, float, tuple[float, ...], tuple[float, ...]], ...] = (
    (0.5, False, 0.498188, 0.143033, (0.46741, 0.43778, 0.412793, 0.432352), (0.462073, 0.834661)),
    (0.5, True, 0.249678, 0.235522, (0.49321, 0.456832, 0.485916, 0.438418), (0.305467, 0.687091)),
    (0.25, True, 0.246032, 0.236719, (0.493574, 0.462608, 0.490052, 0.426269), (0.33178, 0.660583)),
)


@pytest.mark.parametrize(("at", "refine", "mean", "std", "first", "last"), RECORDED)
def test_results_match_those_of_the_published_code(
    at: float, refine: bool, mean: float, std: float,
    first: tuple[float, ...], last: tuple[float, ...],
) -> None:  # fmt: skip
    found = make_net()(image(0), image(1), at, refine=refine).flatten()
    said = [found.mean(), found.std(), *found[:4], *found[-2:]]
    assert [float(x) for x in said] == pytest.approx([mean, std, *first, *last], abs=3e-5)


def test_large_motion_is_estimated_at_twice_the_scale_as_in_the_published_code() -> None:
    net = make_net(block1__lastconv__bias=60)
    flow, _ = net.estimate_flow(image(0), image(1), 0.5)
    assert float(flow.mean()) == pytest.approx(-16.8051, abs=1e-3)
    assert float(flow.abs().max()) == pytest.approx(111.2108, abs=1e-2)
    found = net(image(0), image(1), 0.5)
    said = [float(found.mean()), float(found.std())]
    assert said == pytest.approx([0.162797, 0.341027], abs=3e-5)


def test_one_pair_of_frames_does_not_change_another() -> None:
    """The published code keeps the doubled scales for all pairs after one with large motion."""
    net = make_net(block1__lastconv__bias=20)
    usual = net(image(0), image(1), 0.5)
    kept = net.state_dict()["block1.lastconv.bias"].clone()
    net.state_dict()["block1.lastconv.bias"] *= 3
    assert not torch.equal(net(image(0), image(1), 0.5), usual)
    net.state_dict()["block1.lastconv.bias"].copy_(kept)
    assert torch.equal(net(image(0), image(1), 0.5), usual)


def test_the_published_file_has_these_keys_and_sizes() -> None:
    shapes = registry.get_tensor_shapes(rife.WEIGHTS)
    assert len(shapes) == 222
    assert sum("block_tea" in name for name in shapes) == 32
    numbers = sum(int(np.prod(shape)) for shape in shapes.values())
    assert 0 < rife.WEIGHTS.size_bytes - 4 * numbers < 100_000, "float32 and a header"
    assert shapes["module.block0.lastconv.weight"] == (192, 5, 4, 4)
    assert shapes["module.unet.up0.0.weight"] == (512, 128, 4, 4)


def planes(seed: int, width: int = 56, height: int = 40) -> Planes:
    chance = np.random.default_rng(seed)
    sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    arrays = tuple(chance.integers(16, 235, size, np.uint8) for size in sizes)
    return Planes(arrays, "yuv420p", ColorTags(matrix="bt709", range="tv"))


def spec(pixels: str = "yuv420p") -> StreamSpec:
    return StreamSpec(
        width=56, height=40, rate=Fraction(25), time_base=Fraction(1, 25), pixels=pixels,
        colour=ColorTags(matrix="bt709"),
    )  # fmt: skip


def build(path: Path) -> Any:
    return registry.build_interpolator("rife", spec(), RifeOptions(weights=path))


def test_each_instant_is_made_alone_and_sizes_are_kept() -> None:
    interpolate, a, b = build(tiny.weights("rife")), planes(1), planes(2)
    third, half = interpolate(a, b, [Fraction(1, 3), HALF])
    (alone,) = interpolate(a, b, [HALF])
    assert (half.size, half.pixels) == (a.size, a.pixels)
    assert all(np.array_equal(x, y) for x, y in zip(half.arrays, alone.arrays, strict=True))
    assert not np.array_equal(third.arrays[0], half.arrays[0])


VERSIONS = {
    "4.0 to 4.5": {},
    "4.6": {"block0.convblock.0.beta": torch.zeros(1)},
    "4.7 or newer": {"encode.cnn0.weight": torch.zeros(1)},
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_other_versions_are_refused_by_name(version: str, prefix: str, tmp_path: Path) -> None:
    kept = {n: t for n, t in tiny.rife_tensors().items() if n.startswith("block")}
    path = tmp_path / "flownet.pkl"
    torch.save({f"{prefix}{n}": t for n, t in (kept | VERSIONS[version]).items()}, path)
    assert registry.identify_weights(path) == "rife"
    with pytest.raises(BadWeights, match=rf"of RIFE {version}, wanted RIFE 3\.9: run filmgate"):
        build(path)


def test_unsupported_inputs_are_refused_before_the_first_frame(tmp_path: Path) -> None:
    options = RifeOptions(weights=tiny.weights("rife"))
    with pytest.raises(Unsupported, match="alpha channel"):
        registry.build_interpolator("rife", spec("yuva420p"), options)
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match="not weights of RIFE"):
        build(tmp_path / "other.safetensors")


@pytest.mark.slow
def test_from_file_to_file(tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS["uneven"], tmp_path / "in.mp4")
    task = fg.Interpolate(factor=2, model="rife", options=RifeOptions(weights=tiny.weights("rife")))
    # weights by rule make invalid images
    sink, limits = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"), fg.Limits(guard=False)
    done = fg.run(task, source, sink, limits=limits)
    assert done.written == 2 * done.read
    report = check(tmp_path / "out.mp4", source)
    assert report.ok, report


@pytest.mark.slow
def test_published_weights_move_a_texture_by_half(tmp_path: Path) -> None:
    """With the published weights, if they are here: filmgate models pull rife."""
    store = WeightsStore.open_default()
    if not store.get_path(rife.WEIGHTS).is_file():
        pytest.skip("no weights here: filmgate models pull rife")
    from filmgate.quality.weights_check import try_weights

    report = try_weights(rife.WEIGHTS, store)
    assert report["ok"], report
    assert report["run"]["psnr_db"]["least"] > report["run"]["psnr_db_of_the_mean_of_two"]
