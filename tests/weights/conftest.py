"""A server on this machine and a folder for models; no variable of the person who tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from filmgate.weights.store import WeightsStore
from tests.weights.shop import Shop, opened


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FILMGATE_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def shop() -> Iterator[Shop]:
    with opened(Shop()) as shop:
        yield shop


@pytest.fixture
def shelf(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "models")
