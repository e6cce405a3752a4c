"""The files of this project: what is tracked, and what is about to be."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def files() -> tuple[Path, ...]:
    """Every file that git knows or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(path for name in sorted(listed.splitlines()) if (path := ROOT / name).is_file())


@cache
def code(folder: str = "") -> dict[str, ast.Module]:
    """Every Python file under `folder`, by its path from the root, read as a tree."""
    under = [
        path for path in files() if path.suffix == ".py" and path.is_relative_to(ROOT / folder)
    ]
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in under}
