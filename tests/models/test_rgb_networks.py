"""Networks of RGB tensors become models: any size, format, dtype and batch, and clear errors."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import filmgate as fg
from filmgate.core.frame import ColorTags, Frame
from filmgate.errors import BadOutput, BadSetting, StageContractError, Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.models.contracts import BatchUpscaler
from filmgate.models.rgb_networks import rgb_interpolator, rgb_upscaler
from filmgate.plugins import Family, register_family
from filmgate.tasks.upscale import make_stage
from filmgate.testing import check_family, make_sample_video
from tests import videos

HDR = ColorTags("bt2020nc", "bt2020", "smpte2084", "tv")


class Net(nn.Module):
    """Repeats pixels, and notes what it gets."""

    def __init__(self, scale: int = 2, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.scale = scale
        self.gain = nn.Parameter(torch.ones(1, dtype=dtype))
        self.drop = nn.Dropout(0.5)
        self.seen: list[tuple[tuple[int, ...], torch.dtype]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((tuple(x.shape), x.dtype))
        return functional.interpolate(self.drop(x * self.gain), scale_factor=self.scale)


class Mix(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, a: Tensor, b: Tensor, t: Tensor) -> Tensor:
        self.seen.append(tuple(a.shape))
        assert t.shape == (len(a), 1, 1, 1)
        return a + t * (b - a)


def make_image(width: int = 22, height: int = 14, pixels: str = "yuv420p") -> Planes:
    y, x = torch.meshgrid(torch.arange(height) / 9, torch.arange(width) / 9, indexing="ij")
    rgb = 0.5 + 0.3 * torch.stack([torch.sin(x + y), torch.cos(x - y), torch.sin(x + 1)])
    like = Planes((np.zeros((2, 2), np.uint8),), pixels, ColorTags("bt709", range="tv"))
    return like.from_rgb(rgb)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p10le", "gbrp", "gray"])
@pytest.mark.parametrize("size", [(22, 14), (21, 13), (3, 2)])
def test_an_image_of_any_size_and_format_is_enlarged(pixels: str, size: tuple[int, int]) -> None:
    net, image = Net(), make_image(*size, pixels)
    result = rgb_upscaler(net, multiple=8)(image)
    assert (result.pixels, result.colour) == (pixels, image.colour)
    assert result.size == (2 * size[0], 2 * size[1])
    assert net.seen == [((1, 3, -(-size[1] // 8) * 8, -(-size[0] // 8) * 8), torch.float32)]
    repeated = functional.interpolate(image.to_rgb()[None], scale_factor=2)[0]
    assert float((result.to_rgb() - repeated).abs().mean()) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_images_have_the_dtype_of_the_parameters_and_dropout_is_off(dtype: torch.dtype) -> None:
    net = Net(dtype=dtype)
    upscale = rgb_upscaler(net.train())
    first, second = upscale(make_image()), upscale(make_image())
    assert net.seen[0] == ((1, 3, 14, 22), dtype)
    assert all(map(np.array_equal, first.arrays, second.arrays))


def test_a_batch_of_the_plan_is_one_call() -> None:
    net = Net()
    upscaler = rgb_upscaler(net)
    assert isinstance(upscaler, BatchUpscaler)
    frames = [Frame(n, F(n, 25), F(1, 25), make_image()) for n in range(4)]
    _, outputs = make_stage(upscaler, 2).step((), frames)
    assert [shape for shape, _ in net.seen] == [(4, 3, 14, 22)]
    assert [frame.index for frame in outputs] == [0, 1, 2, 3]
    with pytest.raises(Unsupported, match="one batch are"):
        upscaler.upscale_batch([make_image(), make_image(20)])


@pytest.mark.parametrize(("batch", "sizes"), [(1, [1, 1, 1]), (2, [2, 1]), (8, [3])])
def test_images_between_two_are_made_in_batches(batch: int, sizes: list[int]) -> None:
    net = Mix()
    a, b = make_image(), make_image().from_rgb(1 - make_image().to_rgb())
    at = [F(1, 4), F(1, 2), F(3, 4)]
    results = rgb_interpolator(net, multiple=16, batch=batch)(a, b, at)
    assert net.seen == [(n, 3, 16, 32) for n in sizes]
    for part, result in zip(at, results, strict=True):
        assert (result.size, result.pixels) == (a.size, a.pixels)
        wanted = a.to_rgb() + float(part) * (b.to_rgb() - a.to_rgb())
        assert float((result.to_rgb() - wanted).abs().max()) < 0.04


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (lambda x: x[0], r"returned Tensor \(3, 14, 22\) .*wanted a floating-point tensor \(N, 3"),
        (lambda x: x[:, :1], r"\(1, 1, 14, 22\)"),
        (lambda x: x[..., :-1], r"\(1, 3, 14, 21\)"),
        (lambda x: (x, x), "returned tuple"),
        (lambda x: (x * 255).byte(), "torch.uint8"),
    ],
)
def test_what_is_no_image_is_refused(network: Callable[[Tensor], Any], words: str) -> None:
    with pytest.raises(StageContractError, match=words):
        rgb_upscaler(network)(make_image())


def test_what_the_network_cannot_take_or_make_is_refused() -> None:
    upscale = rgb_upscaler(Net())
    with pytest.raises(Unsupported, match=r"HDR .* pass --tonemap"):
        upscale(replace(make_image(), colour=HDR))
    with pytest.raises(Unsupported, match="cannot take Tensor: pass planes"):
        upscale(torch.zeros(3, 8, 8))
    with pytest.raises(Unsupported, match="alpha"):
        upscale(Planes((np.zeros((4, 4), np.uint8),) * 4, "yuva444p"))
    with pytest.raises(FloatingPointError, match="NaN or infinite"):
        rgb_upscaler(lambda x: x / 0)(make_image())
    with pytest.raises(StageContractError, match="images of the same size"):
        rgb_interpolator(lambda a, b, t: Net()(a))(make_image(), make_image(), [F(1, 2)])
    with pytest.raises(BadSetting, match="pass an instance"):
        rgb_upscaler(Net)  # type: ignore[arg-type]
    with pytest.raises(BadSetting, match="multiple is 0"):
        rgb_upscaler(Net(), multiple=0)
    with pytest.raises(BadSetting, match="batch is 0"):
        rgb_interpolator(Mix(), batch=0)


def test_the_stage_names_a_scale_that_is_not_the_models() -> None:
    frame = Frame(0, F(0), F(1, 25), make_image())
    with pytest.raises(StageContractError, match="made 44x28 of 22x14 and scale is 4"):
        make_stage(rgb_upscaler(Net()), 4).step((), [frame])
    with pytest.raises(BadOutput, match=r"upscale, from 0\.000 s: .*NaN"):
        make_stage(rgb_upscaler(lambda x: x / 0), 1).step((), [frame])


FAMILY = Family(
    name="test_rgb",
    summary="Repeats and mixes pixels.",
    scales=(2,),
    build_upscaler=lambda spec, scale, options, placement: rgb_upscaler(Net(scale), multiple=8),
    build_interpolator=lambda spec, options, placement: rgb_interpolator(Mix(), multiple=16),
)


@pytest.fixture(autouse=True)
def no_families_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


@pytest.mark.slow
def test_a_family_passes_the_laws_and_runs_in_this_process(tmp_path: Path) -> None:
    check_family(FAMILY, make_sample_video(12, pixels="yuv420p"), tries=1)
    register_family(FAMILY)
    register_family(FAMILY)
    video = videos.make(videos.VIDEOS["even"], tmp_path / "video.mp4")
    tasks = fg.Upscale(model="test_rgb"), fg.Interpolate(model="test_rgb")
    frames = list(fg.frames(tasks, video))
    assert len(frames) == 24
    assert all(isinstance(f.image, Planes) and f.image.size == (128, 96) for f in frames)


def test_a_family_that_forgets_its_model_or_takes_a_name_is_refused() -> None:
    with pytest.raises(BadSetting, match="has no model: set build_upscaler"):
        check_family(replace(FAMILY, build_upscaler=None, build_interpolator=None))
    with pytest.raises(BadSetting, match="called compact already"):
        register_family(replace(FAMILY, name="compact"))
    with pytest.raises(BadSetting, match="pass a Family"):
        register_family("compact")  # type: ignore[arg-type]


def test_a_family_with_memory_of_its_own_is_named() -> None:
    last: list[Planes] = []

    def average(x: Tensor) -> Tensor:
        last.append(make_image())
        return x + len(last) / 100

    broken = replace(FAMILY, build_interpolator=None, scales=(1,),
                     build_upscaler=lambda *_: rgb_upscaler(average))  # fmt: skip
    with pytest.raises(AssertionError, match="keeps memory outside of its state"):
        check_family(broken, make_sample_video(pixels="yuv420p"))
