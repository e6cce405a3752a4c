"""A bench of a person's own film: what was foreseen beside what came, and nothing is left."""

import json
from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from tests import films


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return films.make(films.Film(frames=30), tmp_path / "in.mp4")


def test_so_many_frames_are_run_and_told_with_what_was_foreseen(
    film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "interpolate", str(film), "--frames", "12", "--chunk", "2", "--json"]
    assert main(words) == Exit.DONE
    told = json.loads(capsys.readouterr().out)
    assert (told["read"], told["written"]) == (12, 24)
    assert list(told["parts"]) == ["decode", "cuts", "interpolate", "until next", "encode"]
    assert told["parts"]["interpolate"]["batch"] >= 1
    assert all(part["measured_s"] > 0 for part in told["parts"].values())
    assert told["fps"] == pytest.approx(12 / told["seconds"])
    assert told["host"]["predicted_bytes"] > 0 < told["host"]["measured_bytes"]
    assert [path.name for path in film.parent.iterdir()] == ["in.mp4"]


def test_ten_frames_are_run_where_nobody_says_how_many(
    film: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    frames = film.with_name("frames") / "%06d.png"
    assert main(["bench", "convert", str(film), str(frames)]) == Exit.DONE
    said = capsys.readouterr().out
    assert "10 frames in, 10 out" in said
    assert "predicted / measured" in said
    assert max(map(len, said.splitlines()[:10])) <= 80
    assert [path.name for path in film.parent.iterdir()] == ["in.mp4"]


def test_a_pipe_is_no_film_for_a_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "convert", "-"]) == Exit.USER
    assert "a pipe can be read only once: give a file" in capsys.readouterr().err
