"""Imports follow the order of the packages, and `import filmgate` stays light."""

import ast
import subprocess
import sys
from collections.abc import Iterator

import filmgate
from filmgate import plugins
from tests.house.tree import list_statements, parse_files

# Each package may import itself and those before it. "filmgate" is the public module.
ORDER = (
    "errors", "units", "installation", "core", "storage", "media", "weights", "device", "flow",
    "models", "tasks", "pipeline", "planning", "backends", "quality", "jobs", "filmgate",
    "plugins", "testing", "service", "cli", "__main__",
)  # fmt: skip
# The only places that may import a library, lazily or not.
BORDERS = {
    "av": ("src/filmgate/media/",),
    "ray": ("src/filmgate/backends/ray.py",),
    "starlette": ("src/filmgate/service/",),
    "fastapi": ("src/filmgate/service/",),
    "uvicorn": ("src/filmgate/service/",),
}


def iter_imports(name: str) -> Iterator[str]:
    """Yield the full name of everything that a file imports, anywhere in it."""
    for node in list_statements(parse_files("src")[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno} is a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def get_package(module: str) -> str:
    """Return the entry of ORDER for a module: filmgate.core.frame.Frame -> core."""
    first = [*module.split("."), ""][1]
    return first if first in ORDER else "filmgate"


def test_imports_follow_the_order() -> None:
    wrong = []
    for name in parse_files("src"):
        package = get_package(name.removeprefix("src/").removesuffix(".py").replace("/", "."))
        for module in iter_imports(name):
            later = module.split(".")[0] == "filmgate" and ORDER.index(
                get_package(module)
            ) > ORDER.index(package)
            if later:
                wrong.append(f"{name} imports {module}")
    assert wrong == []


def test_libraries_are_imported_only_inside_their_borders() -> None:
    wrong = [
        f"{name} imports {module}"
        for name in parse_files("src")
        for module in iter_imports(name)
        if not name.startswith(BORDERS.get(module.split(".")[0], ("",)))
    ]
    assert wrong == []


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {name.split("/")[2].removesuffix(".py") for name in parse_files("src")} - {
        "__init__"
    }
    assert packages <= set(ORDER), f"add {packages - set(ORDER)} to ORDER"


def test_importing_filmgate_and_its_plugins_loads_nothing_heavy_and_is_quick() -> None:
    heavy = {"av", "torch", "cv2", "ray", "starlette", "fastapi", "pydantic", "rich"}
    program = """
import time
start = time.process_time()
import filmgate, sys
print(time.process_time() - start, *sys.modules)
from filmgate.plugins import Family, Planes, Stage, each
print(*sys.modules)
"""
    printed = subprocess.check_output([sys.executable, "-c", program], text=True).splitlines()
    (seconds, *loaded), by_plugins = (line.split() for line in printed)
    assert not {*heavy, "numpy"} & set(loaded)
    assert float(seconds) < 1.0  # of CPU time; measured 0.07
    assert not heavy & set(by_plugins)


def test_the_public_names_are_few_sorted_and_exist() -> None:
    assert len(filmgate.__all__) <= 30
    assert filmgate.__all__ == sorted(filmgate.__all__)
    assert all(hasattr(filmgate, name) for name in filmgate.__all__)


def test_the_names_for_authors_are_sorted_and_exist() -> None:
    assert plugins.__all__ == sorted(plugins.__all__)
    assert set(plugins.__all__) == set(plugins._MODULES)
    assert all(hasattr(plugins, name) for name in plugins.__all__)
