"""image: networks that spandrel knows, from their files, in tiles, and its errors."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import filmgate as fg
from filmgate.cli.main import main
from filmgate.core.frame import ColorTags, StreamSpec
from filmgate.core.wrappers.tiled import Tile, tiled
from filmgate.errors import BadSetting, BadWeights, Exit, Unsupported
from filmgate.media.pixels import rgb
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.image import ImageOptions, upscaler
from filmgate.models.registry import build_upscaler, identify_weights
from filmgate.quality.verify import check
from tests import videos
from tests.models import tiny

SPEC = StreamSpec(
    width=64,
    height=48,
    rate=Fraction(25),
    time_base=Fraction(1, 25),
    pixels="yuv420p",
    colour=ColorTags(matrix="bt709", range="tv"),
)


def test_results_are_those_of_the_network_on_rgb() -> None:
    chance = np.random.default_rng(1)
    sizes = ((48, 64), (24, 32), (24, 32))
    planes = Planes(tuple(chance.integers(16, 235, size, np.uint8) for size in sizes), "yuv420p",
                    SPEC.colour)  # fmt: skip
    enlarge = build_upscaler("image", SPEC, 2, ImageOptions(weights=tiny.weights("image")))
    assert callable(enlarge)
    made: Any = enlarge(planes)
    with torch.inference_mode():
        network = upscaler.load_network(tiny.weights("image"))
        wanted = rgb.to_planes(network(rgb.to_rgb(planes)[None])[0], "yuv420p", SPEC.colour)  # type: ignore[operator]
    assert made.size == (128, 96)
    assert all(map(np.array_equal, made.arrays, wanted.arrays))


@pytest.mark.parametrize(("dtype", "close"), [("float16", 1), ("bfloat16", 6)])
def test_other_dtypes_give_nearly_the_same(dtype: Any, close: int) -> None:
    planes = Planes((np.random.default_rng(2).integers(16, 235, (70, 90), np.uint8),) * 3,
                    "yuv444p", SPEC.colour)  # fmt: skip
    spec = replace(SPEC, width=90, height=70, pixels="yuv444p")
    weights = tiny.weights("image")
    choices = (ImageOptions(weights=weights), ImageOptions(weights=weights, dtype=dtype, tile=64))
    ways: Any = [build_upscaler("image", spec, 2, options) for options in choices]
    one, other = (way(planes).arrays[0].astype(int) for way in ways)
    assert 0 < abs(one - other).max() <= close


def test_unsupported_dtypes_and_tiles_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from spandrel import ModelTiling  # seconds: only where it is wanted

    found: Any = upscaler.load_network(tiny.weights("image"))
    found.supports_half, found.tiling = False, ModelTiling.DISCOURAGED
    monkeypatch.setattr(upscaler, "load_network", lambda path: found)
    with pytest.raises(BadSetting, match="does not support: pass float32 or bfloat16"):
        build_upscaler(
            "image", SPEC, 2, ImageOptions(weights=tiny.weights("image"), dtype="float16")
        )
    with pytest.raises(
        BadSetting, match="tile is 64, and RealESRGAN Compact needs complete images"
    ):
        build_upscaler("image", SPEC, 2, ImageOptions(weights=tiny.weights("image"), tile=64))


def test_tiles_give_the_complete_image() -> None:
    network = upscaler.load_network(tiny.weights("image"))
    sample = torch.rand(1, 3, 70, 90)
    with torch.inference_mode():
        parts = tiled(network, halo=upscaler.HALO // 8, out=(2,), tile=Tile(32, 32))(sample)  # type: ignore[arg-type]
        assert float((parts - network(sample)).abs().max()) < 1e-5  # type: ignore[operator]


@pytest.mark.parametrize(
    "place",
    ["params_ema", "params-ema", "params", "state_dict", "model_state_dict", "net", "g", ""],
)
def test_tensors_are_found_under_every_usual_key(place: str, tmp_path: Path) -> None:
    held: dict[str, Any] = {f"module.{key}": value for key, value in tiny.image_tensors(4).items()}
    more = {"iter": 5} if place in ("params", "params_ema") else {}
    torch.save({place: held, **more} if place else held, tmp_path / "4x.pth")
    assert identify_weights(tmp_path / "4x.pth") == "image"
    assert upscaler.load_network(tmp_path / "4x.pth").scale == 4  # type: ignore[attr-defined]


def test_a_file_that_only_resembles_a_network_is_refused(tmp_path: Path) -> None:
    held = tiny.image_tensors() | {"body.1.weight": torch.zeros(5)}
    save_file(held, tmp_path / "x.safetensors")
    with pytest.raises(BadWeights, match="cannot be loaded as the network that spandrel takes it"):
        upscaler.load_network(tmp_path / "x.safetensors")


def test_invalid_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="name a file with --model"):
        build_upscaler("image", SPEC, 2)
    with pytest.raises(BadSetting, match="enlarges 2 times and scale is 4: pass --scale 2"):
        build_upscaler("image", SPEC, 4, ImageOptions(weights=tiny.weights("image")))
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(BadWeights, match="not a network that spandrel knows"):
        build_upscaler("image", SPEC, 2, ImageOptions(weights=tmp_path / "x.safetensors"))
    with pytest.raises(Unsupported, match="image cannot take ndarray"):
        upscaler.SpandrelUpscaler(torch.relu, "cpu").upscale(np.zeros((4, 4)))


def test_from_file_to_file(tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS["sound"], tmp_path / "in.mp4")
    task = fg.Upscale(model="image", options=ImageOptions(weights=tiny.weights("image")))
    fg.run(task, source, fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    report = check(tmp_path / "out.mp4", source)
    assert report.ok, report


def test_the_command_line_needs_only_a_file_of_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    torch.save({"params_ema": tiny.image_tensors(4)}, "4x.pth")
    words = ["upscale", "in.mp4", "out.mp4", "--model", "4x.pth", "--preset", "ultrafast"]
    assert main([*words, "--quiet"]) == Exit.USER
    assert "enlarges 4 times and scale is 2: pass --scale 4" in capsys.readouterr().err
    assert main([*words, "--quiet", "--scale", "4"]) == Exit.DONE
    report = check(tmp_path / "out.mp4", tmp_path / "in.mp4")
    assert report.ok, report
