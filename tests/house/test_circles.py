"""No file and no folder imports itself through others; lazy and typing imports count too."""

import ast
from collections.abc import Mapping

from tests.house.tree import list_statements, parse_files

Graph = dict[str, set[str]]


def module_graph() -> Graph:
    """Return each module of the package with the modules that it imports, anywhere in its file."""
    trees = {
        name.removeprefix("src/").removesuffix(".py").replace("/", "."): tree
        for name, tree in parse_files("src").items()
    }
    return {name: find_imports(tree, trees) - {name} for name, tree in trees.items()}


def find_imports(tree: ast.Module, known: Mapping[str, ast.Module]) -> set[str]:
    """Return the modules of ours that a file imports; a package is its `__init__`."""
    names = set()
    for node in list_statements(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner in known or f"{inner}.__init__" in known
                names.add(inner if is_module else node.module)
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {full for name in names for full in (name, f"{name}.__init__") if full in known}


def sibling_graph(modules: Graph, package: str) -> Graph:
    """Return the imports between the files and folders that lie directly in a package."""

    def child(module: str) -> str | None:
        inside = module.startswith(f"{package}.")
        return module[len(package) + 1 :].split(".")[0] if inside else None

    graph: Graph = {}
    for module, others in modules.items():
        if (here := child(module)) and here != "__init__":
            there = {other for name in others if (other := child(name))}
            graph.setdefault(here, set()).update(there - {here, "__init__"})
    return graph


def find_circles(graph: Graph) -> list[str]:
    """Return every group of names that import each other, as text."""
    reach = {name: find_reachable(graph, name) for name in graph}
    groups = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in graph}
    return sorted(" <-> ".join(sorted(group)) for group in groups if group)


def find_reachable(graph: Graph, start: str) -> set[str]:
    """Return all that can be reached from `start`, itself only through others."""
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph.get(name, ())
    return reached


def test_no_file_imports_itself_through_others() -> None:
    assert find_circles(module_graph()) == []


def test_no_folder_imports_itself_through_others() -> None:
    """In each package the files and folders that lie directly in it form no circle."""
    modules = module_graph()
    packages = sorted(name.removesuffix(".__init__") for name in modules if "__init__" in name)
    found = {package: find_circles(sibling_graph(modules, package)) for package in packages}
    assert {package: circles for package, circles in found.items() if circles} == {}


def test_a_circle_is_found() -> None:
    assert find_circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a <-> b <-> c"]
    assert find_circles({"a": {"b"}, "b": set()}) == []
    modules: Graph = {"p.a.x": {"p.b.y"}, "p.a.z": set(), "p.b.y": {"p.a.z"}}
    assert find_circles(modules) == []
    assert find_circles(sibling_graph(modules, "p")) == ["a <-> b"]
