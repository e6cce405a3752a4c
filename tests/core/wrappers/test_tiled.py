"""`tiled`: nets of random weights give on tiles what they give on the whole picture."""

from collections.abc import Callable
from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from filmgate.core.wrappers.tiled import Tile, tile_for, tiled
from filmgate.errors import BadSetting, DoesNotFit, StageContractError

NEAR = 1e-6


class Net(torch.nn.Module):
    """Convolutions that look `reach` pixels around, then `scale` times as large."""

    def __init__(self, kernels: tuple[int, ...], scale: int = 1, padding: Any = "zeros") -> None:
        super().__init__()
        torch.manual_seed(sum(kernels))
        sizes = [3, *[6] * (len(kernels) - 1), 3 * scale**2]
        self.layers = torch.nn.ModuleList(
            torch.nn.Conv2d(a, b, k, padding=k // 2, padding_mode=padding)
            for a, b, k in zip(sizes, sizes[1:], kernels, strict=False)
        )
        self.reach, self.scale = sum(k // 2 for k in kernels), scale

    def forward(self, picture: Any) -> Any:  # (3, H, W) -> (3, scale H, scale W)
        for layer in self.layers:
            picture = torch.tanh(layer(picture))
        return torch.nn.functional.pixel_shuffle(picture, self.scale)


class Hourglass(torch.nn.Module):
    """Half the size and half again, then back: a net with a grid of 4."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.down = torch.nn.Conv2d(3, 4, 4, stride=2, padding=1)
        self.deep = torch.nn.Conv2d(4, 4, 4, stride=2, padding=1)
        self.up = torch.nn.ConvTranspose2d(4, 3, 8, stride=4, padding=2)

    def forward(self, picture: Any) -> Any:
        return self.up(torch.tanh(self.deep(torch.tanh(self.down(picture)))))


def picture(height: int, width: int, seed: int = 0) -> Any:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def far(fn: Callable[..., Any], whole: Callable[..., Any], *given: Any) -> float:
    a, b = fn(*given), whole(*given)
    assert a.shape == b.shape
    assert a.dtype == b.dtype
    return float((a - b).abs().max())


@settings(max_examples=settings().max_examples // 2)
@given(
    st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3), st.sampled_from([1, 2, 4]),
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 24), st.integers(1, 24),
    st.sampled_from(["zeros", "replicate"]),
)  # fmt: skip
def test_tiles_of_any_size_make_the_whole(
    kernels: list[int], scale: int, height: int, width: int, high: int, wide: int, padding: str
) -> None:
    net = Net(tuple(kernels), scale, padding)
    by_tiles = tiled(net, halo=net.reach, out=[scale], tile=Tile(high, wide))
    assert far(by_tiles, net, picture(height, width)) <= NEAR


def test_one_pixel_less_around_a_tile_is_seen() -> None:
    """The halo is exact: with less of it the result is another."""
    net = Net((5, 5, 3))
    by_tiles = tiled(net, halo=net.reach - 1, tile=Tile(16, 16))
    assert far(by_tiles, net, picture(40, 40)) > 1e-4


@pytest.mark.parametrize("size", [(32, 48), (36, 52)])
def test_a_net_that_halves_and_doubles_has_a_grid(size: tuple[int, int]) -> None:
    net = Hourglass()
    assert far(tiled(net, halo=12, grid=4, tile=Tile(8, 12)), net, picture(*size)) <= NEAR


@torch.no_grad()
def test_inputs_and_results_of_several_scales_stay_together() -> None:
    """A pyramid of features goes in, two sizes of pictures come out, as in a fusion net."""
    half, quarter = Net((3, 3)), Net((3,))

    def fuse(a: Any, b: Any, c: Any) -> tuple[Any, Any]:
        deep = torch.nn.functional.interpolate(quarter(c)[None], scale_factor=2)[0] + half(b)
        wide = torch.nn.functional.interpolate(deep[None], scale_factor=2)[0]
        return Net((3, 3))(a + wide), deep

    given = (picture(40, 56), picture(20, 28, 1), picture(10, 14, 2))
    by_tiles = tiled(fuse, halo=12, grid=4, scales=[1, F(1, 2), F(1, 4)], out=[1, F(1, 2)],
                     tile=Tile(12, 16))  # fmt: skip
    for a, b in zip(by_tiles(*given), fuse(*given), strict=True):
        assert a.shape == b.shape
        assert float((a - b).abs().max()) <= NEAR


def test_arrays_with_channels_last_go_the_same_way() -> None:
    def blur(image: Any) -> Any:  # (H, W, C), edges repeated
        wide = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
        return sum(wide[i : i + image.shape[0], j : j + image.shape[1]]
                   for i in range(5) for j in range(5)) / 25  # fmt: skip

    image = np.random.default_rng(1).random((37, 51, 3)).astype(np.float32)
    by_tiles = tiled(blur, halo=2, axes="hwc", tile=Tile(10, 7))
    got = by_tiles(image)
    assert got.dtype == np.float32
    assert np.abs(got - blur(image)).max() <= NEAR


def test_a_size_that_halves_unevenly_keeps_its_edge() -> None:
    net = torch.nn.Conv2d(3, 3, 3, stride=2, padding=1)
    by_tiles = tiled(net, halo=2, grid=2, out=[F(1, 2)], tile=Tile(10, 8))
    assert far(by_tiles, net, picture(35, 41)) <= NEAR


def test_what_one_call_sees_keeps_the_budget() -> None:
    most = 0

    def watched(image: Any) -> Any:
        nonlocal most
        most = max(most, image.shape[-1] * image.shape[-2])
        return image

    image = picture(540, 960)
    for pixels in (8_000, 60_000, 300_000, 600_000):
        most = 0
        fn = tiled(watched, halo=16, grid=8, bytes_per_pixel=12, budget_bytes=12 * pixels)
        assert torch.equal(fn(image), image)
        assert pixels / 2 < most <= min(pixels, 540 * 960)


def test_a_picture_that_fits_is_one_tile() -> None:
    tile = tile_for(1080, 1920, halo=64, grid=64, bytes_per_pixel=1, budget_bytes=10**9)
    assert tile == Tile(1088, 1920)


def test_a_budget_for_no_tile_says_what_would_do() -> None:
    fit: dict[str, Any] = {"halo": 16, "grid": 8, "bytes_per_pixel": 100.0}
    with pytest.raises(DoesNotFit, match="a tile of 8x8 with 16 pixels around it") as told:
        tile_for(540, 960, budget_bytes=1000, **fit)
    needed = told.value.needed_bytes
    assert tile_for(540, 960, budget_bytes=needed, **fit)
    with pytest.raises(DoesNotFit):
        tile_for(540, 960, budget_bytes=needed - 200, **fit)


def test_what_cannot_be_is_refused() -> None:
    net = Net((3,))
    with pytest.raises(BadSetting, match="wanted both, or a tile"):
        tiled(net, halo=1)
    with pytest.raises(BadSetting, match="wanted multiples of 4"):
        tiled(net, halo=1, scales=[1, F(1, 4)], tile=Tile(10, 8))
    with pytest.raises(BadSetting, match="halo is -1"):
        tiled(net, halo=-1, tile=Tile(8, 8))
    with pytest.raises(BadSetting, match="2 pictures came"):
        tiled(net, halo=1, tile=Tile(8, 8))(picture(9, 9), picture(9, 9))
    with pytest.raises(BadSetting, match="a picture of scale 1/2"):
        tiled(net, halo=1, scales=[1, F(1, 2)], tile=Tile(8, 8))(picture(9, 9), picture(9, 9))
    with pytest.raises(StageContractError, match="1 results came out"):
        tiled(net, halo=1, out=[1, 1], tile=Tile(8, 8))(picture(9, 9))
