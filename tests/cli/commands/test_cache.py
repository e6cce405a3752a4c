"""`filmgate cache` shows what is cached, and removes it."""

import json
from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.storage.result_cache import ResultCache, find_cache_folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResultCache:
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path))
    cache = ResultCache(find_cache_folder())
    for n in range(3):
        cache.put(f"{n:040x}"[::-1], bytes(1000))
    assert cache.get(f"{1:040x}"[::-1])
    cache.report_counts()
    return cache


def test_empty_cache_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path / "none"))
    assert main(["cache"]) == Exit.DONE
    assert "0 results in" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("cache")
def test_cache_shows_folder_size_and_hits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache"]) == Exit.DONE
    out = capsys.readouterr().out
    assert str(tmp_path / "results") in out
    assert "3 results in 3.1 kB of 10.7 GB" in out
    assert "found      1 (100% of all lookups)" in out
    assert main(["cache", "--json"]) == Exit.DONE
    values = json.loads(capsys.readouterr().out)
    assert (values["results"], values["kept"], values["hits"], values["damaged"]) == (3, 3, 1, 0)
    assert values["bytes"] > 3000


def test_clean_removes_all_results(
    tmp_path: Path, cache: ResultCache, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cache", "clean", "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["freed_bytes"] > 3000
    assert not [one for one in cache.files() if one.path.suffix == ".result"]
    assert main(["cache", "--folder", str(tmp_path / "results"), "--json"]) == Exit.DONE
    assert json.loads(capsys.readouterr().out)["results"] == 0


def test_clean_keeps_files_of_the_user_in_any_folder(
    tmp_path: Path, cache: ResultCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of videos that was passed for a cache, and files next to results."""
    folders = [tmp_path / "videos" / name for name in ("holiday", "ab")]
    folders += [next(iter(cache.files())).path.parent, tmp_path / "compiled"]
    names = ("film.mp4", "notes.new", "film.result", "model-0123456789abcdef.pt2")
    theirs = [folder / name for folder in folders for name in names]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    assert main(["cache", "clean"]) == Exit.DONE
    assert main(["cache", "clean", "--folder", str(tmp_path / "videos")]) == Exit.DONE
    assert all(path.read_bytes() == b"mine" for path in theirs)
    assert not list(cache.files())


def test_bad_cache_size_is_a_user_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FILMGATE_CACHE_SIZE", "a lot")
    assert main(["cache"]) == Exit.USER
    assert "FILMGATE_CACHE_SIZE is not a size: 'a lot'" in capsys.readouterr().err
