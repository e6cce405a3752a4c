"""Writes the measured figures into our papers: the only way that a number gets there.

A block `<!-- bench:NAME KEY -->` ... `<!-- /bench -->` is filled from bench/results/NAME.json: a
row for each entry of its KEY. Figures that others published lie under the key `published`, and the
table says so.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- bench:(\w+) (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def filled(text: str, results: Path) -> str:
    """The text with every block made anew from the files in `results`."""
    return BLOCK.sub(lambda m: f"{m[1]}{block(results / f'{m[2]}.json', m[3])}\n{m[4]}", text)


def block(path: Path, key: str) -> str:
    """The table of one result, and where it was measured; says so if it was not."""
    if not path.exists():
        return "Not measured yet: `make bench` writes the figures here."
    result = json.loads(path.read_text())
    if not isinstance(result.get(key), Mapping):
        raise KeyError(f"{path} has no rows under {key!r}: it has {', '.join(result)}")
    if key == "published":
        return f"{table(result[key])}\n\nPublished by its authors; not measured by us."
    where = ", ".join(f"{name} {value}" for name, value in result.get("machine", {}).items())
    how = "Predicted" if key.startswith("predicted") else "Measured"
    return f"{table(result[key])}\n\n{how} by `bench/{path.stem}.py`: {where}."


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with the keys of the first row as columns."""
    columns = list(next(iter(rows.values())))
    lines = [["", *columns], ["---"] * (len(columns) + 1)]
    lines += [[name, *(shown(row[column]) for column in columns)] for name, row in rows.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(value: object) -> str:
    """A figure with as many digits as mean something to a reader."""
    if not isinstance(value, float):
        return str(value)
    digits = ".2f" if abs(value) >= 10 else ".3f" if abs(value) >= 0.01 else ".1g"
    return format(value, digits)


if __name__ == "__main__":
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        if BLOCK.search(page.read_text()):
            page.write_text(filled(page.read_text(), ROOT / "bench" / "results"))
