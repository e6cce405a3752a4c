"""Sizes and pixel formats: what an encoder or the user wants, and nothing more."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from filmgate.core.frame import ColorTags, Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.pixels.format_names import get_bit_depth, get_subsampling, has_alpha
from filmgate.media.pixels.formats import explain_size_mismatch
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.reformat import convert_pixels, fit_size
from filmgate.media.sinks import VideoOutput

HD = ColorTags("bt709", "bt709", "bt709", "tv", "left")


def spec_of(pixels: str, width: int = 20, height: int = 12, colour: ColorTags = HD) -> StreamSpec:
    return StreamSpec(width=width, height=height, rate=Fraction(25), time_base=Fraction(1, 25),
                pixels=pixels, colour=colour)  # fmt: skip


def planes_of(spec: StreamSpec, smooth: bool = False) -> Planes:
    """Noise, or a slope without an edge, in legal limited codes."""
    bits, (across, down) = get_bit_depth(spec.pixels), get_subsampling(spec.pixels)
    small = (-(-spec.height // down), -(-spec.width // across))
    full = (spec.height, spec.width)
    shapes = [full] if "gray" in spec.pixels else [full, small, small]
    shapes += [full] if has_alpha(spec.pixels) else []
    chance, unit = np.random.default_rng(5), 2 ** (bits - 8)
    arrays: list[Any] = []
    for n, (rows, columns) in enumerate(shapes):
        y, x = np.mgrid[:rows, :columns]
        slope = (100 + 20 * n + y / rows * 12 + x / columns * 10) * unit
        values = slope if smooth else chance.integers(16 * unit, 235 * unit, (rows, columns))
        arrays.append(values.astype(np.uint8 if bits == 8 else np.uint16))
    return Planes(tuple(arrays), spec.pixels, spec.colour)


def run(stage: AnyStage, spec: StreamSpec, image: Planes) -> Planes:
    """Return one image after a stage, checked against the stage's output spec."""
    frame = Frame(0, Fraction(0), Fraction(1, 25), image)
    _, (made,) = stage.step(stage.start(spec, Position(0, Fraction(0))), [frame])
    expected, found = stage.output(spec), made.image
    assert isinstance(found, Planes)
    assert (found.pixels, found.colour) == (expected.pixels, expected.colour)
    assert found.size == (expected.width, expected.height)
    assert all(array.dtype == expected.dtype for array in found.arrays)
    across, down = get_subsampling(expected.pixels)
    for array in found.arrays[1:3]:
        assert array.shape == (-(-expected.height // down), -(-expected.width // across))
    return found


def there_and_back(spec: StreamSpec, pixels: str, image: Planes) -> Planes:
    there = convert_pixels(pixels)
    middle = run(there, spec, image)
    return run(convert_pixels(spec.pixels), there.output(spec), middle)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "yuv444p", "gray", "yuva420p"])
def test_odd_sizes_are_padded_or_cropped_at_the_right_and_bottom(pixels: str) -> None:
    spec = spec_of(pixels, 19, 11)
    image = planes_of(spec)
    larger, smaller = (run(fit_size(*s), replace(spec, dtype=str(image.arrays[0].dtype)), image)
                       for s in ((20, 12), (18, 10)))  # fmt: skip
    for given, more, fewer in zip(image.arrays, larger.arrays, smaller.arrays, strict=True):
        rows, columns = given.shape
        assert np.array_equal(more[:rows, :columns], given)
        assert np.array_equal(more[:, -1], np.append(given[:, -1], [given[-1, -1]])[: len(more)])
        assert np.array_equal(fewer, given[: fewer.shape[0], : fewer.shape[1]])


def test_error_offers_pad_and_crop() -> None:
    message = explain_size_mismatch(spec_of("yuv420p", 1919, 1080), "h264", "yuv420p")
    assert message == (
        "the video is 1919x1080 and h264 in yuv420p needs even sides: pass --fit pad (1920x1080) "
        "or --fit crop (1918x1080)"
    )
    assert explain_size_mismatch(spec_of("yuv420p", 1919, 1080), "ffv1", "yuv420p") == ""
    assert explain_size_mismatch(spec_of("yuv444p", 1919, 1081), "h264", "yuv444p") == ""
    assert "--fit crop" not in explain_size_mismatch(spec_of("yuv420p", 1, 8), "h264", "yuv420p")
    with pytest.raises(Unsupported, match=r"leaves nothing of the video: pass --fit pad"):
        fit_size(0, 8)


def names(output: VideoOutput, spec: StreamSpec) -> list[str]:
    return [stage.name for stage in output.stages(spec)]


