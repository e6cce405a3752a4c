"""Networks that stay from job to job: used again, pinned, dropped in the order of their use."""

from __future__ import annotations

from pathlib import Path

import pytest

from filmgate.service.worker import warm_models
from filmgate.service.worker.start_up import load_pins
from filmgate.service.worker.warm_models import WarmModels


class Device:
    """A device on which each network takes 10 bytes."""

    def __init__(self, models: WarmModels) -> None:
        self.models = models

    def measure(self) -> int:
        return 10 * len(self.models._loaded)


def load(path: Path) -> str:
    return f"network of {path.name}"


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> WarmModels:
    models = WarmModels()
    monkeypatch.setattr(warm_models, "measure_device_bytes", Device(models).measure)
    return models


def test_the_longest_unused_is_dropped_first_and_pins_stay(models: WarmModels) -> None:
    with models.pin():
        models.load(load, Path("pinned"))
    for name in ("a", "b", "c", "a"):
        models.load(load, Path(name))
    assert models.pinned_bytes == 10
    assert models.release(30) == 1
    assert {key[1].name for key in models._loaded} == {"pinned", "a", "c"}  # type: ignore[index]  # keys are tuples
    assert models.release(0) == 2
    assert [key[1].name for key in models._loaded] == ["pinned"]  # type: ignore[index]  # as above
    assert models.load(load, Path("b")) == "network of b"


def test_pin_that_cannot_be_loaded_is_reported() -> None:
    failed = load_pins(("convert", "upscale:nope"), WarmModels())
    assert len(failed) == 2
    assert failed[0].startswith("convert could not be loaded")


@pytest.mark.slow
def test_pinned_network_is_not_loaded_again_by_a_job() -> None:
    models = WarmModels()
    assert load_pins(("upscale",), models) == ()
    pinned = dict(models._loaded)
    assert pinned
    load_pins(("upscale",), models)
    assert models._loaded == pinned
