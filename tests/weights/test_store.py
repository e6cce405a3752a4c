"""The models folder: find, verify and record files, and accept terms."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import BadSetting, BadWeights
from filmgate.storage import fingerprint
from filmgate.storage.fingerprint import ProgressCallback
from filmgate.units import format_bytes
from filmgate.weights import download
from filmgate.weights.store import WeightsStore, to_dict
from tests.weights.shop import DATA, OTHER, SHA, Shop, pull


def test_an_unknown_hash_is_recorded_and_expected_from_then_on(
    shop: Shop, store: WeightsStore
) -> None:
    path = pull(shop, store, sha256=None)
    assert path.with_name("toy.safetensors.sha256").read_text() == f"{SHA}  toy.safetensors\n"
    path.write_bytes(OTHER)
    with pytest.raises(BadWeights, match=f"damaged or not what was published.*expected {SHA}"):
        store.verify(shop.weights(sha256=None))
    shop.data = OTHER
    with pytest.raises(BadWeights, match=r"was recorded in .*toy\.safetensors\.sha256; delete"):
        pull(shop, store, sha256=None)


def test_terms_are_accepted_once_and_again_when_they_change(
    shop: Shop, store: WeightsStore
) -> None:
    with pytest.raises(BadSetting, match=r"(?s)are not accepted:\nBe kind\..*toy --accept"):
        pull(shop, store, terms="Be kind.")
    assert not shop.asked
    weights = shop.weights(terms="Be kind.")
    path = download.pull(weights, store, accept=True)
    assert store.verify(weights) == path
    with pytest.raises(BadSetting, match="Pay us"):
        store.verify(shop.weights(terms="Pay us."))


def test_a_file_is_hashed_once_and_again_when_it_changes(
    shop: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = pull(shop, store), list[Path]()
    inner = fingerprint.sha256_of

    def count(path: Path, on_progress: ProgressCallback) -> str:
        read.append(path)
        return inner(path, on_progress)

    monkeypatch.setattr(fingerprint, "sha256_of", count)
    for _ in range(3):
        store.verify(shop.weights())
    assert not read  # its hash was known when it came
    store.verify(shop.weights(), again=True)
    assert read == [path]
    path.write_bytes(OTHER)
    with pytest.raises(BadWeights, match="damaged or not what was published"):
        store.verify(shop.weights())
    for mark in (store.path / ".hashes").iterdir():
        mark.write_text("no JSON")
    path.write_bytes(DATA)
    assert store.verify(shop.weights()) == path
    assert len(read) == 3


def test_a_damaged_file_is_downloaded_again(shop: Shop, store: WeightsStore) -> None:
    pull(shop, store).write_bytes(DATA[:-1])
    with pytest.raises(BadWeights, match=r"has 300,000 bytes, and .* has 300,001: .*downloads it"):
        store.verify(shop.weights())
    assert pull(shop, store).read_bytes() == DATA


def test_the_user_may_name_a_folder_or_a_file(
    shop: Shop, store: WeightsStore, tmp_path: Path
) -> None:
    weights, mine = shop.weights(), tmp_path / "mine"
    with pytest.raises(BadWeights, match="mine does not exist: pass the file toy"):
        store.verify(weights, mine)
    (mine / "fake").mkdir(parents=True)
    with pytest.raises(BadWeights, match="mine holds no toy"):
        store.verify(weights, mine)
    file = mine / "fake" / "toy.safetensors"
    file.write_bytes(OTHER)
    for given in (mine, file):
        with pytest.raises(BadWeights, match="damaged or not what was published"):
            store.verify(weights, given)
    own = file.rename(mine / "own.safetensors")
    assert store.verify(weights, own) == own  # a file of another name is not compared
    file.write_bytes(DATA)
    assert store.verify(weights, mine) == file


def test_a_file_that_cannot_be_read_is_reported(
    shop: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(shop, store)

    def broken(*_: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fingerprint, "sha256_of", broken)
    with pytest.raises(BadWeights, match="cannot be read: Input/output error; check the"):
        store.verify(shop.weights(), again=True)


def test_a_folder_that_cannot_be_written_costs_only_time(
    shop: Shop, store: WeightsStore, tmp_path: Path
) -> None:
    path = pull(shop, store)
    (tmp_path / "other").write_text("no folder")
    assert WeightsStore(tmp_path / "other").verify(shop.weights(), path) == path


def test_an_environment_variable_names_the_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    assert WeightsStore.open_default().path == tmp_path
    monkeypatch.delenv("FILMGATE_MODELS")
    assert WeightsStore.open_default().path == Path.home() / ".cache" / "filmgate" / "models"


@pytest.mark.parametrize(
    "wrong",
    [{"file": "../x"}, {"name": ""}, {"sha256": "abc"}, {"url": ""}, {"hub": "a/b", "path": "c"},
     {"size_bytes": 0}],
)  # fmt: skip
def test_an_invalid_definition_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        Shop(address="http://127.0.0.1/x").weights(**wrong)


def test_a_definition_is_json(shop: Shop) -> None:
    sizes = [format_bytes(n) for n in (5, 1500, 68_882_302, 5e9)]
    assert sizes == ["5 bytes", "1.5 kB", "68.9 MB", "5.0 GB"]
    assert json.loads(json.dumps(to_dict(shop.weights())))["licence"] == "MIT"
