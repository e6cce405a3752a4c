"""What a command imports: heavy libraries only where they are needed, after paths are checked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import videos

HEAVY = {"torch", "av", "cv2", "numpy", "pydantic", "rich", "PIL"}


SCRIPT = """
import json, sys
from filmgate.cli.main import main
for line in json.loads(sys.argv[1]):
    code = main(line)
    print(code, *sys.modules, file=sys.stderr)
"""


def list_imports(
    lines: list[list[str]], code: int, folder: Path, *, worker: bool = False, more: str = ""
) -> list[set[str]]:
    """Return the top-level modules that one process has imported after each command line.

    `more` is a program that it runs after them.
    """
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT + more, json.dumps(lines)],
        env=os.environ | {"FILMGATE_IN_PROCESS": "0" if worker else "1",
                          "FILMGATE_MODELS": str(folder / "models")},
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    loaded = []
    for printed in result.stderr.splitlines():
        first, *modules = printed.split()
        if first.isdecimal():
            assert int(first) == code, result.stderr
            loaded.append({name.partition(".")[0] for name in modules})
    assert len(loaded) == len(lines)
    return loaded


def test_version_and_help_import_no_library(tmp_path: Path) -> None:
    for loaded in list_imports([["--version"], ["--help"], []], 0, tmp_path):
        assert not loaded & {*HEAVY, "cyclopts"}


def test_settings_paths_and_weights_are_checked_before_heavy_libraries_load(
    tmp_path: Path,
) -> None:
    lines = [
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
    ]
    (tmp_path / "in.mp4").touch()
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "in.png")
    of_a_large_model = "generate in.png out.mp4 --prompt a"  # torch alone takes longer to load
    commands = [line.split() for line in (*lines, of_a_large_model)]
    *all_loaded, last = list_imports(commands, 2, tmp_path)
    for line, loaded in zip(lines, all_loaded, strict=True):
        assert not loaded & {"torch", "av", "cv2", "numpy"}, line
    assert not last & {"torch", "diffusers", "transformers", "cv2"}


def test_parent_of_a_worker_imports_neither_av_nor_numpy(tmp_path: Path) -> None:
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    lines = [["convert", "in.mp4", "out.mp4", "--quiet"]]
    (loaded,) = list_imports(lines, 0, tmp_path, worker=True)
    assert (tmp_path / "out.mp4").exists()
    assert not loaded & {"torch", "av", "cv2", "numpy", "pydantic", "pydantic_core"}


def test_commands_that_need_no_network_import_only_what_they_need(tmp_path: Path) -> None:
    videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    lines = ["probe in.mp4", "convert in.mp4 out.mp4 --quiet",
             "interpolate in.mp4 fast.mp4 --quiet",
             "check out.mp4 --against in.mp4 --seams"]  # fmt: skip
    by_api = """
import filmgate
filmgate.run(filmgate.Interpolate(), "in.mp4", "again.mp4")
assert "torch" not in sys.modules
"""
    commands = [line.split() for line in lines]
    probed, *others = list_imports(commands, 0, tmp_path, more=by_api)
    assert "av" in probed
    assert not probed & {"torch", "cv2", "numpy", "pydantic", "pydantic_core", "multiprocessing"}
    for line, loaded in zip(lines[1:], others, strict=True):
        assert "torch" not in loaded, line


def test_module_runs_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "filmgate", "--version"]
    from filmgate import __version__

    assert subprocess.check_output(command, text=True, cwd=tmp_path) == f"{__version__}\n"


def test_program_that_loaded_triton_ends_without_a_word(tmp_path: Path) -> None:
    """Its classes were reported as leaked at the end of `plan animate`, on many lines."""
    pytest.importorskip("triton")
    script = """
import sys, triton
from filmgate.cli.main import main
sys.argv = ["filmgate", "--version"]
main()
"""
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stderr == ""
