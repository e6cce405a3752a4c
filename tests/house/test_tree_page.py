"""docs/tree.md lists the folders that exist."""

import re

from tests.house.tree import ROOT, list_files


def read_page() -> set[str]:
    """Return the folders and files that the page lists, as paths from the root."""
    block = re.search(r"```text\n(.*?)```", (ROOT / "docs" / "tree.md").read_text(), re.DOTALL)
    assert block
    paths, parents = set[str](), dict[int, str]()
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 4
        name = line.split()[0]
        path = parents.get(depth - 1, "") + name if depth else name
        parents[depth] = path
        paths.add(path)
    return paths


def test_the_page_lists_every_folder_and_only_what_exists() -> None:
    listed = read_page()
    missing = {path for path in listed if not (ROOT / path).exists()}
    folders = {
        f"{parent}/"
        for path in list_files()
        for parent in map(str, path.relative_to(ROOT).parents)
        if parent.startswith(("src/filmgate", "bench", "docs", "examples", "training"))
    }
    assert not missing
    assert folders <= listed


def test_every_line_says_what_it_is() -> None:
    text = (ROOT / "docs" / "tree.md").read_text()
    lines = [line for line in text.splitlines() if re.match(r"^( {4})+\S|^\w+/ ", line)]
    assert len(lines) > 40
    assert [line for line in lines if len(line.split()) < 3] == []
