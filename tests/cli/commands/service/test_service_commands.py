"""`filmgate submit`, `watch`, `get` and `cancel` with a service in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from tests.service.api.helpers import serve
from tests.service.fakes import FakeRun, FakeWorkers, make_service

RESULT = b"a result" * 1000


def play(run: FakeRun) -> None:
    """Run a job; those of a file that is called so fail, or wait."""
    source = run.request["definition"]["tasks"]
    if source and source[0].get("scale") == 4:
        run.fail("bad_input", "the video ends at frame 3: get an intact copy")
    elif source:
        run.progress(10)
        run.segment(0)
        run.finish(RESULT, 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that fails jobs of scale 4, and leaves those without a task waiting."""
    folder = tmp_path_factory.mktemp("service")
    with make_service(folder, FakeWorkers(play)) as service, serve(service) as address:
        yield address


@pytest.fixture
def folder(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a video; the service is that of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FILMGATE_SERVER", server)
    (tmp_path / "in.mp4").write_bytes(b"a video" * 100)
    return tmp_path


def test_a_name_for_the_result_waits_and_downloads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "upscale", "in.mp4", "out.mp4", "--crf", "30"]) == Exit.DONE
    assert (folder / "out.mp4").read_bytes() == RESULT
    printed = capsys.readouterr()
    assert "done" in printed.err
    assert len(printed.out.split()) == 1  # the id alone, for scripts
    assert main(["submit", "upscale", "in.mp4", "out.mp4"]) == Exit.USER
    assert "--overwrite" in capsys.readouterr().err
    assert main(["submit", "upscale", "in.mp4", "out.mp4", "--overwrite", "--quiet"]) == Exit.DONE
    assert capsys.readouterr().err == ""


def test_without_a_name_the_job_is_watched_and_fetched_later(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "upscale", "in.mp4", "--quiet"]) == Exit.DONE
    job_id = capsys.readouterr().out.strip()
    assert main(["watch", job_id, "--json"]) == Exit.DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines if line.get("kind") == "done"] == ["done"]
    assert lines[-1]["state"] == "done"
    assert main(["get", job_id]) == Exit.DONE
    saved = folder / capsys.readouterr().out.strip()
    assert (saved.suffix, saved.read_bytes()) == (".mp4", RESULT)
    assert main(["watch"]) == Exit.DONE
    assert job_id in capsys.readouterr().out


def test_several_videos_go_into_a_folder(folder: Path) -> None:
    (folder / "b.mov").write_bytes(b"another")
    words = ["submit", "upscale", "in.mp4", "b.mov", "-o", "results", "--quiet"]
    assert main(words) == Exit.DONE
    assert sorted(path.name for path in (folder / "results").iterdir()) == ["b.mov", "in.mp4"]


def test_exit_codes_are_those_of_the_errors(
    folder: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "upscale", "in.mp4", "o.mp4", "--scale", "4"]) == Exit.USER
    assert "ends at frame 3" in capsys.readouterr().err
    assert not (folder / "o.mp4").exists()
    for words, text in (
        (["submit", "upscale", "none.mp4"], "none.mp4"),
        (["submit", "upscale", "in.mp4", "frames/"], "one result"),
        (["submit", "upscale", "in.mp4", "o.mp4", "--sample", "1"], "--sample"),
        (["submit", "track", "in.mp4", "o.mp4", "--report", "a.html"], "--report"),
        (["submit", "upscale", "in.mp4", "--spool", "x"], "spool"),
        (["submit", "nothing", "in.mp4"], "nothing"),
        (["get", "no-such-job"], "no-such-job"),
        (["watch", "../x"], "no id of a job"),
        (["watch", "--server", "ftp://x"], "ftp://x"),
    ):
        assert main(words) == Exit.USER, words
        assert text in capsys.readouterr().err


def test_a_waiting_job_is_cancelled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "convert", "in.mp4", "--quiet"]) == Exit.DONE
    job_id = capsys.readouterr().out.strip()
    assert main(["cancel", job_id]) == Exit.DONE
    assert job_id in capsys.readouterr().err
    assert main(["get", job_id]) == Exit.INTERRUPTED
    assert "cancelled" in capsys.readouterr().err
