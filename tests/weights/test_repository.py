"""Download a folder from a local hub: complete, interrupted, offline, changed, hostile."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from filmgate.errors import BadSetting, BadWeights, DoesNotFit, NotFetched
from filmgate.weights import download, repository
from filmgate.weights.definitions import WeightsRepository
from filmgate.weights.repository import list_files, verify_folder
from filmgate.weights.store import WeightsStore
from tests.weights.shop import Shop, describe_commit

ONE, TWO = "1" * 40, "2" * 40  # commits
NET = "net/model"
TOY = WeightsRepository(name="toy", family="fake", hub="them/toys", licence="MIT", commercial=True,
             wanted=("net/config.json", f"{NET}.safetensors|{NET}.fp16.safetensors",
                     "words/*"))  # fmt: skip
FILES = {
    "README.md": b"Hello.",
    "model_index.json": b"{}",
    "net/config.json": b'{"sides": 3}',
    f"{NET}.safetensors": Random(2).randbytes(70_000),
    f"{NET}.fp16.safetensors": Random(3).randbytes(35_000),
    f"{NET}.bin": b"pickled",
    "words/vocab.json": b'{"a": 1}',
    "words/merges.txt": b"a b",
    "words/run.py": b"print()",
}
WANTED = ["net/config.json", f"{NET}.safetensors", "words/merges.txt", "words/vocab.json"]


@pytest.fixture(autouse=True)
def hub(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Shop:
    shop.commits = {ONE: dict(FILES)}
    monkeypatch.setenv("HF_ENDPOINT", shop.address.removesuffix("/toy"))
    return shop


def pulled(store: WeightsStore, of: WeightsRepository = TOY, **more: Any) -> Path:
    return repository.pull(of, store, wait=lambda _: None, **more)


def list_stored(store: WeightsStore) -> list[str]:
    folder = store.get_folder(TOY)
    return sorted(p.relative_to(folder).as_posix() for p in folder.glob("*/*")
                  if p.suffix not in (".lock", ".sha256"))  # fmt: skip


def test_wanted_files_are_downloaded_once_in_one_precision_without_code(
    hub: Shop, store: WeightsStore
) -> None:
    reports = list[str]()
    folder = pulled(store, on_progress=lambda doing, *_: reports.append(doing))
    assert folder == store.path / "fake"
    assert list_stored(store) == WANTED
    assert all((folder / path).read_bytes() == FILES[path] for path in WANTED)
    assert reports[0] == "asking the hub for its files"
    assert f"{NET}.safetensors: downloading" in reports
    asked = [path for path, _ in hub.asked]
    assert asked[0] == "/api/models/them/toys/revision/main?blobs=true"
    assert all(path.startswith(f"/them/toys/resolve/{ONE}/") for path in asked[1:])
    assert pulled(store) == folder
    assert len(hub.asked) == 1 + len(WANTED)


def test_half_precision_is_taken_if_there_is_no_full_one(hub: Shop, store: WeightsStore) -> None:
    del hub.commits[ONE][f"{NET}.safetensors"]
    pulled(store)
    assert f"{NET}.fp16.safetensors" in list_stored(store)


def test_optional_files_are_taken_if_they_exist(hub: Shop, store: WeightsStore) -> None:
    optional = replace(TOY, wanted=(*TOY.wanted[:2], "words/*|", "more/*.json|more.json|"))
    pulled(store, optional)
    assert list_stored(store) == WANTED
    bare = {path: data for path, data in FILES.items() if not path.startswith("words")}
    hub.commits = {TWO: bare}
    listed_at = repository.get_listing_path(optional, store)
    listed_at.unlink()
    pulled(store, optional)
    assert [one.file for one in list_files(optional, store)] == WANTED[:2]


def test_two_folders_of_a_family_have_a_folder_each(hub: Shop, store: WeightsStore) -> None:
    small, large = (replace(TOY, name=name, folder=name, wanted=("model_index.json", "words/*"))
                    for name in ("small", "large"))  # fmt: skip
    assert pulled(store, small) == store.path / "fake" / "small"
    hub.commits[ONE]["model_index.json"] = b"{1}"
    assert pulled(store, large) == store.path / "fake" / "large"
    for folder, contents in (("small", b"{}"), ("large", b"{1}")):
        assert (store.path / "fake" / folder / "model_index.json").read_bytes() == contents
    assert verify_folder(small, store, store.get_folder(small)) == store.get_folder(small)
    (store.path / "fake" / "small" / "model_index.json").write_bytes(b"[]")
    with pytest.raises(BadWeights, match="is damaged or not what was published"):
        verify_folder(small, store, store.get_folder(small))


def test_predicted_size_is_called_predicted() -> None:
    assert TOY.description == "toy (them/toys, MIT)"
    large = replace(TOY, predicted_bytes=22_770_000_000)
    assert large.description == "toy (them/toys, about 22.8 GB (predicted), MIT)"


def test_an_interrupted_pull_keeps_to_its_commit(hub: Shop, store: WeightsStore) -> None:
    hub.cuts = [10**6, 10**6, 40_000, 0, 0, 0, 0, 0]  # the listing, a file, half of the next
    with pytest.raises(NotFetched, match=r"40\.0 kB of 70\.0 kB are kept: run the same command"):
        pulled(store)
    assert list_stored(store) == [
        WANTED[0],
        f"{NET}.safetensors.part",
        f"{NET}.safetensors.part.json",
    ]
    hub.commits[TWO] = {path: data[::-1] for path, data in FILES.items()}
    hub.asked.clear()
    folder = pulled(store)
    assert all((folder / path).read_bytes() == FILES[path] for path in WANTED)
    assert hub.asked[0][1]["Range"] == "bytes=40000-"
    assert all(f"/resolve/{ONE}/" in path for path, _ in hub.asked)


def test_a_deleted_or_foreign_listing_is_fetched_again(hub: Shop, store: WeightsStore) -> None:
    pulled(store)
    hub.commits[TWO] = FILES | {f"{NET}.safetensors": b"new", "words/more.txt": b"more"}
    assert {one.revision for one in list_files(TOY, store)} == {ONE}
    assert not list_files(replace(TOY, wanted=("net/config.json",)), store)
    repository.get_listing_path(TOY, store).unlink()
    folder = pulled(store)
    assert (folder / NET).with_suffix(".safetensors").read_bytes() == b"new"
    assert "words/more.txt" in list_stored(store)
    hub.commits[TWO]["net/config.json"] = b"xx"
    repository.get_listing_path(TOY, store).write_text("no JSON")
    with pytest.raises(BadWeights, match=r"config\.json\.sha256; delete that to accept a"):
        pulled(store)


def test_a_commit_that_is_gone_from_the_hub_is_reported(hub: Shop, store: WeightsStore) -> None:
    pulled(store)
    (store.get_folder(TOY) / WANTED[0]).unlink()
    hub.commits = {TWO: dict(FILES)}
    with pytest.raises(NotFetched, match=r"answers 404 .*toy\.listed\.json to ask the hub"):
        pulled(store)


def test_offline_the_hub_is_not_asked(
    hub: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_OFFLINE", "1")
    with pytest.raises(
        NotFetched, match=r"FILMGATE_OFFLINE is set and the files of toy .* are unknown"
    ):
        pulled(store)
    assert not hub.asked
    monkeypatch.delenv("FILMGATE_OFFLINE")
    folder = pulled(store)
    monkeypatch.setenv("FILMGATE_OFFLINE", "1")
    assert pulled(store) == folder
    (folder / WANTED[0]).unlink()
    with pytest.raises(NotFetched, match=r"net/config\.json.* is not here: download http"):
        pulled(store)


@pytest.mark.parametrize(
    "path", ["/etc/passwd.json", "words/../../x.json", "..", "words\\..\\x.json"]
)
def test_a_path_out_of_the_folder_is_refused_before_the_first_file(
    path: str, hub: Shop, store: WeightsStore
) -> None:
    hub.commits[ONE][path] = b"evil"
    with pytest.raises(BadWeights, match="which leads out of its folder"):
        pulled(store)
    assert not list_stored(store)
    assert len(hub.asked) == 1


def test_a_listing_that_was_tampered_with_is_ignored(hub: Shop, store: WeightsStore) -> None:
    pulled(store)
    note = json.loads(repository.get_listing_path(TOY, store).read_text())
    note["files"]["words/../../../x.json"] = [1, None]
    repository.get_listing_path(TOY, store).write_text(json.dumps(note))
    assert not list_files(TOY, store)


def test_unusable_files_are_reported_before_the_first_download(
    hub: Shop, store: WeightsStore
) -> None:
    files = hub.commits[ONE]
    del files["net/config.json"]
    with pytest.raises(BadWeights, match=r"has no net/config\.json: it was changed; update"):
        pulled(store)
    files["net/config.json"] = b""
    with pytest.raises(BadWeights, match="lists an invalid file: size_bytes of toy is 0"):
        pulled(store)
    files["net/config.json"] = b"{}"
    files["words/-rf.txt"] = b"x"
    with pytest.raises(BadWeights, match="use letters, digits and"):
        pulled(store)
    assert not list_stored(store)


def test_a_file_that_differs_from_the_listing_never_gets_the_name(
    hub: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = describe_commit(ONE, FILES)
    monkeypatch.setattr("tests.weights.shop.describe_commit", lambda *_: stale)
    hub.commits[ONE][f"{NET}.safetensors"] = FILES[f"{NET}.safetensors"][::-1]
    with pytest.raises(BadWeights, match="is published: it was deleted"):
        pulled(store)
    assert list_stored(store) == WANTED[:1]


def test_a_hub_is_asked_again_after_temporary_errors_only(
    hub: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refusals = [401]
    with pytest.raises(NotFetched, match=r"accept its licence at .*/them/toys and set HF_TOKEN"):
        pulled(store)
    hub.refusals = [503] * download.MAX_TRIES
    with pytest.raises(NotFetched, match=r"did not answer: 503 .*; run the same command again"):
        pulled(store)
    with monkeypatch.context() as patched:
        patched.setattr("tests.weights.shop.describe_commit", lambda *_: ["<html>"])
        with pytest.raises(NotFetched, match=r"does not answer as a hub does.*check HF_ENDPOINT"):
            pulled(store)
    hub.refusals = [503, 429]
    assert pulled(store) == store.get_folder(TOY)


def test_disk_space_for_all_files_is_checked_first(
    hub: Shop, store: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 70_001))
    with pytest.raises(DoesNotFit, match=r"needs 70\.0 kB") as error:
        pulled(store)
    assert error.value.needed_bytes == sum(len(FILES[path]) for path in WANTED)
    assert len(hub.asked) == 1


def test_terms_are_those_of_the_folder(hub: Shop, store: WeightsStore) -> None:
    bound = replace(TOY, terms="Be kind.")
    with pytest.raises(BadSetting, match=r"(?s)Be kind\..*filmgate models pull toy --accept"):
        pulled(store, bound)
    assert not hub.asked
    folder = pulled(store, bound, accept=True)
    assert pulled(store, bound) == verify_folder(bound, store, folder) == folder
    with pytest.raises(BadSetting, match="Pay us"):
        verify_folder(replace(TOY, terms="Pay us."), store, folder)


@pytest.mark.parametrize("path", [WANTED[0], WANTED[1]])
def test_stored_files_must_be_as_published(path: str, store: WeightsStore, tmp_path: Path) -> None:
    folder = pulled(store)
    (folder / "no_words.safetensors").write_bytes(b"made here")
    (folder / "words" / "vocab.json").unlink()  # a missing file is reported when it is opened
    assert verify_folder(TOY, store, folder) == folder
    (folder / path).write_bytes(FILES[path][::-1])
    assert verify_folder(TOY, store, tmp_path) == tmp_path
    with pytest.raises(BadWeights, match="damaged or not what was published"):
        verify_folder(TOY, store, folder)
    pulled(store)
    assert (folder / path).read_bytes() == FILES[path]


def test_a_folder_of_its_own_and_other_formats_are_taken_where_they_are_wanted(
    hub: Shop, store: WeightsStore
) -> None:
    part = replace(TOY, folder="toys", wanted=(f"{NET}.bin",), suffixes=(".bin",))
    path = pulled(store, part)
    assert path == store.path / "fake" / "toys"
    assert (path / f"{NET}.bin").read_bytes() == FILES[f"{NET}.bin"]
    hub.commits = {}
    assert [file.path for file in list_files(part, store)] == [f"{NET}.bin"]  # as it was listed
    assert pulled(store, part) == path
