"""The model cache: a network is loaded once while its files stay the same."""

import os
from pathlib import Path

import pytest

from filmgate.core.model_cache import ModelCache


class Loader:
    """Reads a file and counts how often."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, path: Path, *settings: object) -> list[object]:
        self.count += 1
        return [path.read_text(), *settings]


def test_network_is_loaded_once_for_each_file_and_setting(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    loader, models = Loader(), ModelCache()
    first = models.load(loader, tmp_path / "a", "cpu")
    assert models.load(loader, tmp_path / "a", "cpu") is first
    assert models.load(loader, tmp_path / "a", "cuda") == ["one", "cuda"]
    assert loader.count == 2
    assert ModelCache().load(loader, tmp_path / "a", "cpu") is not first


def test_replaced_file_is_loaded_again(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    loader, models = Loader(), ModelCache()
    assert models.load(loader, tmp_path / "a") == ["one"]
    (tmp_path / "b").write_text("two")
    os.replace(tmp_path / "b", tmp_path / "a")
    assert models.load(loader, tmp_path / "a") == ["two"]


def test_failed_load_is_not_kept(tmp_path: Path) -> None:
    loader, models = Loader(), ModelCache()
    with pytest.raises(FileNotFoundError):
        models.load(loader, tmp_path / "a")
    (tmp_path / "a").write_text("one")
    assert models.load(loader, tmp_path / "a") == ["one"]
