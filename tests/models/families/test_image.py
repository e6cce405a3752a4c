"""image: networks that spandrel knows, from their files, with tiles; and words where it can't."""

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
from filmgate.models.contracts import Knobs
from filmgate.models.families import image
from filmgate.models.registry import family_of, upscaler
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


def test_what_comes_out_is_what_the_network_makes_of_rgb() -> None:
    chance = np.random.default_rng(1)
    sizes = ((48, 64), (24, 32), (24, 32))
    planes = Planes(tuple(chance.integers(16, 235, size, np.uint8) for size in sizes), "yuv420p",
                    SPEC.colour)  # fmt: skip
    enlarge = upscaler("image", SPEC, 2, Knobs(tiny.weights("image")))
    assert callable(enlarge)
    made: Any = enlarge(planes)
    with torch.inference_mode():
        network = image.known(tiny.weights("image"))
        wanted = rgb.to_planes(network(rgb.to_rgb(planes)[None])[0], "yuv420p", SPEC.colour)  # type: ignore[operator]
    assert made.size == (128, 96)
    assert all(map(np.array_equal, made.arrays, wanted.arrays))


@pytest.mark.parametrize(("dtype", "close"), [("float16", 1), ("bfloat16", 6)])
def test_other_numbers_give_nearly_the_same(dtype: Any, close: int) -> None:
    planes = Planes((np.random.default_rng(2).integers(16, 235, (70, 90), np.uint8),) * 3,
                    "yuv444p", SPEC.colour)  # fmt: skip
    spec = replace(SPEC, width=90, height=70, pixels="yuv444p")
    ways: Any = [upscaler("image", spec, 2, Knobs(tiny.weights("image"), name, tile))
                 for name, tile in ((None, None), (dtype, 64))]  # fmt: skip
    one, other = (way(planes).arrays[0].astype(int) for way in ways)
    assert 0 < abs(one - other).max() <= close


def test_what_a_network_does_not_bear_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from spandrel import ModelTiling  # seconds: only where it is wanted

    found: Any = image.known(tiny.weights("image"))
    found.supports_half, found.tiling = False, ModelTiling.DISCOURAGED
    monkeypatch.setattr(image, "known", lambda path: found)
    with pytest.raises(BadSetting, match="does not bear: wanted float32 or bfloat16"):
        upscaler("image", SPEC, 2, Knobs(tiny.weights("image"), "float16"))
    with pytest.raises(BadSetting, match="tile is 64, and RealESRGAN Compact wants whole pictures"):
        upscaler("image", SPEC, 2, Knobs(tiny.weights("image"), tile=64))


def test_tiles_give_the_whole_picture_of_a_local_network() -> None:
    network = image.known(tiny.weights("image"))
    picture = torch.rand(1, 3, 70, 90)
    with torch.inference_mode():
        parts = tiled(network, halo=image.HALO // 8, out=(2,), tile=Tile(32, 32))(picture)  # type: ignore[arg-type]
        assert float((parts - network(picture)).abs().max()) < 1e-5  # type: ignore[operator]


@pytest.mark.parametrize(
    "place",
    ["params_ema", "params-ema", "params", "state_dict", "model_state_dict", "net", "g", ""],
)
def test_a_file_is_known_by_its_tensors_wherever_a_trainer_put_them(
    place: str, tmp_path: Path
) -> None:
    held: dict[str, Any] = {f"module.{key}": value for key, value in tiny.image_tensors(4).items()}
    more = {"iter": 5} if place in ("params", "params_ema") else {}
    torch.save({place: held, **more} if place else held, tmp_path / "4x.pth")
    assert family_of(tmp_path / "4x.pth") == "image"
    assert image.known(tmp_path / "4x.pth").scale == 4  # type: ignore[attr-defined]


def test_what_only_looks_like_a_network_is_told(tmp_path: Path) -> None:
    held = tiny.image_tensors() | {"body.1.weight": torch.zeros(5)}
    save_file(held, tmp_path / "x.safetensors")
    with pytest.raises(BadWeights, match="can't be made into the network that spandrel takes it"):
        image.known(tmp_path / "x.safetensors")


def test_what_can_not_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="name a file with --model"):
        upscaler("image", SPEC, 2)
    with pytest.raises(BadSetting, match="enlarges 2 times and scale is 4: pass --scale 2"):
        upscaler("image", SPEC, 4, Knobs(tiny.weights("image")))
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(BadWeights, match="no network that spandrel knows"):
        upscaler("image", SPEC, 2, Knobs(tmp_path / "x.safetensors"))
    with pytest.raises(Unsupported, match="image was given ndarray"):
        image.Enlarge(torch.relu, "cpu").picture(np.zeros((4, 4)))


def test_from_file_to_file(tmp_path: Path) -> None:
    source = videos.make(videos.VIDEOS["sound"], tmp_path / "in.mp4")
    task = fg.Upscale(model="image", weights=tiny.weights("image"))
    fg.run(task, source, fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    report = check(tmp_path / "out.mp4", source)
    assert report.ok, report


def test_from_the_command_line_a_file_of_weights_is_enough(
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
