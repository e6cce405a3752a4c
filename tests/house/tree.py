"""The files of the repository, and their syntax trees."""

import ast
import gc
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_BLOCKS = frozenset(("body", "orelse", "finalbody", "handlers", "cases"))


@cache
def list_files() -> tuple[Path, ...]:
    """Return every file that git tracks or would track."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in sorted(listing.splitlines()) if (path := ROOT / name).is_file())


@cache
def parse_files(folder: str = "") -> dict[str, ast.Module]:
    """Return the syntax tree of every Python file under `folder`, by its path from the root."""
    gc.disable()  # it would look at every node again and again
    try:
        return {
            str(path.relative_to(ROOT)): parse_file(path)
            for path in list_files()
            if path.suffix == ".py" and path.is_relative_to(ROOT / folder)
        }
    finally:
        gc.freeze()
        gc.enable()


@cache
def parse_file(path: Path) -> ast.Module:
    """Return the syntax tree of a file, parsed once per process."""
    return ast.parse(path.read_text())


@cache
def list_statements(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Return every statement, but no expression: no function, class or import is in one."""
    found, waiting = list[ast.AST](), [tree]
    while waiting:
        node = waiting.pop()
        for name in _BLOCKS.intersection(node._fields):
            nodes = getattr(node, name)
            if isinstance(nodes, list):  # not the expression of a lambda
                found += nodes
                waiting += nodes
    return tuple(found)