def test_output_adds_only_the_stages_it_needs() -> None:
    path, odd = Path("a.mp4"), spec_of("yuv420p", 19, 11)
    assert names(VideoOutput(path), odd) == []
    assert names(VideoOutput(path, fit="pad"), odd) == ["fit"]
    assert names(VideoOutput(path, fit="pad", codec="ffv1"), odd) == []
    assert names(VideoOutput(path, fit="crop"), spec_of("yuv420p")) == []
    assert names(VideoOutput(path, pix_fmt="yuv420p"), odd) == []
    assert names(VideoOutput(path, pix_fmt="yuv444p", fit="pad"), odd) == ["to yuv444p"]
    assert names(VideoOutput(path, pix_fmt="yuv420p", fit="pad"), spec_of("yuv444p", 19, 11)) == [
        "fit", "to yuv420p"]  # fmt: skip
    with pytest.raises(BadSetting, match="pix_fmt is fog, wanted a format of 8 to 16 bits"):
        names(VideoOutput(path, pix_fmt="fog"), odd)


@pytest.mark.parametrize("extent", ["tv", "pc"])
@pytest.mark.parametrize(
    ("pixels", "wider"),
    [("yuv420p", "yuv420p10le"), ("yuv422p10le", "yuv422p12le"), ("gray", "gray16le"),
     ("gbrp", "gbrp10le"), ("yuva420p", "yuva420p10le"), ("yuv420p", "yuva420p")],
)  # fmt: skip
def test_more_bits_and_back_gives_the_same_image(pixels: str, wider: str, extent: str) -> None:
    spec = spec_of(pixels, colour=replace(HD, range=extent))
    image = planes_of(spec)
    if has_alpha(wider) and not has_alpha(pixels):
        made = run(convert_pixels(wider), spec, image)
        assert (made.arrays[3] == 255).all()
        assert all(map(np.array_equal, image.arrays, made.arrays))
        return
    again = there_and_back(spec, wider, image)
    assert all(map(np.array_equal, image.arrays, again.arrays))


@pytest.mark.parametrize(
    ("extent", "given", "wanted"),
    [("tv", [64, 502, 512, 940], [16, 126, 128, 235]), ("pc", [0, 511, 512, 1023], [0, 127, 128,
                                                                                  255])],
)  # fmt: skip
def test_fewer_bits_are_rounded(extent: str, given: list[int], wanted: list[int]) -> None:
    spec = spec_of("gray10le", 4, 1, replace(HD, range=extent))
    image = Planes((np.array([given], np.uint16),), "gray10le", spec.colour)
    assert run(convert_pixels("gray"), spec, image).arrays[0].tolist() == [wanted]


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("wider", ["yuv444p", "yuv422p", "yuv444p12le"])
def test_more_chroma_and_back_keeps_luma_and_smooth_chroma(wider: str, siting: str) -> None:
    spec = spec_of("yuv420p", 19, 13, replace(HD, siting=siting))
    image = planes_of(spec, smooth=True)
    again = there_and_back(spec, wider, image)
    assert np.array_equal(image.arrays[0], again.arrays[0])
    for one, other in zip(image.arrays[1:], again.arrays[1:], strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_chroma_keeps_its_position() -> None:
    """A ramp: "left" chroma is on even columns, so each of those keeps its value in 4:4:4."""
    spec = spec_of("yuv422p", 20, 4)
    ramp = np.tile(np.arange(60, 160, 10, dtype=np.uint8), (4, 1))
    image = Planes((np.full((4, 20), 90, np.uint8), ramp, ramp), "yuv422p", HD)
    made: Any = run(convert_pixels("yuv444p"), spec, image).arrays[1]
    assert np.array_equal(made[:, ::2], ramp)
    assert made[0, 1:5].tolist() == [65, 70, 75, 80]


def test_rgb_and_grey_are_converted_by_their_own_rules() -> None:
    spec = spec_of("yuv444p")
    image = planes_of(spec, smooth=True)
    again = there_and_back(spec, "gbrp16le", image)
    assert all(map(np.array_equal, image.arrays, again.arrays))
    assert convert_pixels("gbrp").output(spec).colour.range == "pc"
    grey = run(convert_pixels("gray"), spec, image)
    assert np.array_equal(grey.arrays[0], image.arrays[0])
    assert grey.colour.range == "tv"
    coloured = run(convert_pixels("yuv420p"), spec_of("gray"), grey)
    assert (coloured.arrays[1] == 128).all()
    unknown = spec_of("gbrp", colour=ColorTags("gbr"))
    assert convert_pixels("yuv420p").output(unknown).colour.matrix == "smpte170m"


def test_losing_the_alpha_channel_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"an alpha channel .yuva420p., which yuv420p would"):
        convert_pixels("yuv420p").output(spec_of("yuva420p"))
