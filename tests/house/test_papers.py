"""What we tell people is true: the blocks in our papers run, and so do the examples."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cases import only
from tests.house.tree import ROOT, files
from tests.videos import VIDEOS, make

# A block in another language ("text") is not run.
BLOCK = re.compile(r"^```(python|sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = {
    f"{path.name} {number}": block
    for path in files()
    if path.suffix == ".md"
    for number, block in enumerate(BLOCK.findall(path.read_text()))
}
EXAMPLES = [path for path in files() if path.parent == ROOT / "examples" and path.suffix == ".py"]


def runs(command: list[str], folder: Path) -> None:
    """The command in a folder that holds a film, in.mp4; `filmgate` is on the path."""
    make(VIDEOS["sound"], folder / "in.mp4")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONWARNINGS": "error"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_the_readme_shows_python_and_the_command_line() -> None:
    shown = {language for name, (language, _) in BLOCKS.items() if name.startswith("README")}
    assert "python" in shown
    assert shown & {"sh", "console"}


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_runs(name: str, tmp_path: Path) -> None:
    language, text = BLOCKS[name]
    if language == "console":
        text = "\n".join(line[2:] for line in text.splitlines() if line.startswith("$ "))
    python = [sys.executable, "-c", text]
    runs(python if language == "python" else ["bash", "-euc", text], tmp_path)


QUICK = ROOT / "examples" / "own_stage.py"  # what a user writes against; the rest is commands


@pytest.mark.parametrize("example", only([QUICK], EXAMPLES), ids=lambda path: path.name)
def test_examples_are_short_and_run(example: Path, tmp_path: Path) -> None:
    assert len(example.read_text().splitlines()) <= 40
    runs([sys.executable, str(example)], tmp_path)
