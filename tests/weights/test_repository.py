"""A published folder fetched from a hub on this machine: whole, cut, offline, changed, evil."""

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
from filmgate.weights.repository import believed, listed
from filmgate.weights.store import WeightsStore
from tests.weights.shop import Shop, said

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


def pulled(shelf: WeightsStore, of: WeightsRepository = TOY, **more: Any) -> Path:
    return repository.pull(of, shelf, wait=lambda _: None, **more)


def here(shelf: WeightsStore) -> list[str]:
    home = shelf.home(TOY)
    return sorted(p.relative_to(home).as_posix() for p in home.glob("*/*")
                  if p.suffix not in (".lock", ".sha256"))  # fmt: skip


def test_what_is_wanted_comes_once_in_one_precision_and_nothing_that_could_run(
    hub: Shop, shelf: WeightsStore
) -> None:
    told = list[str]()
    home = pulled(shelf, tell=lambda doing, *_: told.append(doing))
    assert home == shelf.path / "fake"
    assert here(shelf) == WANTED
    assert all((home / path).read_bytes() == FILES[path] for path in WANTED)
    assert told[0] == "asking what there is"
    assert f"{NET}.safetensors: fetching" in told
    asked = [path for path, _ in hub.asked]
    assert asked[0] == "/api/models/them/toys/revision/main?blobs=true"
    assert all(path.startswith(f"/them/toys/resolve/{ONE}/") for path in asked[1:])
    assert pulled(shelf) == home
    assert len(hub.asked) == 1 + len(WANTED)


def test_where_the_full_precision_is_not_published_the_half_one_will_do(
    hub: Shop, shelf: WeightsStore
) -> None:
    del hub.commits[ONE][f"{NET}.safetensors"]
    pulled(shelf)
    assert f"{NET}.fp16.safetensors" in here(shelf)


def test_what_need_not_be_there_is_taken_where_it_is(hub: Shop, shelf: WeightsStore) -> None:
    lax = replace(TOY, wanted=(*TOY.wanted[:2], "words/*|", "more/*.json|more.json|"))
    pulled(shelf, lax)
    assert here(shelf) == WANTED
    bare = {path: data for path, data in FILES.items() if not path.startswith("words")}
    hub.commits = {TWO: bare}
    listed_at = repository.listing(lax, shelf)
    listed_at.unlink()
    pulled(shelf, lax)
    assert [one.file for one in listed(lax, shelf)] == WANTED[:2]


def test_cut_between_and_within_files_it_goes_on_though_the_hub_has_moved_on(
    hub: Shop, shelf: WeightsStore
) -> None:
    hub.cuts = [10**6, 10**6, 40_000, 0, 0, 0, 0, 0]  # the listing, a file, half of the next
    with pytest.raises(NotFetched, match=r"40\.0 kB of 70\.0 kB are kept, and the same command"):
        pulled(shelf)
    assert here(shelf) == [WANTED[0], f"{NET}.safetensors.part", f"{NET}.safetensors.part.json"]
    hub.commits[TWO] = {path: data[::-1] for path, data in FILES.items()}
    hub.asked.clear()
    home = pulled(shelf)
    assert all((home / path).read_bytes() == FILES[path] for path in WANTED)
    assert hub.asked[0][1]["Range"] == "bytes=40000-"
    assert all(f"/resolve/{ONE}/" in path for path, _ in hub.asked)


def test_a_listing_that_was_thrown_away_or_is_of_another_definition_is_asked_anew(
    hub: Shop, shelf: WeightsStore
) -> None:
    pulled(shelf)
    hub.commits[TWO] = FILES | {f"{NET}.safetensors": b"new", "words/more.txt": b"more"}
    assert {one.revision for one in listed(TOY, shelf)} == {ONE}
    assert not listed(replace(TOY, wanted=("net/config.json",)), shelf)
    repository.listing(TOY, shelf).unlink()
    home = pulled(shelf)
    assert (home / NET).with_suffix(".safetensors").read_bytes() == b"new"
    assert "words/more.txt" in here(shelf)
    hub.commits[TWO]["net/config.json"] = b"xx"
    repository.listing(TOY, shelf).write_text("no JSON")
    with pytest.raises(BadWeights, match=r"config\.json\.sha256, which may go if the change is"):
        pulled(shelf)


def test_a_commit_that_is_gone_from_the_hub_is_told(hub: Shop, shelf: WeightsStore) -> None:
    pulled(shelf)
    (shelf.home(TOY) / WANTED[0]).unlink()
    hub.commits = {TWO: dict(FILES)}
    with pytest.raises(NotFetched, match=r"answers 404 .*toy\.listed\.json the hub is asked anew"):
        pulled(shelf)


