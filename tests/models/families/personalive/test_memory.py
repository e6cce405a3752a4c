"""Predicted memory and arithmetic at full size, from shapes alone."""

import pytest
import torch

from filmgate.models.families.personalive import memory


@pytest.mark.slow
def test_the_peak_at_full_size_is_as_documented() -> None:
    """docs/animate.md has these figures; the aims were 7.5 GB, and 5.2 without the reference.

    At no time do two large networks have their weights on the device.
    """
    costs = memory.measure(512, torch.float16, 3)
    gb = {name: cost.bytes / 1e9 for name, cost in costs.items()}
    assert gb["unet"] == pytest.approx(4.67, abs=0.05) == max(gb.values())
    assert gb["keyframe"] == pytest.approx(3.91, abs=0.05)
    assert gb["portrait"] == pytest.approx(4.24, abs=0.05)
    prediction = memory.predict_ours(512, torch.float16, 3)
    assert prediction.peak == round(max(gb.values()) * 1e9)


@pytest.mark.slow
def test_the_arithmetic_of_a_window_is_as_documented() -> None:
    without, three = (sum(memory.count_window(512, count).values()) for count in (0, 3))
    assert without == pytest.approx(33.8, abs=0.1)
    assert three == pytest.approx(39.7, abs=0.1)
