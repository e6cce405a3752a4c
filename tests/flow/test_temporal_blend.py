"""steady: flicker is reduced, motion stays sharp, shots are separate."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import Unsupported
from filmgate.flow.temporal_blend import PastFrame, Steady
from filmgate.media.pixels.planes import Planes
from filmgate.quality.metrics.psnr_ssim import psnr
from tests.flow.scenes import texture, video, view

SPEC = StreamSpec(width=128, height=96, rate=Fraction(1), time_base=Fraction(1), pixels="gray")
SCENE = texture(3, 200, 300)


def played(frames: list[Frame], stage: Steady | None = None) -> list[Any]:
    stage = stage or Steady()
    state, made = stage.step(stage.start(SPEC, frames[0].position), frames)
    assert isinstance(state, PastFrame)
    return [frame.image.arrays[0] for frame in made if isinstance(frame.image, Planes)]


def noisy(sample: Any, seed: int) -> Any:
    noise = np.random.default_rng(seed).normal(0, 1.5, sample.shape)
    return (sample + noise).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("step", [0, 3])
def test_flicker_is_reduced_and_motion_is_not_blurred(step: int) -> None:
    truth = [view(SCENE, 20 + step * k, 30) for k in range(8)]
    given = [noisy(sample, k) for k, sample in enumerate(truth)]
    made = played(video(given))
    assert np.array_equal(made[0], given[0])
    inner = np.s_[16:-16, 16:-16]
    gains = [psnr(b[inner], c[inner]) - psnr(a[inner], c[inner])
             for a, b, c in zip(given[2:], made[2:], truth[2:], strict=True)]  # fmt: skip
    assert min(gains) > 0.8


def test_nothing_is_blended_across_a_shot_boundary() -> None:
    frames = video([noisy(view(SCENE, 20, 30), k) for k in range(4)])
    frames[2] = frames[2].with_extras(cut=True)
    made = played(frames)
    assert np.array_equal(made[2], frames[2].image.arrays[0])  # type: ignore[attr-defined]
    assert not np.array_equal(made[3], frames[3].image.arrays[0])  # type: ignore[attr-defined]


def test_ten_bits_are_the_same_image_with_finer_steps() -> None:
    images = [noisy(view(SCENE, 20 + k, 30), k) for k in range(3)]
    eight = played(video(images))
    fine = [Planes((sample.astype(np.uint16) << 2,), "gray10le") for sample in images]
    ten = played([Frame(k, Fraction(k), Fraction(1), one) for k, one in enumerate(fine)])
    assert np.abs(ten[2] / 4 - eight[2]).mean() < 0.3


@pytest.mark.parametrize("cell", [2, 4, 16])
def test_sides_need_not_be_multiples_of_the_cell(cell: int) -> None:
    """1080 columns at 1/16 raised: the flow is 8 columns larger, and was padded by -8."""
    truth = [view(SCENE, 20, 30)[:95] for _ in range(3)]
    given = [noisy(sample, k) for k, sample in enumerate(truth)]
    made = played(video(given), Steady(cell=cell))
    assert made[2].shape == (95, truth[0].shape[1])
    assert psnr(made[2], truth[2]) > psnr(given[2], truth[2]) + 0.8


def test_only_planes_are_blended() -> None:
    with pytest.raises(Unsupported, match="steady cannot take ndarray"):
        played([Frame(0, Fraction(0), Fraction(1), np.zeros((3, 4, 4)))])
