"""Several files in one command: where it is, the time left for all, and a table at the end."""

from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.cli.views.batch import Batch
from filmgate.core.events import Done
from filmgate.errors import Exit
from tests import videos


def test_time_left_follows_the_bytes_that_are_done() -> None:
    batch = Batch(["a", "b", "c"], [100, 300, 600], start_s=10.0)
    assert batch.estimate_left(0.0, 12.0) is None  # nothing is done yet
    assert batch.estimate_left(0.5, 12.0) == pytest.approx(38)  # 50 of 1,000 bytes in 2 s
    batch.last = Done(12, 24, 4.0)
    batch.end_file(Path("a.mp4"))
    assert batch.heading == "file 2 of 3: b"
    assert batch.estimate_left(1.0, 20.0) == pytest.approx(15)  # 400 in 10 s
    batch.end_file(Path("b.mp4"), "failed")
    assert [(row.outcome, bool(row.done)) for row in batch.rows] == [
        ("done", True),
        ("failed", False),
    ]


def test_each_file_is_counted_and_one_table_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.mp4", "c.mp4"):
        videos.make(videos.VIDEOS["even"], tmp_path / name)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    paths = [str(tmp_path / name) for name in ("a.mp4", "b.mp4", "c.mp4")]
    words = ["convert", *paths, "-o", str(tmp_path / "made"), "--preset", "ultrafast"]
    assert main([*words, "--in-process"]) == Exit.USER
    error = capsys.readouterr().err
    assert f"file 2 of 3: {paths[1]} -> {tmp_path / 'made' / 'b.mp4'}\nfilmgate: " in error
    rows = {words[0]: words[1:] for words in map(str.split, error.splitlines()) if words}
    assert rows["a.mp4"][:2] == rows["c.mp4"][:2] == ["done", "12"]
    assert rows["b.mp4"] == ["failed"]
    assert error.splitlines()[-1].startswith("done: 2 of 3 files in 0:0")
    assert error.count("x the busiest part") == 0


def test_quiet_prints_errors_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.mp4", "b.mp4"):
        videos.make(videos.VIDEOS["even"], tmp_path / name)
    words = ["convert", str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), "--quiet"]
    assert main([*words, "-o", str(tmp_path / "made"), "--in-process"]) == Exit.DONE
    assert capsys.readouterr() == ("", "")


def test_last_line_says_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    assert main(["convert", str(source), str(tmp_path / "o.mp4"), "--in-process"]) == Exit.DONE
    last = capsys.readouterr().err.replace("\n", " ")
    assert "done: " in last
    assert last.rstrip().endswith("o.mp4")
