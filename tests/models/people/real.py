"""Trackers with published networks, for tests that need them."""

from typing import Any

import pytest

from filmgate.errors import BadSetting, BadWeights
from filmgate.models import registry
from filmgate.models.people.tracker import Tracker


def build_real_tracker(family: str, options: Any = None) -> Tracker:
    """Return the tracker of a family; the test is skipped without its weights or LiteRT."""
    try:
        tracker = registry.build_tracker(family, options)
    except (BadSetting, BadWeights) as error:
        pytest.skip(str(error))
    assert isinstance(tracker, Tracker)
    return tracker
