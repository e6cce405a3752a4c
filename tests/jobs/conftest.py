"""A source, and the result of an uninterrupted run of it."""

from pathlib import Path

import pytest

import filmgate as fg
from filmgate.jobs import run_directory
from tests import videos
from tests.jobs.resumable_runs import PLAN, VIDEO, sink_of


@pytest.fixture(autouse=True)
def _no_other_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait only a little for another process to make a folder that of a run."""
    monkeypatch.setattr(run_directory, "_LOOK_S", 0.001)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(VIDEO, tmp_path_factory.mktemp("source") / "in.mp4")


@pytest.fixture(scope="module")
def reference(source: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The result of an uninterrupted run."""
    out = tmp_path_factory.mktemp("reference") / "out.mp4"
    fg.run(fg.Interpolate(factor=2), source, sink_of(out), plan=PLAN)
    return out.read_bytes()
