"""What `generate` is asked for: sizes, frames and settings, without weights or torch."""

import re
from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Job
from filmgate.errors import BadInput, BadSetting, BadWeights, Unsupported
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.images.image_file import ImageFile
from filmgate.media.pixels.planes import Planes
from filmgate.media.sinks import VideoOutput
from filmgate.models.contracts import GenerationRequest
from filmgate.models.families.wan22.published import I2V_A14B, TI2V_5B, VARIANTS
from filmgate.models.families.wan22.request import (
    Wan22Options,
    choose_guidance,
    count_passes,
    describe_video,
)
from filmgate.planning.fit import fit, plan_within
from filmgate.planning.generation import BUDGETS, plan_generation
from filmgate.planning.limits import Limits
from filmgate.tasks.generate import Generate, parse_size


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("image") / "in.png"
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(path)
    return path


def make_request(width: int = 96, height: int = 64, **settings: Any) -> GenerationRequest:
    plane = np.zeros((height, width), np.uint8)
    return GenerationRequest(image=Planes((plane,), "gray"), **settings)


@pytest.mark.parametrize(
    ("variant", "frames", "made"),
    [(TI2V_5B, None, 121), (I2V_A14B, None, 81), (TI2V_5B, 81, 81), (TI2V_5B, 80, 81),
     (I2V_A14B, 82, 85), (I2V_A14B, 1, 1), (TI2V_5B, 2, 5)],
)  # fmt: skip
def test_frames_are_rounded_up_and_that_is_said(variant: Any, frames: Any, made: int) -> None:
    video = describe_video(make_request(frames=frames, size=(832, 480)), variant)
    assert video.frames == made
    said = any(f"frames is {frames}, and" in notice for notice in video.notices)
    assert said == (frames not in (None, made))


@pytest.mark.parametrize(
    ("name", "size", "made"),
    [("ti2v-5b", (832, 1216), (832, 1216)), ("ti2v-5b", (830, 1210), (832, 1216)),
     ("ti2v-5b", (848, 480), (832, 480)), ("i2v-a14b", (848, 480), (848, 480)),
     ("i2v-a14b", (17, 20), (16, 16))],
)  # fmt: skip
def test_sizes_are_rounded_to_what_the_model_takes(name: str, size: Any, made: Any) -> None:
    video = describe_video(make_request(*made, size=size, frames=5), VARIANTS[name])
    assert (video.width, video.height) == made
    assert bool(video.notices) == (size != made)


@pytest.mark.parametrize("shape", [(4000, 3000), (1000, 1000), (720, 1280), (3000, 100)])
@pytest.mark.parametrize("variant", [TI2V_5B, I2V_A14B])
def test_without_a_size_the_video_has_the_shape_of_the_image(variant: Any, shape: Any) -> None:
    video = describe_video(make_request(*shape), variant)
    area = 1280 * 704 if variant is TI2V_5B else 832 * 480
    assert video.width % variant.multiple == video.height % variant.multiple == 0
    assert 0.85 < video.width * video.height / area < 1.15
    wanted = min(max(shape[0] / shape[1], 0.2), 5)
    assert 0.85 < video.width / video.height / wanted < 1.15


@pytest.mark.parametrize(
    ("shape", "fit", "said"),
    [((832, 480), "crop", ""), ((1664, 960), "pad", ""),
     ((960, 960), "crop", "42% of its height is cut off"),
     ((960, 960), "pad", "42% of the video's width is black"),
     ((3000, 480), "crop", "72% of its width is cut off"),
     ((3000, 480), "pad", "72% of the video's height is black")],
)  # fmt: skip
def test_what_is_cut_off_or_added_is_said(shape: Any, fit: Any, said: str) -> None:
    video = describe_video(make_request(*shape, size=(832, 480), fit=fit, frames=5), TI2V_5B)
    assert said in " ".join(video.notices)
    assert bool(said) == bool(video.notices)


@pytest.mark.parametrize("fit", ["crop", "pad"])
@pytest.mark.parametrize("shape", [(96, 64), (64, 96), (33, 200), (192, 128)])
def test_an_image_is_fitted_to_the_size(fit: str, shape: tuple[int, int]) -> None:
    from filmgate.models.families.wan22.generator import fit_image

    plane = np.full((shape[1], shape[0]), 255, np.uint8)
    made = fit_image(Planes((plane, plane, plane), "gbrp"), (96, 64), fit)
    assert made.shape == (3, 64, 96)
    white = float((made > 0.99).float().mean())
    scales = 96 / shape[0], 64 / shape[1]
    assert abs(white - (1.0 if fit == "crop" else min(scales) / max(scales))) < 0.05


