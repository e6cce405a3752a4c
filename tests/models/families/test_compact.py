"""compact: Lanczos before training, strips with the same results, chroma siting, weights."""

from dataclasses import replace
from fractions import Fraction
from math import pi
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from filmgate.core.frame import ColorTags, StreamSpec
from filmgate.core.instrumentation.memory import measure_peak
from filmgate.errors import BadSetting, BadWeights, Unsupported
from filmgate.flow.dis import downsample
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.compact import CompactOptions, find_weights, upscaler
from filmgate.models.families.compact.net import (
    Compact,
    Shape,
    build_kernel,
    enlarge_by_lanczos,
)
from filmgate.models.registry import build_upscaler
from filmgate.quality.metrics.psnr_ssim import psnr
from tests.flow.scenes import texture

COLOUR = ColorTags(matrix="bt709", range="tv")
SIZE = 46, 38
KINDS = ("gray", "gray10le", "gbrp", "yuv420p", "yuv420p10le", "yuv422p12le", "yuv444p", "yuva420p",
         "gbrap", "yuv411p")  # fmt: skip
STEPS = {"yuv420p": (2, 2), "yuv422p": (2, 1), "yuv411p": (4, 1)}


def random_net(scale: int, channels: int = 4, depth: int = 4) -> Compact:
    """Every convolution of it matters."""
    torch.manual_seed(scale)
    net = Compact(Shape(scale, channels, depth)).requires_grad_(False)
    last = net.convs[-1]
    assert isinstance(last, nn.Conv2d)
    nn.init.normal_(last.weight, 0, 0.1)
    return net


def spec(pixels: str = "yuv420p", **colour: str) -> StreamSpec:
    return StreamSpec(
        width=46,
        height=38,
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        pixels=pixels,
        colour=replace(COLOUR, **colour),
    )


