"""The code blocks in the docs run, and so do the examples."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import mark_slow_cases
from tests.house.tree import ROOT, list_files
from tests.videos import VIDEOS, make

# A block in another language ("text") is not run.
BLOCK = re.compile(r"^```(python|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {
    f"{path.name} {number}": block
    for path in list_files()
    if path.suffix == ".md"
    for number, block in enumerate(BLOCK.findall(path.read_text()))
}
EXAMPLES = [path for path in list_files() if path.match("examples/*.py")]


def run_command(command: list[str], folder: Path) -> None:
    """Run a command in a folder that holds a video, in.mp4; `filmgate` is on the path."""
    make(VIDEOS["sound"], folder / "in.mp4")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


def test_the_readme_shows_python_and_the_command_line() -> None:
    languages = {language for name, (language, _) in BLOCKS.items() if name.startswith("README")}
    assert "python" in languages
    assert languages & {"sh", "console"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_runs(name: str, tmp_path: Path) -> None:
    language, text = BLOCKS[name]
    if language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    python = [sys.executable, "-c", text]
    run_command(python if language == "python" else ["bash", "-euc", text], tmp_path)


QUICK = ROOT / "examples" / "own_stage.py"  # the API that users write against


@pytest.mark.parametrize("example", mark_slow_cases([QUICK], EXAMPLES), ids=lambda path: path.name)
def test_examples_are_short_and_run(example: Path, tmp_path: Path) -> None:
    assert len(example.read_text().splitlines()) <= 40
    run_command([sys.executable, str(example)], tmp_path)
