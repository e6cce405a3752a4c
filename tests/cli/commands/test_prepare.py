"""`filmgate prepare`: it fills the cache, and lipsync finds what it stored."""

import wave
from pathlib import Path
from typing import Any

import pytest

from filmgate.cli.main import main
from filmgate.models.diffusion import weights_files
from filmgate.storage import result_cache
from tests.models.families.latentsync import tiny
from tests.videos import Video, make


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A video, and the flags of a tiny model with means in place of the autoencoder."""
    average = tiny.Average()
    monkeypatch.setattr(weights_files, "open_autoencoder", lambda *_: average)
    monkeypatch.setenv(result_cache.FOLDER, str(tmp_path / "cache"))
    make(Video(frames=18, size=(192, 128)), tmp_path / "in.mp4")
    options = tiny.build_options()
    return ["--weights", str(options.weights), "--whisper", str(options.whisper), "--vae",
            str(options.vae), "--side", "64", "--box", "60,20,60,70"]  # fmt: skip


@pytest.mark.slow
def test_what_is_prepared_is_found(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    assert main(["prepare", "lipsync", str(tmp_path / "in.mp4"), *words]) == 0
    assert "18 frames" in (first := capfd.readouterr().err)
    assert "0 were there" in first
    assert main(["prepare", "lipsync", str(tmp_path / "in.mp4"), *words]) == 0
    assert "0 results stored" in capfd.readouterr().err
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(2 * 8_000))
    encoded = list[int]()
    monkeypatch.setattr(tiny.Average, "encode", lambda *_: encoded.append(1))
    paths = [str(tmp_path / name) for name in ("in.mp4", "a.wav", "out.mkv")]
    more = ["--cache", "--in-process", "--steps", "1", "--quiet"]
    assert main(["lipsync", *paths, *words, *more]) == 0
    assert not encoded
    assert (tmp_path / "out.mkv").exists()


def test_paths_and_weights_are_checked_first(tmp_path: Path, words: list[str], capfd: Any) -> None:
    assert main(["prepare", "lipsync"]) == 2
    assert "pass VIDEO" in capfd.readouterr().err
    assert main(["prepare", "lipsync", str(tmp_path / "none.mp4"), *words]) == 2
    assert "none.mp4" in capfd.readouterr().err
    missing = ["--weights", str(tmp_path / "none.pt")]
    assert main(["prepare", "lipsync", str(tmp_path / "in.mp4"), *missing]) == 2
    assert "none.pt does not exist" in capfd.readouterr().err
