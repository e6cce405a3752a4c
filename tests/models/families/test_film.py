"""FILM: recorded values, published keys, and bands and memos with the same results."""

from collections.abc import Sequence
from dataclasses import replace
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
from filmgate.core.wrappers.model_stage import with_low_memory
from filmgate.device.tensor_memory import LiveMemory
from filmgate.errors import BadWeights, Unsupported
from filmgate.flow.warp_torch import warp
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.families import film
from filmgate.models.families.film import FilmOptions
from filmgate.models.families.film.interpolator import FilmInterpolator, choose_band_rows
from filmgate.models.families.film.net import Film, Shape
from filmgate.quality.verify import check
from filmgate.tasks.interpolate import FillGap, build_stage
from filmgate.tasks.output_times import Grid
from tests import videos
from tests.cases import mark_slow_cases
from tests.models import tiny

HALF = Fraction(1, 2)
SHORT = videos.Video(times=videos.UNEVEN[:4], sounds=("aac",))
# Recorded from the published code: n, mean, std, absmax, first 4, last 2 (images of seeds 0 and 1).
RECORDED: dict[str, tuple[int, float, float, float, tuple[float, ...], tuple[float, ...]]] = {
    "feature 0": (16384, 0.037797, 0.189183, 1.021626,
                  (-0.131795, -0.098651, -0.14203, -0.110621), (0.167749, -0.007032)),
    "feature 1": (12288, 0.048552, 0.129210, 0.588208,
                  (-0.101998, -0.122173, -0.097911, -0.121289), (-0.010323, -0.005352)),
    "feature 2": (7168, 0.067245, 0.129979, 0.450064,
                  (-0.074071, -0.145247, -0.130751, -0.146041), (-0.055208, -0.033549)),
    "feature 3": (3840, 0.048441, 0.108245, 0.485469,
                  (-0.08295, -0.133591, -0.149868, -0.137901), (0.094908, 0.093804)),
    "residual 4": (32, -0.122550, 0.039561, 0.216469,
                   (-0.1022, -0.092958, -0.088194, -0.08538), (-0.16331, -0.143586)),
    "residual 0": (8192, -0.095566, 0.164081, 0.492755,
                   (0.01741, 0.003727, 0.032613, 0.040729), (-0.146169, -0.234341)),
    "flow 2": (512, -0.635122, 0.158741, 1.121357,
               (-0.568442, -0.563289, -0.547758, -0.523107), (-0.73077, -0.73856)),
    "flow 0": (8192, -2.666909, 0.754758, 4.902402,
               (-2.27387, -2.29658, -2.285745, -2.275229), (-3.034102, -3.096669)),
    "image": (12288, -0.113688, 0.127121, 0.650452,
              (0.106683, 0.145475, 0.132976, 0.097369), (-0.004591, -0.058371)),
}  # fmt: skip
pytestmark = pytest.mark.usefixtures("no_gradients")


@pytest.fixture(scope="module")
def net() -> Film:
    net = Film(tiny.FILM)
    net.load_state_dict(tiny.film_tensors())
    return net.eval()


def image(seed: int, height: int = 64, width: int = 64) -> Tensor:
    numbers = np.random.RandomState(seed).rand(1, height, width, 3).astype(np.float32)
    return torch.from_numpy(numbers).permute(0, 3, 1, 2).contiguous()


Ends = tuple[tuple[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]]


def ends(net: Film, *images: Tensor, rows: int | None = None) -> Ends:
    a, b = (
        (pyramid, net.extract_features(pyramid, rows)) for pyramid in map(net.build_pyramid, images)
    )
    return a, b


def drawn(net: Film, a: Any, b: Any, t: float = 0.5, rows: int | None = None) -> Tensor:
    forward, backward = (
        net.estimate_flows(a[1], b[1], rows)[0],
        net.estimate_flows(b[1], a[1], rows)[0],
    )
    return net.fuse_images(a, b, forward, backward, t, rows)


