"""What a command imports: heavy libraries only where they are needed, after paths are checked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import videos

HEAVY = {"torch", "av", "cv2", "numpy", "pydantic", "rich", "PIL"}


def list_imports(words: list[str], code: int, folder: Path) -> set[str]:
    """Return the top-level modules that a command line imports in its first process."""
    script = (
        "import sys; from filmgate.cli.main import main; code = main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *words],
        env={name: value for name, value in os.environ.items() if name != "FILMGATE_IN_PROCESS"}
        | {"FILMGATE_MODELS": str(folder / "models")},
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    return {name.partition(".")[0] for name in result.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize("words", ["--version", "--help", ""])
def test_version_and_help_import_no_library(words: str, tmp_path: Path) -> None:
    loaded = list_imports(words.split(), 0, tmp_path)
    assert not loaded & {*HEAVY, "cyclopts"}


@pytest.mark.parametrize(
    "words",
    [
        "convert none.mp4 out.mp4",
        "interpolate none.mp4 out.mp4 --model film",
        "upscale none.mp4 out.mp4",
        "convert in.mp4 none/out.mp4",
        "convert in.mp4 out.mp4 --crff 1",
        "upscale in.mp4 out.mp4 --steps 1",
        "upscale in.mp4 out.mp4 --device gpu",
        "convert in.mp4 out.mp4 --crf 99",
        "convert in.mp4 out.mp4 --codec h265",
        "upscale in.mp4 out.mp4 --scale 3",
        "upscale in.mp4 out.mp4 --vram lots",
        "upscale in.mp4 out.mp4 --model film",
        "upscale in.mp4 out.mp4 --model in.mp4",
        "upscale in.mp4 out.mp4 --weights none.safetensors",
        "interpolate in.mp4 out.mp4 --model film",
        "upscale in.mp4",
    ],
)
def test_settings_and_paths_are_checked_before_heavy_libraries_load(
    words: str, tmp_path: Path
) -> None:
    (tmp_path / "in.mp4").touch()
    assert not list_imports(words.split(), 2, tmp_path) & {"torch", "av", "cv2", "numpy"}


def test_probe_imports_only_what_reads_a_header(tmp_path: Path) -> None:
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    loaded = list_imports(["probe", "in.mp4"], 0, tmp_path)
    assert "av" in loaded
    assert not loaded & {"torch", "cv2", "numpy", "pydantic"}


def test_parent_of_a_worker_imports_neither_av_nor_numpy(tmp_path: Path) -> None:
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    loaded = list_imports(["convert", "in.mp4", "out.mp4", "--quiet"], 0, tmp_path)
    assert (tmp_path / "out.mp4").exists()
    assert not loaded & {"torch", "av", "cv2", "numpy", "pydantic"}


@pytest.mark.parametrize("words", ["convert in.mp4 out.mp4", "interpolate in.mp4 out.mp4"])
def test_run_that_needs_no_network_does_not_import_torch(words: str, tmp_path: Path) -> None:
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    loaded = list_imports([*words.split(), "--in-process", "--quiet"], 0, tmp_path)
    assert "torch" not in loaded


def test_module_runs_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "filmgate", "--version"]
    from filmgate import __version__

    assert subprocess.check_output(command, text=True, cwd=tmp_path) == f"{__version__}\n"