def test_offline_nothing_is_asked(
    hub: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILMGATE_OFFLINE", "1")
    with pytest.raises(NotFetched, match=r"FILMGATE_OFFLINE is set and what toy .* is not known"):
        pulled(shelf)
    assert not hub.asked
    monkeypatch.delenv("FILMGATE_OFFLINE")
    home = pulled(shelf)
    monkeypatch.setenv("FILMGATE_OFFLINE", "1")
    assert pulled(shelf) == home
    (home / WANTED[0]).unlink()
    with pytest.raises(NotFetched, match=r"net/config\.json.* are not here: fetch http"):
        pulled(shelf)


@pytest.mark.parametrize(
    "path", ["/etc/passwd.json", "words/../../x.json", "..", "words\\..\\x.json"]
)
def test_a_path_that_leads_out_of_the_folder_is_refused_before_the_first_file(
    path: str, hub: Shop, shelf: WeightsStore
) -> None:
    hub.commits[ONE][path] = b"evil"
    with pytest.raises(BadWeights, match="which leads out of its folder"):
        pulled(shelf)
    assert not here(shelf)
    assert len(hub.asked) == 1


def test_a_note_of_what_there_is_that_was_tampered_with_is_not_believed(
    hub: Shop, shelf: WeightsStore
) -> None:
    pulled(shelf)
    note = json.loads(repository.listing(TOY, shelf).read_text())
    note["files"]["words/../../../x.json"] = [1, None]
    repository.listing(TOY, shelf).write_text(json.dumps(note))
    assert not listed(TOY, shelf)


def test_what_can_not_be_used_is_told_before_the_first_file(hub: Shop, shelf: WeightsStore) -> None:
    files = hub.commits[ONE]
    del files["net/config.json"]
    with pytest.raises(BadWeights, match=r"has no net/config\.json: it was changed; get a newer"):
        pulled(shelf)
    files["net/config.json"] = b""
    with pytest.raises(BadWeights, match="lists what can't be: size_bytes of toy is 0"):
        pulled(shelf)
    files["net/config.json"] = b"{}"
    files["words/-rf.txt"] = b"x"
    with pytest.raises(BadWeights, match="wanted a plain name"):
        pulled(shelf)
    assert not here(shelf)


def test_a_file_that_is_not_what_the_hub_lists_never_gets_the_name(
    hub: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie = said(ONE, FILES)
    monkeypatch.setattr("tests.weights.shop.said", lambda *_: lie)
    hub.commits[ONE][f"{NET}.safetensors"] = FILES[f"{NET}.safetensors"][::-1]
    with pytest.raises(BadWeights, match="is published: it was thrown away"):
        pulled(shelf)
    assert here(shelf) == WANTED[:1]


def test_a_hub_that_falters_is_asked_again_and_one_that_refuses_or_is_none_is_told(
    hub: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.refusals = [401]
    with pytest.raises(NotFetched, match=r"accept its licence at .*/them/toys and set HF_TOKEN"):
        pulled(shelf)
    hub.refusals = [503] * download.TRIES
    with pytest.raises(NotFetched, match=r"did not answer: 503 .*; the same command tries again"):
        pulled(shelf)
    with monkeypatch.context() as patched:
        patched.setattr("tests.weights.shop.said", lambda *_: ["<html>"])
        with pytest.raises(NotFetched, match=r"answers what a hub does not.*look at HF_ENDPOINT"):
            pulled(shelf)
    hub.refusals = [503, 429]
    assert pulled(shelf) == shelf.home(TOY)


def test_room_is_asked_for_all_of_it_before_the_first_file(
    hub: Shop, shelf: WeightsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 70_001))
    with pytest.raises(DoesNotFit, match=r"needs room for 70\.0 kB") as error:
        pulled(shelf)
    assert error.value.needed_bytes == sum(len(FILES[path]) for path in WANTED)
    assert len(hub.asked) == 1


def test_terms_are_those_of_the_folder(hub: Shop, shelf: WeightsStore) -> None:
    bound = replace(TOY, terms="Be kind.")
    with pytest.raises(BadSetting, match=r"(?s)Be kind\..*filmgate models pull toy --accept"):
        pulled(shelf, bound)
    assert not hub.asked
    home = pulled(shelf, bound, accept=True)
    assert pulled(shelf, bound) == believed(bound, shelf, home) == home
    with pytest.raises(BadSetting, match="Pay us"):
        believed(replace(TOY, terms="Pay us."), shelf, home)


@pytest.mark.parametrize("path", [WANTED[0], WANTED[1]])
def test_what_lies_there_is_believed_only_as_it_was_published(
    path: str, shelf: WeightsStore, tmp_path: Path
) -> None:
    home = pulled(shelf)
    (home / "no_words.safetensors").write_bytes(b"made here")
    (home / "words" / "vocab.json").unlink()  # what is missing, whoever opens it will tell
    assert believed(TOY, shelf, home) == home
    (home / path).write_bytes(FILES[path][::-1])
    assert believed(TOY, shelf, tmp_path) == tmp_path
    with pytest.raises(BadWeights, match="damaged or not what was published"):
        believed(TOY, shelf, home)
    pulled(shelf)
    assert (home / path).read_bytes() == FILES[path]