def test_guidance_is_as_published_and_1_takes_one_pass() -> None:
    assert choose_guidance(make_request(), TI2V_5B) == (5.0, 5.0)
    assert choose_guidance(make_request(guidance=(2.0, None)), I2V_A14B) == (2.0, 2.0)
    assert choose_guidance(make_request(guidance=(None, 4.0)), I2V_A14B) == (3.5, 4.0)
    assert [count_passes((value, 3.5)) for value in (1.0, 0.5, 1.01)] == [1, 1, 2]


def test_a_last_image_is_only_for_models_that_take_one() -> None:
    last = Planes((np.zeros((64, 96), np.uint8),), "gray")
    with pytest.raises(BadSetting, match="i2v-a14b"):
        describe_video(make_request(last=last), TI2V_5B)
    with pytest.raises(BadSetting, match="5 frames or more"):
        describe_video(make_request(last=last, frames=1), I2V_A14B)
    assert describe_video(make_request(last=last, frames=5), I2V_A14B).frames == 5


@pytest.mark.parametrize("text", ["", "832", "832x", "x480", "-1x5", "8x8", "99999x480", "832x48O"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match="wanted width x height"):
        parse_size(text)


@pytest.mark.parametrize(
    "settings",
    [{"steps": 0}, {"steps": 1001}, {"guidance": 0}, {"guidance": 101}, {"prompt": "a" * 10_001},
     {"size": "big"}, {"image_fit": "bend"}, {"model": "dis"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        Generate(**settings)


def test_no_image_no_prompt_and_a_video_as_input_are_refused(image: Path) -> None:
    with pytest.raises(BadSetting, match="no image"):
        Generate(prompt="a").check_weights()
    with pytest.raises(BadSetting, match="no prompt"):
        Generate(image=ImageFile(image), prompt=" ").check_weights()
    spec = StreamSpec(width=96, height=64, rate=F(25), time_base=F(1, 25), pixels="yuv420p")
    with pytest.raises(BadSetting, match="makes its own frames"):
        Generate(image=ImageFile(image), prompt="a").stages(spec)


def test_the_timeline_has_the_frames_that_are_made_besides(image: Path) -> None:
    task = Generate(image=ImageFile(image), prompt="a", size="96x64")
    frames = [Frame(n, F(n, 16), F(1, 16), ()) for n in range(7)]
    made = list(task.timeline(frames))
    assert [(frame.index, frame.time) for frame in made] == [(n, F(n, 16)) for n in range(9)]
    assert list(task.timeline([])) == []
    spec = StreamSpec(width=0, height=0, rate=F(16), time_base=F(1, 16), pixels="empty", frames=7)
    assert task.describe_output(spec).frames == 9


def write_image(name: str, folder: Path) -> Path:
    """Write an image of 90x60 of some kind: a slope of colours that any codec keeps."""
    from PIL import Image

    y, x = np.mgrid[:60, :90]
    rgb = np.stack([x * 2.8, y * 4, 255 - x * 2.8], -1).astype(np.uint8)
    image, path = Image.fromarray(rgb), folder / name
    more = [Image.fromarray(np.roll(rgb, 9, 1))]
    turned = Image.Exif()
    turned[274] = 6
    opaque, alpha = (np.dstack([rgb, np.full((60, 90), value, np.uint8)]) for value in (255, 254))
    forms: dict[str, Callable[[], object]] = {
        "turned.jpg": lambda: image.save(path, exif=turned),
        "cmyk.jpg": lambda: image.convert("CMYK").save(path, quality=95),
        "cmyk.tif": lambda: image.convert("CMYK").save(path),
        "opaque.png": lambda: Image.fromarray(opaque).save(path),
        "opaque.webp": lambda: Image.fromarray(opaque).save(path, lossless=True),
        "16.png": lambda: Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save(path),
        "alpha.png": lambda: Image.fromarray(alpha).save(path),
        "moving.png": lambda: image.save(path, save_all=True, append_images=more),
        "moving.webp": lambda: image.save(path, save_all=True, append_images=more),
        "pages.tif": lambda: image.save(path, save_all=True, append_images=more),
        "moving.gif": lambda: image.save(path, save_all=True, append_images=more),
        "empty.png": path.touch,
        "text.png": lambda: path.write_text("no image"),
    }
    forms[name]()
    return path


@pytest.mark.parametrize(
    "name", ["turned.jpg", "cmyk.jpg", "cmyk.tif", "opaque.png", "opaque.webp", "16.png"]
)
def test_images_of_all_kinds_begin_a_video(name: str, tmp_path: Path) -> None:
    task = Generate(image=ImageFile(write_image(name, tmp_path)), prompt="a",
                    options=Wan22Options(variant="i2v-a14b"))  # fmt: skip
    video = task.describe_video(5)
    assert (video.width > video.height) == (name != "turned.jpg"), "turned by its EXIF"
    assert task.image is not None
    rgb = task.image.read().to_rgb().permute(1, 2, 0).numpy() * 255
    if name == "turned.jpg":
        rgb = np.rot90(rgb)
    y, x = np.mgrid[:60, :90]
    wanted = np.stack([x * 2.8, y * 4, 255 - x * 2.8], -1)
    if name == "16.png":
        wanted = wanted[..., :1]
    assert np.abs(rgb - wanted).mean() < 3


@pytest.mark.parametrize(
    ("name", "said"),
    [("alpha.png", "flatten it"), ("moving.png", "pass it by itself, as a video, or convert it"),
     ("moving.webp", "animated WebP"), ("moving.gif", "convert it to PNG"),
     ("pages.tif", "save each as a file, or convert it"), ("empty.png", "it is empty"),
     ("text.png", "starts with b'no image'")],
)  # fmt: skip
def test_images_that_cannot_begin_a_video_are_refused(name: str, said: str, tmp_path: Path) -> None:
    for last in (False, True):
        image = ImageFile(write_image(name, tmp_path))
        good = ImageFile(write_image("opaque.png", tmp_path))
        task = Generate(image=good if last else image, last=image if last else None, prompt="a",
                        options=Wan22Options(variant="i2v-a14b"))  # fmt: skip
        with pytest.raises((BadInput, Unsupported), match=re.escape(said)):
            task.describe_video(5)


def test_what_the_model_does_not_have_is_refused(image: Path) -> None:
    task = Generate(image=ImageFile(image), prompt="a", low_guidance=3)
    with pytest.raises(BadSetting, match="ti2v-5b has one transformer"):
        task.describe_video(5)
    with pytest.raises(BadSetting, match="fps is 0"):
        task.make_source(5, F(0))
    assert parse_size("832X480") == (832, 480)


def test_missing_weights_are_named_with_the_time_it_would_take(image: Path, tmp_path: Path) -> None:
    options = Wan22Options(variant="ti2v-5b", weights=tmp_path / "none")
    task = Generate(image=ImageFile(image), prompt="a", options=options, device="cpu", steps=50)
    with pytest.raises(BadWeights) as caught:
        task.check_job_weights(FrameCounter(frames=81, fps=24))
    for part in ("wan22-ti2v-5b", "GB", "Apache-2.0", "hours", "a step (predicted)"):
        assert part in str(caught.value)


def make_job(image: Path, tmp_path: Path, **settings: Any) -> Job:
    task = Generate(image=ImageFile(image), prompt="a", device="cpu", **settings)
    return Job(FrameCounter(frames=81, fps=16), VideoOutput(tmp_path / "o.mp4"), (task,))


@pytest.mark.parametrize("variant", ["ti2v-5b", "i2v-a14b"])
def test_a_plan_has_a_row_and_a_reason_for_each_gpu(
    variant: Any, image: Path, tmp_path: Path
) -> None:
    job = make_job(image, tmp_path, size="832x480", options=Wan22Options(variant=variant))
    plan = plan_generation(job, Limits())
    assert plan is not None
    assert tuple(plan.rows) == BUDGETS
    for budget, row in plan.rows.items():
        assert not isinstance(row, str), row
        assert row.reason
        assert set(row.parts) == {"text", "image", "steps", "decode"}
        assert 0 < max(row.parts.values()) <= budget
    assert plan_generation(job, Limits(vram="10GB")) is not None
    assert plan_within(job, Limits(vram="10GB")) is None, "nothing is measured"
    with pytest.raises(Unsupported, match="filmgate plan generate"):
        fit(job, Limits(vram="10GB"))


def test_the_length_is_as_published_unless_it_is_given(image: Path) -> None:
    task = Generate(image=ImageFile(image), options=Wan22Options(variant="i2v-a14b"))
    assert task.make_source() == FrameCounter(frames=81, fps=16)
    assert task.make_source(10, F(25)) == FrameCounter(frames=10, fps=25)
