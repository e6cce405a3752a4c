"""The family `dis`: every pixel format, several positions at once, and its errors."""

from fractions import Fraction

import numpy as np
import pytest

from filmgate.core.frame import ColorTags, StreamSpec
from filmgate.errors import BadSetting, Unsupported
from filmgate.flow.dis import downsample
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.dis.interpolator import DisInterpolator
from filmgate.models.registry import build_interpolator, list_families
from filmgate.quality.metrics.psnr_ssim import psnr
from tests.flow.scenes import texture, view

HALF = Fraction(1, 2)
COLOUR = ColorTags(matrix="bt709", range="tv")
SCENE = texture(1)
INNER = np.s_[16:-16, 16:-16]
KINDS = {  # columns and rows of the first plane for one of the others
    "gray": (),
    "gray10le": (),
    "gbrp": ((1, 1),) * 2,
    "yuv420p": ((2, 2),) * 2,
    "yuv420p10le": ((2, 2),) * 2,
    "yuv422p12le": ((2, 1),) * 2,
    "yuv444p16le": ((1, 1),) * 2,
    "yuva420p": ((2, 2), (2, 2), (1, 1)),
    "yuv411p": ((4, 1),) * 2,
}


def image(pixels: str, x: int, columns: int = 127, rows: int = 95) -> Planes:
    """A view of the scene that moves with `x`, of odd size, in the video's own bits."""
    full = view(SCENE, 30 - x, 20, rows, columns)
    planes = [full, *(downsample(full, max(step)) for step in KINDS[pixels] if step[0] == step[1])]
    for across, down in KINDS[pixels]:
        if across != down:
            planes.append(np.ascontiguousarray(full[::down, ::across]))
    empty = Planes((), pixels, COLOUR)
    if empty.bits == 8:
        return empty.with_arrays(tuple(planes))
    return empty.with_arrays(tuple(plane.astype(np.uint16) << (empty.bits - 8) for plane in planes))


@pytest.mark.parametrize("pixels", KINDS)
def test_every_pixel_format_keeps_its_sizes_and_bits(pixels: str) -> None:
    a, truth, b = (image(pixels, x) for x in (0, 4, 8))
    (drawn,) = DisInterpolator().interpolate(a, b, [HALF])
    assert (drawn.pixels, drawn.colour) == (pixels, COLOUR)
    peak = (1 << a.bits) - 1
    for plane, wanted in zip(drawn.arrays, truth.arrays, strict=True):
        assert (plane.shape, plane.dtype) == (wanted.shape, wanted.dtype)
        assert plane.max() <= peak
    assert psnr(drawn.arrays[0][INNER], truth.arrays[0][INNER], peak) > 36


def test_positions_are_independent() -> None:
    a, b = image("yuv420p", 0), image("yuv420p", 8)
    positions = [Fraction(1, 3), HALF, Fraction(2, 3)]
    for position, drawn in zip(
        positions, DisInterpolator().interpolate(a, b, positions), strict=True
    ):
        (alone,) = DisInterpolator().interpolate(a, b, [position])
        assert all(map(np.array_equal, alone.arrays, drawn.arrays))


def test_inputs_are_not_changed() -> None:
    a, b = image("yuv420p", 0), image("yuv420p", 8)
    for plane in (*a.arrays, *b.arrays):
        plane.flags.writeable = False
    assert len(DisInterpolator().interpolate(a, b, [HALF])) == 1


def test_ten_bit_results_stay_in_range() -> None:
    """Cubic interpolation overshoots at a sharp edge."""
    a, b = (np.full((80, 80), 0, np.uint16) for _ in range(2))
    a[:, 30:], b[:, 34:] = 1023, 1023
    (drawn,) = DisInterpolator().interpolate(
        Planes((a,), "gray10le"), Planes((b,), "gray10le"), [HALF]
    )
    assert drawn.arrays[0].max() == 1023


def test_frames_that_change_their_size_are_refused_with_both_sizes() -> None:
    with pytest.raises(Unsupported, match=r"127x95 yuv420p .* 63x95 yuv420p"):
        DisInterpolator().interpolate(image("yuv420p", 0), image("yuv420p", 0, columns=63), [HALF])
    with pytest.raises(Unsupported, match="ndarray"):
        DisInterpolator().interpolate(np.zeros((3, 4, 4)), np.zeros((3, 4, 4)), [HALF])


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    spec = StreamSpec(width=8, height=8, rate=None, time_base=Fraction(1), pixels="gray")
    assert "dis" in list_families()
    a, b = image("gray", 0), image("gray", 8)
    (drawn,) = build_interpolator("dis", spec)(a, b, [HALF])
    assert isinstance(drawn, Planes)
    with pytest.raises(BadSetting, match=r"'disk': pass one of dis"):
        build_interpolator("disk", spec)
