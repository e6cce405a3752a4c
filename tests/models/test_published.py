"""Published weights that packages hold make of real clips what they made when it was recorded."""

import json
from typing import Any

import pytest

from filmgate.errors import BadSetting, BadWeights
from tests.models.published import CASES, CLIPS, GOLDEN, measure

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(not CLIPS.is_dir(), reason=f"the real clips are not here ({CLIPS})"),
]


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_recorded(name: str) -> None:
    wanted: dict[str, Any] = json.loads(GOLDEN.read_text())[name]
    try:
        found = measure(name)
    except (BadSetting, BadWeights) as error:
        pytest.skip(str(error))
    assert found.keys() == wanted.keys()
    if "psnr" in wanted:
        assert found["psnr"] == pytest.approx(wanted["psnr"], abs=0.05)
        assert found["mean"] == pytest.approx(wanted["mean"], abs=0.05)
        assert found["values"] == pytest.approx(wanted["values"], abs=2)
        return
    assert found["found"] == wanted["found"] > 0
    assert found["score"] == pytest.approx(wanted["score"], abs=0.02)
    assert found["box"] == pytest.approx(wanted["box"], abs=2)
    for point, place in zip(found.get("points", []), wanted.get("points", []), strict=True):
        assert point == pytest.approx(place, abs=2)  # pixels