def test_results_match_those_of_the_published_code(net: Film) -> None:
    a, b = ends(net, image(0), image(1))
    flows, residuals = net.estimate_flows(a[1], b[1])
    made = {f"feature {k}": a[1][k] for k in range(4)}
    made |= {"residual 4": residuals[4], "residual 0": residuals[0]}
    made |= {"flow 2": flows[2], "flow 0": flows[0], "image": drawn(net, a, b)}
    for name, (n, mean, std, absmax, first, last) in RECORDED.items():
        found = made[name].flatten()
        said = [found.mean(), found.std(), found.abs().max(), *found[:4], *found[-2:]]
        assert found.numel() == n
        assert [float(x) for x in said] == pytest.approx(
            [mean, std, absmax, *first, *last], abs=1e-4
        ), name
    sample = made["image"][0]
    for row, column, rgb in ((0, 0, (0.106683, -0.069958, -0.486260)),
                             (31, 17, (-0.029988, -0.034853, -0.295003)),
                             (63, 63, (-0.051993, -0.106504, -0.058371))):  # fmt: skip
        assert sample[:, row, column].tolist() == pytest.approx(rgb, abs=1e-4)


def test_uneven_sides_match_the_published_code(net: Film) -> None:
    """Ports that resize with another "nearest" differ here by 1.9e-4."""
    made = drawn(net, *ends(net, image(5, 72, 56), image(6, 72, 56)))
    assert made[0, :, 0, 0].tolist() == pytest.approx((0.097372, -0.059752, -0.455452), abs=2e-5)
    assert float(made.mean()) == pytest.approx(-0.115540, abs=1e-5)


def test_warp_and_2_x_2_convolution_are_exact() -> None:
    flow = torch.tensor([0.5, -0.25]).reshape(1, 2, 1, 1).expand(1, 2, 4, 4)
    made = warp(torch.arange(16.0).reshape(1, 1, 4, 4), flow)
    assert made.flatten().tolist() == [0.5, 1.5, 2.5, 3, 3.5, 4.5, 5.5, 6,
                                       7.5, 8.5, 9.5, 10, 11.5, 12.5, 13.5, 14]  # fmt: skip
    from filmgate.models.families.film.net import Conv

    conv = Conv(1, 1, 2, active=False)
    conv.load_state_dict({"conv.weight": torch.tensor([[[[1.0, 10], [100, 1000]]]]),
                          "conv.bias": torch.zeros(1)})  # fmt: skip
    made = conv(torch.tensor([[[[1.0, 2], [3, 4]]]]))
    assert made.flatten().tolist() == [4321, 402, 43, 4]


def test_the_full_network_has_the_published_keys_and_sizes() -> None:
    weights = film.WEIGHTS
    shapes = registry.get_tensor_shapes(weights)
    assert len(shapes) == 82
    numbers = sum(int(np.prod(shape)) for shape in shapes.values())
    assert numbers == 34_436_667
    assert 0 < weights.size_bytes - 2 * numbers < 10_000, "half precision and a header"
    assert shapes["fuse.convs.0.0.conv.weight"] == (512, 1930, 2, 2)
    assert shapes["fuse.convs.3.1.conv.weight"] == (64, 202, 3, 3)
    assert shapes["predict_flow._predictors.0._convs.0.conv.weight"] == (128, 896, 3, 3)
    assert shapes["predict_flow._predictors.2._convs.0.conv.weight"] == (32, 128, 3, 3)
    assert shapes["predict_flow._predictor._convs.3.conv.weight"] == (128, 256, 1, 1)
    assert Shape.of(shapes) == Shape()


