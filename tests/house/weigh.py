"""`make weigh`: sizes of files, functions, docstrings and folders, and which exceed their limit."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePath

from tests.house.tree import ROOT, list_statements, parse_files

FILE_LINES, FUNCTION_LINES, PROSE_LINES, FOLDER_FILES = 400, 60, 6, 16
Weight = tuple[int, str]  # size, where


def weigh_files() -> list[Weight]:
    """Return the lines of every Python file, largest first."""
    return sorted((len((ROOT / name).read_text().splitlines()), name) for name in parse_files())[
        ::-1
    ]


def weigh_functions() -> list[Weight]:
    """Return the lines of every function, longest first."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    weights = [
        ((node.end_lineno or 0) - node.lineno + 1, f"{name}:{node.lineno} {node.name}")
        for name, tree in parse_files().items()
        for node in list_statements(tree)
        if isinstance(node, kinds)
    ]
    return sorted(weights)[::-1]


def weigh_prose() -> list[Weight]:
    """Return the docstring lines of every public name in src; lists of parameters do not count."""
    weights = []
    for name, tree in parse_files("src").items():
        for node in _list_public(tree):
            prose = (ast.get_docstring(node) or "").partition("\n\nParameters\n")[0]
            lines = sum(bool(line.strip()) for line in prose.splitlines())
            weights.append((lines, f"{name}:{node.lineno} {node.name}"))
    return sorted(weights)[::-1]


def weigh_folders() -> list[Weight]:
    """Return the Python files directly in each folder of src and tests, without `__init__`."""
    names = [*parse_files("src"), *parse_files("tests")]
    counts = Counter(str(PurePath(name).parent) for name in names if "__init__" not in name)
    return sorted((count, folder) for folder, count in counts.items())[::-1]


def find_violations() -> list[str]:
    """Return everything over a limit, as text."""
    limits = (
        (weigh_files(), FILE_LINES, "lines"),
        (weigh_functions(), FUNCTION_LINES, "lines in a function"),
        (weigh_prose(), PROSE_LINES, "lines of prose"),
        (weigh_folders(), FOLDER_FILES, "files in a folder"),
    )
    return [
        f"{where}: {size} {what}, at most {limit}"
        for weights, limit, what in limits
        for size, where in weights
        if size > limit
    ]


def _list_public(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _list_public(node)


if __name__ == "__main__":
    files, violations = weigh_files(), find_violations()
    total = {top: sum(n for n, name in files if name.startswith(top)) for top in ("src", "tests")}
    print(*(f"{lines:5}  {where}" for lines, where in files), sep="\n")
    print(f"{total['src']:5}  in src, {total['tests']} in tests\n\nlongest functions")
    print(*(f"{lines:5}  {where}" for lines, where in weigh_functions()[:10]), sep="\n")
    print("\nlargest folders")
    print(*(f"{count:5}  {folder}" for count, folder in weigh_folders()[:5]), sep="\n")
    print(*violations or ["\nnothing exceeds its limit"], sep="\n")
    sys.exit(bool(violations))
