"""Where faces are taken from and put back: matrices, the mask, the edges of what changes."""

from hashlib import sha256

import numpy as np
import pytest
import torch

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.planes import Planes
from filmgate.models.families.latentsync.alignment import Crop, Landmarks, align
from filmgate.models.families.latentsync.faces import (
    find_in_box,
    find_in_mesh,
    find_in_points,
    measure_front,
)
from filmgate.models.families.latentsync.mask import draw_mask, make_latent_mask, make_mask
from filmgate.models.families.latentsync.pixels import (
    Part,
    extract_face,
    make_soft_mask,
    paste_face,
)

LANDMARKS = (
    Landmarks((400, 300), (520, 296), (462, 380)),
    Landmarks((402, 301), (522, 297), (465, 381)),
    Landmarks((410, 305), (528, 300), (470, 386)),
)
MATRICES = (
    (0.86118, -0.02634, -283.17508, 0.02634, 0.86118, -217.86952),
    (0.86095, -0.02956, -284.01193, 0.02956, 0.86095, -220.21034),
    (0.86371, -0.02832, -291.02872, 0.02832, 0.86371, -224.19072),
)
BIASES = ((-0.027571, -0.234397), (-0.038595, -0.234268), (-0.01878, -0.253683))


def make_image(width: int = 640, height: int = 480, pixels: str = "yuv420p") -> Planes:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    luma = (100 + 30 * np.sin(x / 13) + 30 * np.cos(y / 11) + x / 10).astype(np.uint8)
    across, down = (2, 2) if pixels == "yuv420p" else (1, 1)
    chroma = [np.full((-(-height // down), -(-width // across)), v, np.uint8) for v in (110, 140)]
    return Planes((luma, *chroma), pixels, ColorTags(matrix="bt709", range="tv"))


def test_matrices_and_the_smoothed_place_of_the_nose_match_the_published_code() -> None:
    bias: tuple[float, ...] = ()
    for landmarks, matrix, wanted in zip(LANDMARKS, MATRICES, BIASES, strict=True):
        found, bias = align(landmarks, bias, Crop(256))
        assert found == pytest.approx(matrix, abs=1e-4)
        assert bias == pytest.approx(wanted, abs=1e-5)
    assert (Crop(256).width, Crop(256).height) == (210, 280)
    assert (Crop(512).width, Crop(512).height) == (420, 560)


def test_a_mirrored_face_is_turned_not_mirrored() -> None:
    matrix, _ = align(Landmarks((520, 296), (400, 300), (462, 380)), (), Crop(256))
    assert np.linalg.det(np.reshape(matrix, (2, 3))[:, :2]) > 0


def test_mask_is_the_published_one() -> None:
    mask = draw_mask()
    assert sha256(mask.tobytes()).hexdigest().startswith("f8b78274914708ee")
    assert int((mask == 0).sum()) == 26_673
    small, large = make_latent_mask(256), make_latent_mask(512)
    assert (int((small == 0).sum()), len(np.unique(small))) == (422, 2)
    assert (int((large <= 0).sum()), len(np.unique(large))) == (1604, 47)
    assert make_mask(512).shape == (512, 512)


@pytest.mark.parametrize("size", [(640, 480), (641, 479)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "gbrp"])
def test_nothing_changes_where_the_soft_mask_is_zero(size: tuple[int, int], pixels: str) -> None:
    image, crop = make_image(*size, pixels), Crop(256)
    matrix, _ = align(LANDMARKS[0], (), crop)
    soft, part = make_soft_mask(image, matrix, crop)
    pasted = paste_face(image, torch.ones(3, 256, 256), matrix, crop)
    mask = np.zeros(size[::-1], np.float32)
    mask[part.top : part.bottom, part.left : part.right] = soft
    assert 0.1 < (mask > 0).mean() < 0.5
    changed = pasted.arrays[0] != image.arrays[0]
    assert not changed[mask == 0].any()
    assert changed[mask > 0.5].all()
    for old, new in zip(image.arrays[1:], pasted.arrays[1:], strict=True):
        down, across = round(size[1] / old.shape[0]), round(size[0] / old.shape[1])
        rows, columns = old.shape
        padded = np.zeros((rows * down, columns * across), bool)
        padded[: size[1], : size[0]] = mask != 0
        cells = padded.reshape(rows, down, columns, across).max((1, 3))
        assert cells[old != new].all()
        assert (old != new).any()


def test_a_face_that_is_pasted_unchanged_is_nearly_what_was_there() -> None:
    image, crop = make_image(), Crop(256)
    matrix, _ = align(find_in_box((220, 120, 180, 200)), (), crop)
    face = torch.from_numpy(extract_face(image, matrix, crop)).permute(2, 0, 1).float() / 255
    pasted = paste_face(image, face, matrix, crop)
    difference = np.abs(pasted.arrays[0].astype(int) - image.arrays[0])
    assert difference.max() <= 3
    assert difference.mean() < 0.3


def test_faces_at_the_edge_and_outside_of_the_image() -> None:
    image, crop = make_image(), Crop(256)
    half, _ = align(find_in_box((-100, 50, 200, 220)), (), crop)
    face = extract_face(image, half, crop)
    assert (face[:, 0] == 127).all()  # what is outside is grey
    assert not (face[:, -40] == 127).all()
    pasted = paste_face(image, torch.zeros(3, 256, 256), half, crop)
    assert (pasted.arrays[0] != image.arrays[0]).any()
    far, _ = align(find_in_box((2000, 50, 200, 220)), (), crop)
    assert (extract_face(image, far, crop) == 127).all()
    assert paste_face(image, torch.zeros(3, 256, 256), far, crop) is image
    assert Part(5, 5, 5, 9).is_empty


def test_a_face_in_profile_fades_out() -> None:
    front = find_in_box((0, 0, 200, 220))
    assert measure_front(front) == 1
    half = Landmarks(front.left, front.right, (front.right[0] - 10, front.nose[1]))
    assert 0 < measure_front(half) < 1
    assert measure_front(Landmarks(front.left, front.right, (front.right[0] + 1, 100))) == 0
    assert 0 <= measure_front(Landmarks((5, 5), (5, 5), (5, 5))) <= 1


def test_a_face_that_is_covered_fades_out_before_it_is_lost() -> None:
    points = np.random.default_rng(0).uniform(0, 9, (468, 3)).tolist()
    sure, less, lost = (find_in_mesh(points, score) for score in (0.93, 0.7, 0.5))
    assert (sure.certainty, lost.certainty) == (1, 0)
    assert measure_front(less) == pytest.approx(measure_front(sure) / 2)
    assert find_in_points(points[:200]) is None
