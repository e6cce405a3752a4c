"""Colour: planes to RGB and back, compared with the standard's values and with swscale."""

from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from filmgate.core.frame import ColorTags, Frame, Position, StreamSpec
from filmgate.errors import Unsupported
from filmgate.media.pixels.av_frames import view_rows
from filmgate.media.pixels.color import _to_rgb_matrix
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import convert_to_planes, convert_to_rgb, to_planes, to_rgb

MATRICES = {"bt709": 1, "fcc": 4, "bt470bg": 5, "smpte170m": 5, "smpte240m": 7, "bt2020nc": 9}
TAGGED = [(matrix, extent) for matrix in MATRICES for extent in ("tv", "pc")]
SITINGS = ("unknown", "left", "center", "topleft", "top")
SPEC = StreamSpec(
    width=66, height=50, rate=Fraction(25), time_base=Fraction(1, 25), pixels="yuv420p"
)


@cache
def smooth(width: int = 66, height: int = 50) -> torch.Tensor:
    """RGB (3, H, W) without a hard edge, inside the gamut of every format."""
    y, x = torch.meshgrid(torch.arange(height) / 20, torch.arange(width) / 20, indexing="ij")
    waves = [torch.sin(x + y), torch.cos(x - y + 1), torch.sin(2 * x + y / 2)]
    return 0.5 + 0.3 * torch.stack(waves)


