"""Imports point down, and to import the face costs next to nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import filmgate
from tests.house.tree import code
from tests.videos import Video, make

# Each may import itself and what stands before it. "filmgate" is the face.
ORDER = (
    "errors", "units", "core", "storage", "media", "weights", "device", "flow", "models", "tasks",
    "pipeline", "planning", "backends", "quality", "jobs", "filmgate", "testing", "service", "cli",
)  # fmt: skip
# The only places that may know of a library, lazily or not.
BORDERS = {
    "av": ("src/filmgate/media/",),
    "ray": ("src/filmgate/backends/ray.py",),
    "starlette": ("src/filmgate/service/",),
    "fastapi": ("src/filmgate/service/",),
    "uvicorn": ("src/filmgate/service/",),
}
SOURCES = sorted(code("src"))


def imported(name: str) -> Iterator[str]:
    """The full name of everything that a file imports, at its top or inside a function."""
    for node in ast.walk(code()[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place(module: str) -> str:
    """Which name in ORDER a module of ours belongs to: filmgate.core.frame.Frame -> core."""
    first = [*module.split("."), ""][1]
    return first if first in ORDER else "filmgate"


@pytest.mark.parametrize("name", SOURCES)
def test_imports_point_down(name: str) -> None:
    here = place(name.removeprefix("src/").removesuffix(".py").replace("/", "."))
    for module in imported(name):
        if module.split(".")[0] == "filmgate":
            there = place(module)
            assert ORDER.index(there) <= ORDER.index(here), f"{here} imports {module}, which is up"


@pytest.mark.parametrize("name", SOURCES)
def test_libraries_stay_behind_their_borders(name: str) -> None:
    for module in imported(name):
        allowed = BORDERS.get(module.split(".")[0], ("",))
        assert name.startswith(allowed), f"{name} imports {module}: only {allowed[0]} may"


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {name.split("/")[2].removesuffix(".py") for name in SOURCES} - {"__init__"}
    assert packages <= set(ORDER), f"{packages - set(ORDER)} stand nowhere in ORDER"


def test_importing_the_face_loads_nothing_heavy_and_is_quick() -> None:
    heavy = {"av", "torch", "cv2", "ray", "starlette", "fastapi", "numpy", "pydantic", "rich"}
    program = (
        "import time; began = time.process_time(); import filmgate, sys;"
        "print(time.process_time() - began, *sys.modules)"
    )
    command = [sys.executable, "-c", program]
    seconds, *loaded = subprocess.check_output(command, text=True).split()
    assert not heavy & set(loaded)
    assert float(seconds) < 1.0  # of the CPU; measured 0.07


def test_a_run_that_needs_no_network_does_not_load_torch(tmp_path: Path) -> None:
    """It is half a gigabyte, and seconds: no family but the one that is asked is imported."""
    source = make(Video(4), tmp_path / "in.mp4")
    program = (
        "import filmgate as fg, sys; fg.run(fg.Interpolate(), sys.argv[1], sys.argv[2]);"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(source), str(tmp_path / "out.mp4")], check=True
    )


def test_the_face_is_short_sorted_and_true() -> None:
    assert len(filmgate.__all__) <= 25
    assert filmgate.__all__ == sorted(filmgate.__all__)
    assert all(hasattr(filmgate, name) for name in filmgate.__all__)
