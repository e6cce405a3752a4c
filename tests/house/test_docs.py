"""The code blocks in the docs run, and so do the examples and the notebook."""

import json
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
NOTEBOOKS = [path for path in list_files() if path.suffix == ".ipynb"]
# The pages for authors of stages and models: their blocks run with the base install alone too.
FOR_AUTHORS = [name for name, (language, _) in BLOCKS.items()
               if name.startswith(("adding-a-model", "core")) and language == "python"]  # fmt: skip
OF_EXTRAS = ("spandrel", "diffusers", "transformers", "torchvision", "pyarrow", "pytest",
             "hypothesis")  # fmt: skip


def join_cells(notebook: Path) -> str:
    """Return the code of a notebook as one program."""
    cells = json.loads(notebook.read_text())["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


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
    assert len(example.read_text().splitlines()) <= 50
    run_command([sys.executable, str(example)], tmp_path)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_stored_without_outputs(notebook: Path) -> None:
    form = json.loads(notebook.read_text())
    assert (form["nbformat"], form["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in form["cells"]}) == len(form["cells"])
    for cell in form["cells"]:
        wanted = {"cell_type", "id", "metadata", "source"}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
            wanted |= {"outputs", "execution_count"}
        assert cell.keys() == wanted


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    run_command([sys.executable, "-c", join_cells(notebook)], tmp_path)


@pytest.fixture(scope="module")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a Python with Filmgate as `pip install .` leaves it: built, and without extras.

    Packages come from the cache of uv, which linked them into this environment. Where there is
    none, as with an environment made by pip, nothing can be installed without a network.
    """
    uv, place = Path(sys.executable).with_name("uv"), tmp_path_factory.mktemp("base") / "venv"
    if not uv.exists():
        pytest.skip("uv is not in this environment, so no other one can be made offline")
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    create: list[str | Path] = [uv, "venv", "--quiet", "--python", sys.executable, place]
    install: list[str | Path] = [uv, "pip", "install", "--offline", "--quiet", "--python", python,
                                 "--constraint", ROOT / "constraints.txt", ROOT]  # fmt: skip
    for command in (create, install):
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            pytest.skip(f"uv cannot install the base offline: {result.stderr.strip()[:400]}")
    return str(python)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FOR_AUTHORS, *(path.name for path in NOTEBOOKS)])
def test_the_pages_for_authors_run_with_the_base_install(
    name: str, base_python: str, tmp_path: Path
) -> None:
    notebooks = {path.name: path for path in NOTEBOOKS}
    text = join_cells(notebooks[name]) if name in notebooks else BLOCKS[name][1]
    check = (
        "import filmgate, importlib.util, sys\n"
        "assert filmgate.__file__.startswith(sys.prefix), filmgate.__file__\n"
        f"assert not any(map(importlib.util.find_spec, {OF_EXTRAS}))\n"
    )
    run_command([base_python, "-c", check], tmp_path)
    run_command([base_python, "-c", text], tmp_path)