def by_swscale(image: Planes, matrix: int, full: bool) -> npt.NDArray[np.float64]:
    """RGB (3, H, W) as FFmpeg's own scaler makes it."""
    width, height = image.size
    frame = VideoFrame(width, height, image.pixels)
    for plane, array in zip(frame.planes, image.arrays, strict=True):
        view_rows(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
    made = frame.reformat(
        format="gbrp16le",
        src_colorspace=matrix,
        src_color_range=2 if full else 1,
        dst_color_range=2,
        interpolation=Interpolation.BILINEAR
        | Interpolation.ACCURATE_RND
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP,
    )
    green, blue, red = (
        view_rows(plane, np.uint16)[:height, :width].astype(np.float64) for plane in made.planes
    )
    return np.stack((red, green, blue)) / 65535


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv420p", "yuv422p", "yuv440p", "yuv420p10le"])
def test_rgb_equals_that_of_swscale(pixels: str) -> None:
    # swscale takes chroma to lie between the samples across, and cuts 8 bits off instead of
    # rounding them: up to one code value
    for matrix, extent in TAGGED:
        colour = ColorTags(matrix=matrix, range=extent, siting="center")
        image = to_planes(smooth(), pixels, colour)
        ours = to_rgb(image).numpy()
        theirs = by_swscale(image, MATRICES[matrix], extent == "pc")
        inside = np.s_[:, 2:-2, 2:-2]  # it holds the edges otherwise
        assert np.abs(ours - theirs)[inside].max() * 255 < 1, colour


@pytest.mark.parametrize(
    ("pixels", "matrix", "extent", "codes", "wanted"),
    [
        ("yuv444p", "bt709", "tv", (16, 128, 128), (0, 0, 0)),
        ("yuv444p", "bt709", "tv", (235, 128, 128), (1, 1, 1)),
        ("yuv444p", "bt709", "tv", (63, 102, 240), (1, 0, 0)),
        ("yuv444p", "smpte170m", "tv", (81, 90, 240), (1, 0, 0)),
        ("yuv444p", "smpte170m", "pc", (76, 85, 255), (1, 0, 0)),
        ("yuv444p10le", "bt2020nc", "tv", (294, 387, 960), (1, 0, 0)),
        ("gbrp", "unknown", "unknown", (0, 0, 255), (1, 0, 0)),
        ("gray", "unknown", "tv", (235,), (1, 1, 1)),
        ("gray", "unknown", "unknown", (255,), (1, 1, 1)),
    ],
)
def test_known_codes_are_known_colours(
    pixels: str, matrix: str, extent: str, codes: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    dtype = np.uint8 if get_bit_depth(pixels) == 8 else np.uint16
    arrays = tuple(np.full((4, 4), code, dtype) for code in codes)
    found = to_rgb(Planes(arrays, pixels, ColorTags(matrix=matrix, range=extent)))
    assert torch.allclose(found[:, 0, 0], torch.tensor(wanted).float(), atol=0.006)


def test_unknown_matrix_is_chosen_by_size() -> None:
    codes = (63, 102, 240)
    small, large = (
        to_rgb(Planes(tuple(np.full(size, c, np.uint8) for c in codes), "yuv444p", ColorTags()))
        for size in ((48, 720), (48, 1280))
    )
    assert torch.allclose(large[:, 0, 0], torch.tensor([1.0, 0, 0]), atol=0.006)
    assert not torch.allclose(small[:, 0, 0], large[:, 0, 0], atol=0.006)


@pytest.mark.parametrize(
    "pixels", ["yuv444p", "yuv444p10le", "yuv444p16le", "gbrp", "gbrp12le", "gray", "gray16le"]
)
def test_without_subsampling_every_code_inside_the_gamut_comes_back(pixels: str) -> None:
    for matrix, extent in TAGGED:
        colour = ColorTags(matrix=matrix, range=extent)
        image = to_planes(smooth(), pixels, colour)
        again = to_planes(to_rgb(image), pixels, colour)
        assert all(map(np.array_equal, image.arrays, again.arrays)), colour


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_code_triples_inside_the_gamut_come_back_exactly(bits: int) -> None:
    """A hundred thousand triples each; inside means that R, G and B lie in [0, 1]."""
    pixels = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    triples = np.random.default_rng(bits).integers(0, 2**bits, (3, 300, 400))
    arrays: tuple[Any, ...] = tuple(triples.astype(np.uint8 if bits == 8 else np.uint16))
    for matrix, extent in TAGGED:
        colour = ColorTags(matrix=matrix, range=extent)
        exact, zero = _to_rgb_matrix(pixels, colour, 400, 300)
        offset = np.array([zero[0], zero[1], zero[1]])[:, None, None]
        free = np.einsum("ij,jhw->ihw", exact, triples - offset)
        inside = ((free >= 0) & (free <= 1)).all(0)
        assert inside.sum() > 10_000, colour
        again = to_planes(to_rgb(Planes(arrays, pixels, colour)), pixels, colour)
        for one, other in zip(arrays, again.arrays, strict=True):
            assert np.array_equal(one[inside], other[inside]), colour


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv440p"])
@pytest.mark.parametrize("size", [(66, 50), (65, 49), (2, 2), (1, 1), (64, 131)])
def test_with_subsampling_smooth_images_come_back_within_one_code(
    size: tuple[int, int], pixels: str
) -> None:
    for siting in SITINGS:
        colour = ColorTags(matrix="bt709", range="tv", siting=siting)
        image = to_planes(smooth(*size), pixels, colour)
        assert image.size == size
        again = to_planes(to_rgb(image), pixels, colour)
        for one, other in zip(image.arrays, again.arrays, strict=True):
            assert one.shape == other.shape
            assert np.abs(one.astype(int) - other).max() <= 1, siting


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
def test_chroma_is_where_the_siting_says(siting: str) -> None:
    """A ramp in colour comes back as the same ramp, not moved by half a sample."""
    ramp = torch.linspace(0.2, 0.8, 64)
    image = torch.stack((ramp.expand(64, 64), torch.full((64, 64), 0.5), ramp.expand(64, 64).T))
    colour = ColorTags(matrix="bt709", range="pc", siting=siting)
    made = to_planes(image, "yuv420p16le", colour)
    inside = np.s_[:, 4:-4, 4:-4]
    assert torch.allclose(to_rgb(made)[inside], image[inside], atol=1e-4)
    other = replace(made, colour=replace(colour, siting="top"))
    assert not torch.allclose(to_rgb(other)[inside], image[inside], atol=1e-3)


def test_strips_of_rows_have_no_seams() -> None:
    noise = np.random.default_rng(3)
    arrays = tuple(noise.integers(60, 200, size, np.uint8) for size in [(200, 8), *[(100, 4)] * 2])
    for siting in ("left", "topleft"):
        complete = Planes(arrays, "yuv420p", ColorTags(siting=siting, matrix="bt709"))
        part = Planes(tuple(a[-len(a) // 2 :] for a in arrays), "yuv420p", complete.colour)
        assert torch.equal(to_rgb(complete)[:, 104:], to_rgb(part)[:, 4:])
        image = to_rgb(complete)
        lower = to_planes(image[:, 100:], "yuv420p", complete.colour)
        for one, other in zip(to_planes(image, "yuv420p", complete.colour).arrays, lower.arrays,
                              strict=True):  # fmt: skip
            assert np.array_equal(one[-len(other) + 2 :], other[2:])


@pytest.mark.parametrize(
    ("pixels", "matrix", "words"),
    [
        ("yuva420p", "bt709", "has an alpha channel"),
        ("gbrap", "gbr", "has an alpha channel"),
        ("yuv444p", "ycgco", "matrix is ycgco, wanted one of bt709"),
        ("nv12", "bt709", "nv12 cannot be converted to RGB"),
    ],
)
def test_unsupported_formats_are_refused(pixels: str, matrix: str, words: str) -> None:
    image = Planes((np.zeros((4, 4), np.uint8),) * 3, pixels, ColorTags(matrix=matrix))
    with pytest.raises(Unsupported, match=words):
        to_rgb(image)


def test_stages_keep_times_and_extras() -> None:
    there, back = convert_to_rgb(), convert_to_planes("yuv420p", ColorTags(matrix="bt709"))
    middle = there.output(SPEC)
    assert (middle.pixels, middle.dtype) == ("rgb", "float32")
    assert back.output(middle).pixels == "yuv420p"
    image = to_planes(smooth(), "yuv420p", ColorTags(matrix="bt709"))
    frame = Frame(5, Fraction(1, 5), Fraction(1, 25), image, {"cut": True})
    position = Position(5, Fraction(1, 5))
    _, made = there.step(there.start(SPEC, position), [frame])
    assert isinstance(made[0].image, torch.Tensor)
    _, again = back.step(back.start(middle, position), made)
    assert (again[0].index, again[0].time, again[0].extras) == (5, frame.time, {"cut": True})
    assert isinstance(again[0].image, Planes)
    pairs: Any = zip(again[0].image.arrays, image.arrays, strict=True)
    assert all(np.abs(a.astype(int) - b).max() <= 1 for a, b in pairs)


def test_half_precision_on_request() -> None:
    made = to_rgb(to_planes(smooth(), "yuv420p", ColorTags()), torch.float16)
    assert made.dtype is torch.float16


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67"])
def test_hdr_is_refused_for_models_made_for_sdr(transfer: str) -> None:
    spec = replace(SPEC, colour=ColorTags(matrix="bt2020nc", transfer=transfer))
    with pytest.raises(Unsupported, match=f"HDR .transfer {transfer}.*--tonemap"):
        convert_to_rgb().output(spec)
    assert convert_to_rgb(hdr=True).output(spec).pixels == "rgb"


@pytest.mark.parametrize("matrix", ["ycgco", "bt2020c", "ictcp"])
def test_unsupported_matrix_is_refused_before_the_first_frame(matrix: str) -> None:
    with pytest.raises(Unsupported, match=f"matrix is {matrix}"):
        convert_to_rgb().output(replace(SPEC, colour=ColorTags(matrix=matrix)))