@pytest.mark.parametrize("rows", [16, 48, 64])
def test_bands_give_the_complete_image(rows: int, net: Film) -> None:
    sides = image(5, 160, 32), image(6, 160, 32)
    (a, b), by_bands = ends(net, *sides), ends(net, *sides, rows=rows)
    for end, again in zip((a, b), by_bands, strict=True):
        for level, found in zip(end[1], again[1], strict=True):
            assert float((level - found).abs().max()) < 1e-6
    t = 0.5 if rows == 64 else 0.3
    full, banded = drawn(net, a, b, t), drawn(net, *by_bands, t, rows)
    assert float((full - banded).abs().max()) < 2e-6, "flow is pixels: 1e-6 of 5"


def planes(seed: int, width: int = 56, height: int = 40) -> Planes:
    chance = np.random.default_rng(seed)
    sizes = ((height, width), (height // 2, width // 2), (height // 2, width // 2))
    arrays = tuple(chance.integers(16, 235, size, np.uint8) for size in sizes)
    return Planes(arrays, "yuv420p", ColorTags(matrix="bt709", range="tv"))


def spec(pixels: str = "yuv420p", **colour: str) -> StreamSpec:
    return StreamSpec(
        width=56,
        height=40,
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        pixels=pixels,
        colour=ColorTags(matrix="bt709", **colour),
    )


def between() -> Any:
    return registry.build_interpolator("film", spec(), FilmOptions(weights=tiny.weights("film")))


def same(one: Sequence[Planes], other: Sequence[Planes]) -> bool:
    return all(np.array_equal(x, y) for a, b in zip(one, other, strict=True)
               for x, y in zip(a.arrays, b.arrays, strict=True))  # fmt: skip


def test_the_memo_changes_no_bit() -> None:
    a, b, c = (planes(k) for k in range(3))
    going_on, fresh = between(), between()
    first = going_on(a, b, [HALF])
    assert same(going_on(b, c, [HALF]), fresh(b, c, [HALF]))
    assert same(going_on(a, b, [HALF]), first)
    assert len(going_on.memo) == 1


def test_eighths_are_midpoints_of_midpoints_and_thirds_scale_the_flow() -> None:
    a, b = planes(1), planes(2)
    draw = between()
    quarters = draw(a, b, [Fraction(1, 4), HALF, Fraction(3, 4)])
    assert same(draw(a, b, [HALF]), [quarters[1]])
    assert same(draw(a, b, [Fraction(k, 8) for k in range(1, 8)])[1::2], quarters)
    third, half, other = draw(a, b, [Fraction(1, 3), HALF, Fraction(2, 3)])
    assert same([half], [quarters[1]])
    assert not same([third], [other])
    assert half.pixels == a.pixels
    assert half.size == a.size


def test_unsupported_inputs_are_refused_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="alpha channel"):
        registry.build_interpolator(
            "film", spec("yuva420p"), FilmOptions(weights=tiny.weights("film"))
        )
    with pytest.raises(Unsupported, match="HDR"):
        registry.build_interpolator(
            "film", spec(transfer="smpte2084"), FilmOptions(weights=tiny.weights("film"))
        )
    with pytest.raises(BadWeights, match="filmgate models pull film"):
        fg.run(fg.Interpolate(model="film"), videos.make(videos.Video(), tmp_path / "in.mp4"),
               tmp_path / "out.mp4")  # fmt: skip
    wrong = tiny.film_tensors()
    wrong["fuse.output_conv.weight"] = torch.zeros(4, 4, 1, 1)
    save_file(wrong, tmp_path / "wrong.safetensors")
    with pytest.raises(BadWeights, match=r"output_conv.weight is 4x4x1x1, expected 3x4x1x1"):
        registry.build_interpolator(
            "film", spec(), FilmOptions(weights=tmp_path / "wrong.safetensors")
        )
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match="not weights of FILM"):
        registry.build_interpolator(
            "film", spec(), FilmOptions(weights=tmp_path / "other.safetensors")
        )


