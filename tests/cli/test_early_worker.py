"""Which command lines start a worker before their flags are read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from filmgate.cli import early_worker
from tests import videos


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FILMGATE_IN_PROCESS")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.mp4").touch()
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("convert in.mp4 out.mp4", True),
        ("upscale in.mp4 out.mp4 --scale 2", True),
        ("resume in.mp4", True),
        ("convert", False),
        ("convert none.mp4 out.mp4", False),
        ("convert in.mp4 out.mp4 --in-process", False),
        ("convert in.mp4 out.mp4 --sample=5", False),
        ("convert in.mp4 -", False),
        ("convert in.mp4 --help", False),
        ("probe in.mp4", False),
        ("compare in.mp4 in.mp4", False),
    ],
)
def test_worker_is_expected_for_runs_of_existing_files(line: str, expected: bool) -> None:
    assert early_worker._runs_worker(line.split()) is expected


@pytest.mark.usefixtures("folder")
def test_variable_for_this_process_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILMGATE_IN_PROCESS", "1")
    assert not early_worker._runs_worker(["convert", "in.mp4", "out.mp4"])


@pytest.mark.slow
def test_what_is_imported_early_is_what_a_run_imports(folder: Path) -> None:
    """A run imports hardly anything more, and what is imported early is not in vain."""
    videos.make(videos.VIDEOS["even"], folder / "in.mp4")
    script = """
import sys
import filmgate as fg
from filmgate.media.sinks import VideoOutput
before = {*sys.modules}
if "early" in sys.argv:
    from filmgate.cli.early_worker import import_libraries
    import_libraries()
early = {*sys.modules} - before
for _ in fg.events(fg.Job(fg.VideoFile("in.mp4"), VideoOutput("out.mp4", overwrite=True), ())):
    pass
unwanted = {"torch", "psutil", "pydantic", "filmgate.models.contracts"}  # a convert has no model
print(len(early), len({*sys.modules} - before - early), len(unwanted & {*sys.modules}))
"""
    command = [sys.executable, "-c", script]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    none, all_of_them, _ = subprocess.check_output(command, text=True, env=env).split()
    early, later, unwanted = subprocess.check_output(
        [*command, "early"], text=True, env=env
    ).split()
    assert int(none) == 0
    assert int(later) < 0.05 * int(all_of_them)
    assert int(early) + int(later) < 1.02 * int(all_of_them) + 1
    assert int(unwanted) == 0


@pytest.mark.slow
@pytest.mark.parametrize("more", [("--crf", "99"), ("--model", "film")])
def test_bad_setting_ends_quickly_and_leaves_no_process(
    more: tuple[str, str], folder: Path
) -> None:
    script = (
        "import multiprocessing, sys; from filmgate.cli.main import main;"
        "code = main(sys.argv[1:]);"
        "print(len(multiprocessing.active_children())); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, "convert", "in.mp4", "out.mp4", *more],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert result.stdout == "0\n"
    assert result.stderr.startswith("filmgate: ")
    assert "Traceback" not in result.stderr
    assert [path.name for path in folder.iterdir()] == ["in.mp4"]
