"""`make weigh`: the size of every file and the longest functions, and what is over the limits."""

import ast
import sys
from collections.abc import Iterator

from tests.house.tree import ROOT, code

FILE_LINES, FUNCTION_LINES, PROSE_LINES = 400, 60, 6
Weight = tuple[int, str]  # lines, where


def file_weights() -> list[Weight]:
    """Lines of every Python file, the heaviest first."""
    return sorted((len((ROOT / name).read_text().splitlines()), name) for name in code())[::-1]


def function_weights() -> list[Weight]:
    """Lines of every function, the longest first."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    found = [
        ((node.end_lineno or 0) - node.lineno + 1, f"{name}:{node.lineno} {node.name}")
        for name, tree in code().items()
        for node in ast.walk(tree)
        if isinstance(node, kinds)
    ]
    return sorted(found)[::-1]


def prose_weights() -> list[Weight]:
    """Lines of prose over every public thing in the source; lists of parameters are not prose."""
    found = []
    for name, tree in code("src").items():
        for node in _public(tree):
            prose = (ast.get_docstring(node) or "").partition("\n\nParameters\n")[0]
            lines = sum(bool(line.strip()) for line in prose.splitlines())
            found.append((lines, f"{name}:{node.lineno} {node.name}"))
    return sorted(found)[::-1]


def overweight() -> list[str]:
    """What is over a limit, in words."""
    limits = (
        (file_weights(), FILE_LINES, "lines"),
        (function_weights(), FUNCTION_LINES, "lines in a function"),
        (prose_weights(), PROSE_LINES, "lines of prose"),
    )
    return [
        f"{where}: {lines} {what}, at most {limit}"
        for weights, limit, what in limits
        for lines, where in weights
        if lines > limit
    ]


def _public(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.ClassDef]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node)


if __name__ == "__main__":
    heavy, long, wrong = file_weights(), function_weights(), overweight()
    total = {top: sum(n for n, name in heavy if name.startswith(top)) for top in ("src", "tests")}
    print(*(f"{lines:5}  {where}" for lines, where in heavy), sep="\n")
    print(f"{total['src']:5}  in src, {total['tests']} in tests\n\nthe longest functions")
    print(*(f"{lines:5}  {where}" for lines, where in long[:10]), sep="\n")
    print(*wrong or ["\nnothing is over the limits"], sep="\n")
    sys.exit(bool(wrong))
