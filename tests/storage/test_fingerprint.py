"""Hashes of files: computed once, and again when a file or its memo changed."""

import hashlib
import os
from pathlib import Path

import pytest

from filmgate.storage import fingerprint
from filmgate.storage.fingerprint import cached_sha256, remember_sha256, sample_fingerprint


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "video"
    path.write_bytes(bytes(3_000_000))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files that were read through, in order."""
    paths, read = list[Path](), fingerprint.sha256_of

    def count_reads(path: Path, on_progress: fingerprint.ProgressCallback) -> str:
        paths.append(path)
        return read(path, on_progress)

    monkeypatch.setattr(fingerprint, "sha256_of", count_reads)
    return paths


def test_a_file_is_read_once_and_again_when_it_changes(file: Path, reads: list[Path]) -> None:
    memos = file.with_name("memos")
    first = cached_sha256(file, memos)
    assert first == hashlib.sha256(bytes(3_000_000)).hexdigest()
    assert cached_sha256(file, memos) == first
    assert len(reads) == 1
    os.utime(file, (5, 5))
    assert cached_sha256(file, memos) == first
    assert len(reads) == 2
    file.write_bytes(bytes(2_999_999) + b"x")
    os.utime(file, (5, 5))
    assert cached_sha256(file, memos) == hashlib.sha256(file.read_bytes()).hexdigest() != first
    assert cached_sha256(file, memos, again=True)
    assert len(reads) == 4


@pytest.mark.parametrize("damage", ["", "[]", "[" * 5000, '{"sha256": "0', '"sha256": "0'])
def test_a_damaged_memo_is_not_trusted(file: Path, reads: list[Path], damage: str) -> None:
    memos = file.with_name("memos")
    first = cached_sha256(file, memos)
    (memo,) = memos.iterdir()
    text = memo.read_text()  # the last damage is another hash in valid JSON
    memo.write_text(text.replace('"sha256": "', damage) if "sha256" in damage else damage)
    assert cached_sha256(file, memos) == first
    assert len(reads) == 2


def test_a_remembered_hash_is_not_computed(file: Path, reads: list[Path]) -> None:
    remember_sha256(file, "known", file.with_name("memos"))
    assert cached_sha256(file, file.with_name("memos")) == "known"
    assert not reads


def test_a_memo_folder_that_cannot_be_written_costs_only_time(file: Path) -> None:
    (file.with_name("blocked")).write_text("a file, no folder")
    assert cached_sha256(file, file.with_name("blocked")) == fingerprint.sha256_of(file)


def test_samples_tell_files_of_one_size_apart(file: Path) -> None:
    before = sample_fingerprint(file)
    file.write_bytes(bytes(2_999_999) + b"x")
    assert sample_fingerprint(file)["bytes"] == before["bytes"]
    assert sample_fingerprint(file) != before