@pytest.mark.parametrize(
    "video",
    mark_slow_cases([SHORT], [SHORT, videos.VIDEOS["sound"], videos.VIDEOS["uneven"]]),
    ids=["short", "sound", "uneven"],
)
def test_from_file_to_file(video: videos.Video, tmp_path: Path) -> None:
    source = videos.make(video, tmp_path / "in.mp4")
    task = fg.Interpolate(factor=2, model="film", options=FilmOptions(weights=tiny.weights("film")))
    # weights by rule make invalid images
    sink, limits = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"), fg.Limits(guard=False)
    done = fg.run(task, source, sink, limits=limits)
    assert done.written == 2 * done.read
    report = check(tmp_path / "out.mp4", source)
    assert report.ok, report


def test_flow_adds_up_in_float32_in_half_precision() -> None:
    """At thousands of pixels float16 has no fractions, and bfloat16 no single pixels."""
    for dtype in (torch.float16, torch.bfloat16):
        net = Film(tiny.FILM).to(dtype).eval().requires_grad_(False)
        for predictor in (net.predict_flow._predictor, *net.predict_flow._predictors):
            last = predictor._convs[-1].conv
            last.weight.zero_()
            last.bias.copy_(torch.tensor([100.3, -50.7]))
        step = last.bias.float()
        a, b = ends(net, image(0).to(dtype), image(1).to(dtype))
        flows, residuals = net.estimate_flows(a[1], b[1], rows=None)
        for level, flow in enumerate(flows):
            wanted = step * (2 ** (tiny.FILM.levels - level) - 1)
            assert flow.dtype == residuals[level].dtype == torch.float32
            assert float((flow - wanted[None, :, None, None]).abs().max()) < 1e-3


def test_an_image_in_half_precision_is_close_to_that_in_float32(net: Film) -> None:
    sides = image(0, 64, 32), image(1, 64, 32)
    wanted = drawn(net, *ends(net, *sides))
    half = Film(tiny.FILM)
    half.load_state_dict(tiny.film_tensors())
    half.half()
    for rows in (None, 32):
        made = drawn(half, *ends(half, *(side.half() for side in sides), rows=rows), rows=rows)
        assert made.dtype == torch.float16
        assert float((made.float() - wanted).abs().max()) < 0.02


def test_on_a_gpu_bands_are_larger_and_a_small_budget_makes_them_small() -> None:
    net = Film(tiny.FILM)
    large = FilmInterpolator(net, "cuda", torch.float16, large_bands=True)
    small = large.low_memory()
    assert (small.large_bands, small.low_memory()) == (False, small)
    gap = FillGap(Grid(factor=Fraction(2)), drop=False, interpolate=large)
    reduced: Any = with_low_memory(build_stage(gap))
    assert reduced.gap.interpolate == small
    fixed = replace(large, rows=64)
    assert fixed.low_memory() is fixed, "the user's setting counts"
    assert choose_band_rows(1216, 832, large=True) is None
    assert choose_band_rows(1080, 1920) == 128
    assert choose_band_rows(1080, 1920, large=True) == 256


@pytest.mark.parametrize(
    ("width", "height", "gb"),
    mark_slow_cases([], [(832, 1216, 1.4), (1920, 1088, 2.5), (3840, 2176, 7.9)]),
)
def test_the_predicted_peak_on_a_gpu_is_within_the_limit(
    width: int, height: int, gb: float
) -> None:
    """Half precision, in small bands; live bytes, and what cuDNN's layouts take."""
    half = torch.float16
    with LiveMemory(layouts=True) as live:
        net = Film(Shape(), "meta").to(half).requires_grad_(False)
        live.add(*net.parameters())
        sides = [torch.empty(1, 3, height, width, dtype=half, device="meta") for _ in range(2)]
        rows = choose_band_rows(height, width)
        made = drawn(net, *ends(net, *sides, rows=rows), rows=rows)
    assert made.shape == (1, 3, height, width)
    assert live.peak < gb * 1e9
