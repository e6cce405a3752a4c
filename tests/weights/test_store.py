"""Weights that lie here: found, believed, recorded, and their terms."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import BadSetting, BadWeights
from filmgate.storage import fingerprint
from filmgate.storage.fingerprint import Tell
from filmgate.units import format_bytes
from filmgate.weights import download
from filmgate.weights import store as weights_
from filmgate.weights.store import WeightsStore
from tests.weights.shop import DATA, OTHER, SHA, Shop, pulled


def test_an_unknown_hash_is_recorded_and_wanted_from_then_on(
    shop: Shop, shelf: WeightsStore
) -> None:
    path = pulled(shop, shelf, sha256=None)
    assert path.with_name("toy.safetensors.sha256").read_text() == f"{SHA}  toy.safetensors\n"
    path.write_bytes(OTHER)
    with pytest.raises(BadWeights, match=f"damaged or not what was published.*wanted {SHA}"):
        shelf.verified(shop.weights(sha256=None))
    shop.data = OTHER
    with pytest.raises(BadWeights, match=r"was recorded in .*toy\.safetensors\.sha256, which may"):
        pulled(shop, shelf, sha256=None)


def test_terms_are_accepted_once_and_again_when_they_change(
    shop: Shop, shelf: WeightsStore
) -> None:
    with pytest.raises(BadSetting, match=r"(?s)nobody has accepted here:\nBe kind\..*toy --accept"):
        pulled(shop, shelf, terms="Be kind.")
    assert not shop.asked
    weights = shop.weights(terms="Be kind.")
    path = download.pull(weights, shelf, accept=True)
    assert shelf.verified(weights) == path
    with pytest.raises(BadSetting, match="Pay us"):
        shelf.verified(shop.weights(terms="Pay us."))


def test_a_file_is_hashed_once_and_again_when_it_changes(
    shop: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = pulled(shop, shelf), list[Path]()
    inner = fingerprint.sha256_of

    def noted(path: Path, tell: Tell) -> str:
        read.append(path)
        return inner(path, tell)

    monkeypatch.setattr(weights_, "sha256_of", noted)
    for _ in range(3):
        shelf.verified(shop.weights())
    assert not read  # its hash was known when it came
    shelf.verified(shop.weights(), again=True)
    assert read == [path]
    path.write_bytes(OTHER)
    with pytest.raises(BadWeights, match="damaged or not what was published"):
        shelf.verified(shop.weights())
    for mark in (shelf.path / ".seen").iterdir():
        mark.write_text("no JSON")
    path.write_bytes(DATA)
    assert shelf.verified(shop.weights()) == path
    assert len(read) == 3


def test_what_is_damaged_is_fetched_again(shop: Shop, shelf: WeightsStore) -> None:
    pulled(shop, shelf).write_bytes(DATA[:-1])
    with pytest.raises(BadWeights, match=r"has 300,000 bytes, and .* has 300,001: .*fetches it ag"):
        shelf.verified(shop.weights())
    assert pulled(shop, shelf).read_bytes() == DATA


def test_a_folder_or_a_file_may_be_named_by_hand(
    shop: Shop, shelf: WeightsStore, tmp_path: Path
) -> None:
    weights, mine = shop.weights(), tmp_path / "mine"
    with pytest.raises(BadWeights, match="mine does not exist: wanted the file toy"):
        shelf.verified(weights, mine)
    (mine / "fake").mkdir(parents=True)
    with pytest.raises(BadWeights, match="mine holds no toy"):
        shelf.verified(weights, mine)
    file = mine / "fake" / "toy.safetensors"
    file.write_bytes(OTHER)
    for given in (mine, file):
        with pytest.raises(BadWeights, match="damaged or not what was published"):
            shelf.verified(weights, given)
    own = file.rename(mine / "own.safetensors")
    assert shelf.verified(weights, own) == own  # another name promises nothing
    file.write_bytes(DATA)
    assert shelf.verified(weights, mine) == file


def test_a_file_that_can_not_be_read_is_told(
    shop: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled(shop, shelf)

    def broken(*_: object) -> str:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(weights_, "sha256_of", broken)
    with pytest.raises(BadWeights, match="can't be read: Input/output error; look at that"):
        shelf.verified(shop.weights(), again=True)


def test_a_folder_that_can_not_be_written_costs_only_time(
    shop: Shop, shelf: WeightsStore, tmp_path: Path
) -> None:
    path = pulled(shop, shelf)
    (tmp_path / "other").write_text("no folder")
    assert WeightsStore(tmp_path / "other").verified(shop.weights(), path) == path


def test_the_folder_is_chosen_by_a_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    assert WeightsStore.here().path == tmp_path
    monkeypatch.delenv("FILMGATE_MODELS")
    assert WeightsStore.here().path == Path.home() / ".cache" / "filmgate" / "models"


@pytest.mark.parametrize(
    "wrong",
    [{"file": "../x"}, {"name": ""}, {"sha256": "abc"}, {"url": ""}, {"hub": "a/b", "path": "c"},
     {"size_bytes": 0}],
)  # fmt: skip
def test_a_definition_that_can_not_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        Shop(address="http://127.0.0.1/x").weights(**wrong)


def test_sizes_read_well_and_a_definition_is_json(shop: Shop) -> None:
    sizes = [format_bytes(n) for n in (5, 1500, 68_882_302, 5e9)]
    assert sizes == ["5 bytes", "1.5 kB", "68.9 MB", "5.0 GB"]
    assert json.loads(json.dumps(weights_.plain(shop.weights())))["licence"] == "MIT"
