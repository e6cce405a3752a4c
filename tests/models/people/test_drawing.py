"""Drawing on planes: where something is drawn, in which colours, and what keeps its bits."""

from fractions import Fraction as F
from typing import Any

import numpy as np
import pytest

from filmgate.core.frame import ColorTags, Frame
from filmgate.media.pixels.format_names import get_bit_depth, get_subsampling, has_alpha
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.person import choose_colour
from filmgate.models.people.drawing import draw_on_frames, draw_records

WIDE, HIGH = 161, 91  # odd: the last chroma sample covers one column
BOX = (40.0, 30.0, 50.0, 40.0)


def make_image(pixels: str, **tags: str) -> Planes:
    """Return noise in the limited range."""
    rng, (across, down) = np.random.default_rng(3), get_subsampling(pixels)
    bits = get_bit_depth(pixels)
    count = 1 if pixels.startswith("gray") else 4 if has_alpha(pixels) else 3
    arrays = list[Any]()
    for n in range(count):
        shape = (-(-HIGH // down), -(-WIDE // across)) if n in (1, 2) else (HIGH, WIDE)
        values = rng.integers(20 << bits - 8, 200 << bits - 8, shape)
        arrays.append(values.astype(np.uint8 if bits == 8 else np.uint16))
    return Planes(tuple(arrays), pixels, ColorTags(**tags))


def make_person(**more: Any) -> dict[str, Any]:
    return {"kind": "person", "id": 4, "box": BOX, "score": 0.5, "seen": True} | more


PIXELS = ("yuv420p", "yuv422p10le", "yuv444p12le", "yuv410p", "yuv411p", "gbrp", "gbrp16le", "gray",
          "gray10le", "yuva420p", "gbrap10le")  # fmt: skip


@pytest.mark.parametrize("pixels", PIXELS)
def test_only_pixels_of_the_box_change_and_they_have_its_colour(pixels: str) -> None:
    image = make_image(pixels)
    before = [array.copy() for array in image.arrays]
    drawn = draw_records(image, [make_person()])
    for array, old in zip(image.arrays, before, strict=True):
        np.testing.assert_array_equal(array, old)
    # two pixels around the edge of the box, and the label above it
    touched = np.zeros((HIGH, WIDE), bool)
    touched[29:72, 39:92] = True
    touched[33:68, 43:88] = False
    touched[10:31, 39:70] = True
    across, down = get_subsampling(pixels)
    for n, (new, old) in enumerate(zip(drawn.arrays, before, strict=True)):
        step = (down, across) if n in (1, 2) and pixels.startswith("yuv") else (1, 1)
        rows, columns = (np.arange(size) * s for size, s in zip(new.shape, step, strict=True))
        near = np.zeros(new.shape, bool)
        for y in range(step[0]):
            for x in range(step[1]):
                near |= touched[np.minimum(rows + y, HIGH - 1)][
                    :, np.minimum(columns + x, WIDE - 1)
                ]
        assert (new != old).any()
        np.testing.assert_array_equal(new[~near], old[~near])
    if not pixels.startswith("gray") and not has_alpha(pixels) and step == (1, 1):
        rgb = (drawn.to_rgb()[:, 50, 40] * 255).tolist()
        np.testing.assert_allclose(rgb, choose_colour(4), atol=3)
    if has_alpha(pixels):
        assert drawn.arrays[3][50, 40] == 2 ** get_bit_depth(pixels) - 1


def test_an_image_without_people_is_the_same_object() -> None:
    image = make_image("yuv420p")
    assert draw_records(image, [{"kind": "box", "id": 1}]) is image
    assert draw_records(image, []) is image


@pytest.mark.parametrize(
    "box", [(-30.0, -30.0, 20.0, 20.0), (150.0, 80.0, 500.0, 500.0), (-1e5, 10.0, 2e5, 30.0),
            (900.0, 900.0, 10.0, 10.0)]
)  # fmt: skip
def test_boxes_beyond_the_image_are_drawn_as_far_as_they_are_in_it(
    box: tuple[float, ...],
) -> None:
    image = make_image("yuv420p")
    drawn = draw_records(image, [make_person(box=box)])
    assert (drawn.arrays[0] != image.arrays[0]).any()  # its number is in the image in any case
    assert [a.shape for a in drawn.arrays] == [a.shape for a in image.arrays]


def test_who_is_not_seen_is_faint() -> None:
    image = make_image("gray")
    seen, unseen = (
        draw_records(image, [make_person(seen=seen)]).arrays[0].astype(int) for seen in (1, 0)
    )
    edge = (slice(40, 60), 40)  # the left edge
    old = image.arrays[0][edge].astype(int)
    change = np.abs(unseen[edge] - old).mean() / np.abs(seen[edge] - old).mean()
    assert 0.3 < change < 0.6


@pytest.mark.parametrize(("skeleton", "count"), [("blazepose", 33), ("coco", 17), ("face", 468)])
def test_points_are_joined_by_lines(skeleton: str, count: int) -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform((10, 10), (WIDE - 10, HIGH - 10), (count, 2)).tolist()
    image = make_image("gray")
    plain = draw_records(image, [make_person()])
    alone = draw_records(image, [make_person(points=points, skeleton="unknown")])
    lines = draw_records(image, [make_person(points=points, skeleton=skeleton)])
    changed = [(one.arrays[0] != image.arrays[0]).sum() for one in (plain, alone, lines)]
    assert changed[0] < changed[1] < changed[2]


def test_joints_of_a_pose_model_are_a_skeleton() -> None:
    joints = [(20.0 + k, 80.0 - 2 * k) for k in range(25)] + [(0.0, 0.0)] * 20
    image = make_image("gray")
    drawn = draw_records(image, [make_person(joints_2d=joints)])
    assert (drawn.arrays[0] != image.arrays[0]).sum() > (
        draw_records(image, [make_person()]).arrays[0] != image.arrays[0]
    ).sum()


def test_hdr_is_drawn_at_its_reference_white() -> None:
    """At the full range a colour would be of 10,000 nits."""
    sdr, hdr = (
        draw_records(make_image("yuv444p10le", matrix="bt2020nc", transfer=name), [make_person()])
        for name in ("bt2020-10", "smpte2084")
    )
    brightest = [float(image.to_rgb()[:, 50, 40].max()) for image in (sdr, hdr)]
    assert brightest[1] == pytest.approx(0.58 * brightest[0], abs=0.01)


def test_frames_keep_their_records_and_times() -> None:
    frame = Frame(3, F(1), F(1, 2), make_image("yuv420p"), {"records": (make_person(),)})
    (drawn,) = draw_on_frames([frame])
    assert (drawn.index, drawn.time, drawn.extras) == (3, F(1), frame.extras)
    assert drawn.image is not frame.image