def planes(pixels: str, size: tuple[int, int] = SIZE) -> Planes:
    """A texture in every plane, each its own."""
    empty = Planes((), pixels, COLOUR)
    across, down = STEPS.get(pixels.replace("yuva", "yuv")[:7], (1, 1))
    count = 1 if pixels.startswith("gray") else 4 if "a" in pixels[:4] else 3
    arrays = []
    for n in range(count):
        small = n in (1, 2)
        high, wide = -(-size[1] // (down if small else 1)), -(-size[0] // (across if small else 1))
        plane = texture(n, high, wide)
        arrays.append(plane if empty.bits == 8 else plane.astype(np.uint16) << (empty.bits - 8))
    return empty.with_arrays(tuple(arrays))


@pytest.mark.parametrize("scale", [2, 4])
def test_an_untrained_network_is_lanczos(scale: int) -> None:
    """A wave slower than the samples comes out where it belongs, to a thousandth."""
    y, x = np.mgrid[:48, :64]

    def wave(x: Any, y: Any) -> Any:
        return 0.5 + 0.2 * np.cos(2 * pi * x / 16) + 0.2 * np.sin(2 * pi * y / 20)

    plane = torch.from_numpy(wave(x, y)).float()[None, None]
    large_y, large_x = (np.mgrid[: 48 * scale, : 64 * scale] + 0.5) / scale - 0.5
    made = Compact(Shape(scale))(plane)
    inner = np.s_[4 * scale : -4 * scale, 4 * scale : -4 * scale]
    assert np.abs(made[0, 0].detach().numpy() - wave(large_x, large_y))[inner].max() < 4e-3
    assert torch.equal(made, enlarge_by_lanczos(plane, scale))
    assert torch.allclose(
        enlarge_by_lanczos(torch.full((1, 1, 8, 9), 0.3), scale), torch.tensor(0.3)
    )


@pytest.mark.parametrize("scale", [2, 4])
def test_strips_give_the_complete_image(scale: int) -> None:
    net = random_net(scale)
    plane = torch.rand(1, 1, 40, 33)
    seen = nn.functional.pad(plane, (net.reach,) * 4, mode="replicate")
    parts = [
        net.forward_padded(seen[:, :, first : first + 9 + 2 * net.reach])
        for first in range(0, 40, 9)
    ]
    assert float((torch.cat(parts, 2) - net(plane)).abs().max()) < 1e-6
    image = planes("yuv420p")
    full, striped = (upscaler.CompactUpscaler(net, rows=rows).upscale(image) for rows in (38, 7))
    assert all(map(np.array_equal, full.arrays, striped.arrays))


@pytest.mark.parametrize("pixels", ["yuv420p", "gbrp10le"])
@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_and_threads_change_no_bit(
    scale: int, pixels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last group of columns is not complete."""
    net, image = random_net(scale), planes(pixels, (47, 39))
    full = upscaler.CompactUpscaler(net, rows=39).upscale(image)
    for tile, threads in (((39, 8), 1), ((5, 47), 3), ((16, 12), 4), ((7, 5), 2)):
        monkeypatch.setattr(upscaler, "CPU_TILE", tile)
        monkeypatch.setattr(upscaler, "THREADS", threads)
        tiled = upscaler.CompactUpscaler(net).upscale(image)
        assert all(map(np.array_equal, full.arrays, tiled.arrays)), (tile, threads)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_columns_computed_together_are_those_computed_alone(scale: int, group: int) -> None:
    """The plain convolutions, followed by torch's shuffle of pixels."""
    net = random_net(scale)
    x = padded = torch.rand(2, 1, 9 + 2 * net.reach, 16 + 2 * net.reach)
    for conv in net.convs[:-1]:
        x = nn.functional.leaky_relu(conv(x), 0.1)
    inner = padded[..., 1:-1, 1:-1]
    plain = net.convs[-1](x) + nn.functional.conv2d(inner, build_kernel(scale))
    made = net.group_columns(group)(padded)
    assert made.shape == (2, 1, 9 * scale, 16 * scale)
    assert torch.allclose(made, nn.functional.pixel_shuffle(plain, scale), atol=1e-5)


@pytest.mark.parametrize("pixels", KINDS)
def test_every_pixel_format_keeps_its_bits(pixels: str) -> None:
    image = planes(pixels, (47, 39))
    for plane in image.arrays:
        plane.flags.writeable = False
    made = upscaler.CompactUpscaler(Compact(Shape(2))).upscale(image)
    assert (made.pixels, made.colour, made.size) == (pixels, COLOUR, (94, 78))
    across, down = STEPS.get(pixels.replace("yuva", "yuv")[:7], (1, 1))
    for n, (small, large) in enumerate(zip(image.arrays, made.arrays, strict=True)):
        steps = (across, down) if n in (1, 2) else (1, 1)
        assert large.shape == (-(-78 // steps[1]), -(-94 // steps[0]))
        assert large.dtype == small.dtype
        assert large.max() < 1 << image.bits
        full: Any = cv2.resize(large, small.shape[::-1], interpolation=cv2.INTER_AREA)
        assert psnr(full[2:-2, 2:-2], small[2:-2, 2:-2], (1 << image.bits) - 1) > 30


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("scale", [2, 4])
def test_chroma_keeps_its_position(scale: int, siting: str) -> None:
    """If left chroma were taken as central, it would move by a quarter of a pixel each time."""
    first = {"left": (True, False), "center": (False, False), "topleft": (True, True)}[siting]

    def chroma(size: tuple[int, int], times: int) -> tuple[Any, Any]:
        """Ramps, by where samples of chroma lie among the pixels of an image so many times as
        large."""
        x, y = (2 * np.arange(n // 2) + (0 if there else 0.5) for n, there in
                zip(size, first, strict=True))  # fmt: skip
        x, y = ((at + 0.5) / times - 0.5 for at in (x, y))
        flat = np.zeros((len(y), len(x)))
        return flat + 64 * x, flat + 64 * y[:, None]

    size = (48, 40)
    colour = replace(COLOUR, siting=siting)
    ramps = (ramp.round().astype(np.uint16) for ramp in chroma(size, 1))
    image = Planes((np.full(size[::-1], 9000, np.uint16), *ramps), "yuv420p16le", colour)
    made = upscaler.CompactUpscaler(Compact(Shape(scale))).upscale(image)
    wanted = chroma((48 * scale, 40 * scale), scale)
    inner = np.s_[8 * scale : -8 * scale, 8 * scale : -8 * scale]
    for found, truth in zip(made.arrays[1:], wanted, strict=True):
        assert np.abs(found - truth)[inner].mean() < 4, "of 64 a pixel; a wrong place is 16 off"


def test_unsupported_inputs_are_refused_before_the_first_frame(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="scale is 3: the model compact has 2 and 4"):
        build_upscaler("compact", spec(), 3)
    with pytest.raises(BadSetting, match=r"'compacts': pass one of compact"):
        build_upscaler("compacts", spec(), 2)
    with pytest.raises(Unsupported, match=r"HDR .* --tonemap"):
        build_upscaler("compact", spec(transfer="smpte2084"), 2)
    with pytest.raises(Unsupported, match="compact cannot take rgb"):
        build_upscaler("compact", spec("rgb"), 2)
    save_file(random_net(4).state_dict(), tmp_path / "x2.safetensors")
    with pytest.raises(BadWeights, match="enlarges 4 times and scale is 2: pass --scale 4"):
        build_upscaler("compact", spec(), 2, CompactOptions(weights=tmp_path))
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BadWeights, match="not weights of compact"):
        build_upscaler("compact", spec(), 2, CompactOptions(weights=tmp_path / "other.safetensors"))
    with pytest.raises(Unsupported, match="ndarray"):
        upscaler.CompactUpscaler(random_net(2)).upscale(np.zeros((3, 4, 4)))


@pytest.mark.parametrize("scale", [2, 4])
def test_the_weights_in_the_package_are_small_and_better_than_lanczos(scale: int) -> None:
    path = find_weights(scale)
    assert path.stat().st_size < 1_000_000
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    net = upscaler.open_network(path)
    assert net.shape == Shape(scale)
    truth = np.full((160, 240), 40, np.uint8)
    for n, words in enumerate(("A film gate", "is the opening", "in a projector")):
        cv2.putText(truth, words, (6 + 7 * n, 44 + 44 * n), cv2.FONT_HERSHEY_DUPLEX, 0.9, 200, 2,
                    cv2.LINE_AA)  # fmt: skip
    small = Planes((downsample(truth, scale),), "gray", COLOUR)
    learnt, plain = (
        upscaler.CompactUpscaler(x).upscale(small).arrays[0] for x in (net, Compact(net.shape))
    )
    assert psnr(learnt, truth) > psnr(plain, truth) + 0.5


@pytest.mark.slow
def test_tiles_bound_the_memory_of_an_image() -> None:
    """From 1920x1080 to 3840x2160, the result itself among it."""
    image = Planes(tuple(np.full((1080 // n, 1920 // n), 90, np.uint8) for n in (1, 2, 2)),
                   "yuv420p", COLOUR)  # fmt: skip
    way = upscaler.CompactUpscaler(random_net(2, 32, 6))
    way.upscale(planes("yuv420p"))
    peaks = []
    for _ in range(3):  # the least: what other tests left behind is freed at any moment
        with measure_peak() as peak:
            made = way.upscale(image)
        assert made.size == (3840, 2160)
        peaks.append(peak.bytes)
        del made
    assert min(peaks) < upscaler.THREADS * 20e6 + 30e6
