"""A local server and a models folder, independent of environment variables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from filmgate.weights.store import WeightsStore
from tests.weights.shop import Shop, serve_shop


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FILMGATE_OFFLINE", "HF_HUB_OFFLINE", "HF_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def shop() -> Iterator[Shop]:
    with serve_shop(Shop()) as shop:
        yield shop


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "models")
