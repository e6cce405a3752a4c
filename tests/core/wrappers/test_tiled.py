"""`tiled`: networks with random weights give the same result in tiles as in one piece."""

from collections.abc import Callable
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filmgate.core.wrappers.tiled import Tile, choose_tile, tiled
from filmgate.errors import BadSetting, DoesNotFit, StageContractError

NEAR = 1e-6


class Net(torch.nn.Module):
    """Convolutions that reach `reach` pixels, then an upscale by `scale`."""

    def __init__(self, kernels: tuple[int, ...], scale: int = 1, padding: Any = "zeros") -> None:
        super().__init__()
        torch.manual_seed(sum(kernels))
        sizes = [3, *[6] * (len(kernels) - 1), 3 * scale**2]
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(a, b, k, padding=k // 2, padding_mode=padding)
            for a, b, k in zip(sizes, sizes[1:], kernels, strict=False)
        )
        self.reach, self.scale = sum(k // 2 for k in kernels), scale

    def forward(self, image: Any) -> Any:  # (3, H, W) -> (3, scale H, scale W)
        for layer in self.layers:
            image = torch.tanh(layer(image))
        return torch.nn.functional.pixel_shuffle(image, self.scale)


class Hourglass(torch.nn.Module):
    """Half the size and half again, then back: needs a grid of 4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.down = torch.nn.Conv2d(3, 4, 4, stride=2, padding=1)
        self.deep = torch.nn.Conv2d(4, 4, 4, stride=2, padding=1)
        self.up = torch.nn.ConvTranspose2d(4, 3, 8, stride=4, padding=2)

    def forward(self, image: Any) -> Any:
        return self.up(torch.tanh(self.deep(torch.tanh(self.down(image)))))


def make_image(height: int, width: int, seed: int = 0) -> Any:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def max_error(fn: Callable[..., Any], complete: Callable[..., Any], *inputs: Any) -> float:
    a, b = fn(*inputs), complete(*inputs)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    return float((a - b).abs().max())


@settings(max_examples=settings().max_examples // 2)
@given(
    st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3), st.sampled_from([1, 2, 4]),
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(1, 24),
    st.sampled_from(["zeros", "replicate"]),
)  # fmt: skip
def test_tiles_of_any_size_give_the_complete_result(
    kernels: list[int], scale: int, height: int, width: int, high: int, wide: int, padding: str
) -> None:
    net = Net(tuple(kernels), scale, padding)
    by_tiles = tiled(net, halo=net.reach, out=[scale], tile=Tile(high, wide))
    assert max_error(by_tiles, net, make_image(height, width)) <= NEAR


def test_a_halo_one_pixel_too_small_changes_the_result() -> None:
    """The halo is exact: a smaller one gives another result."""
    net = Net((5, 5, 3))
    by_tiles = tiled(net, halo=net.reach - 1, tile=Tile(16, 16))
    assert max_error(by_tiles, net, make_image(40, 40)) > 1e-4


@pytest.mark.parametrize("size", [(32, 48), (36, 52)])
def test_a_network_that_downscales_needs_a_grid(size: tuple[int, int]) -> None:
    net = Hourglass()
    assert max_error(tiled(net, halo=12, grid=4, tile=Tile(8, 12)), net, make_image(*size)) <= NEAR


@torch.no_grad()
def test_inputs_and_results_may_have_several_scales() -> None:
    """Features of three sizes in, images of two sizes out, as in a fusion network."""
    half, quarter = Net((3, 3)), Net((3,))

    def fuse(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
        deep = torch.nn.functional.interpolate(quarter(c)[None], scale_factor=2)[0] + half(b)
        wide = torch.nn.functional.interpolate(deep[None], scale_factor=2)[0]
        return Net((3, 3))(a + wide), deep

    inputs = (make_image(40, 56), make_image(20, 28, 1), make_image(10, 14, 2))
    by_tiles = tiled(fuse, halo=12, grid=4, scales=[1, F(1, 2), F(1, 4)], out=[1, F(1, 2)],
                     tile=Tile(12, 16))  # fmt: skip
    for a, b in zip(by_tiles(*inputs), fuse(*inputs), strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= NEAR


def test_arrays_with_channels_last_are_tiled_too() -> None:
    def blur(image: Any) -> Any:  # (H, W, C), edges repeated
        wide = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
        return sum(wide[i : i + image.shape[0], j : j + image.shape[1]]
                   for i in range(5) for j in range(5)) / 25  # fmt: skip

    image = np.random.default_rng(1).random((37, 51, 3)).astype(np.float32)
    by_tiles = tiled(blur, halo=2, axes="hwc", tile=Tile(10, 7))
    got = by_tiles(image)
    assert got.dtype == np.float32
    assert np.abs(got - blur(image)).max() <= NEAR


def test_an_odd_size_keeps_its_edge_when_halved() -> None:
    net = torch.nn.Conv2d(3, 3, 3, stride=2, padding=1)
    by_tiles = tiled(net, halo=2, grid=2, out=[F(1, 2)], tile=Tile(10, 8))
    assert max_error(by_tiles, net, make_image(35, 41)) <= NEAR


def test_the_input_of_each_call_keeps_the_budget() -> None:
    most = 0

    def record(image: Any) -> Any:
        nonlocal most
        most = max(most, image.shape[-1] * image.shape[-2])
        return image

    image = make_image(540, 960)
    for pixels in (8_000, 60_000, 300_000, 600_000):
        most = 0
        fn = tiled(record, halo=16, grid=8, bytes_per_pixel=12, budget_bytes=12 * pixels)
        assert torch.equal(fn(image), image)
        assert pixels / 2 < most <= min(pixels, 540 * 960)


def test_an_image_that_fits_is_one_tile() -> None:
    tile = choose_tile(1080, 1920, halo=64, grid=64, bytes_per_pixel=1, budget_bytes=10**9)
    assert tile == Tile(1088, 1920)


def test_a_budget_too_small_for_a_tile_reports_the_bytes_needed() -> None:
    fit: dict[str, Any] = {"halo": 16, "grid": 8, "bytes_per_pixel": 100.0}
    with pytest.raises(DoesNotFit, match="a tile of 8x8 with 16 pixels around it") as error:
        choose_tile(540, 960, budget_bytes=1000, **fit)
    needed = error.value.needed_bytes
    assert choose_tile(540, 960, budget_bytes=needed, **fit)
    with pytest.raises(DoesNotFit):
        choose_tile(540, 960, budget_bytes=needed - 200, **fit)


def test_invalid_arguments_are_refused() -> None:
    net = Net((3,))
    with pytest.raises(BadSetting, match="give both, or a tile"):
        tiled(net, halo=1)
    with pytest.raises(BadSetting, match="multiples of 4"):
        tiled(net, halo=1, scales=[1, F(1, 4)], tile=Tile(10, 8))
    with pytest.raises(BadSetting, match="halo is -1"):
        tiled(net, halo=-1, tile=Tile(8, 8))
    with pytest.raises(BadSetting, match="2 images for scales"):
        tiled(net, halo=1, tile=Tile(8, 8))(make_image(9, 9), make_image(9, 9))
    with pytest.raises(BadSetting, match="an image of scale 1/2"):
        tiled(net, halo=1, scales=[1, F(1, 2)], tile=Tile(8, 8))(make_image(9, 9), make_image(9, 9))
    with pytest.raises(StageContractError, match="1 results for out scales"):
        tiled(net, halo=1, out=[1, 1], tile=Tile(8, 8))(make_image(9, 9))
