"""What has been tried: a line for each attempt, so that an interrupted run continues."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.torture.commands import KINDS, Check

ROOT = Path(__file__).parents[2]
TESTED = ("src/**/*.py", "tests/torture/*.py", "tests/jobs/queue/*.py", "tests/videos.py",
          "tests/media/old_videos.py")  # fmt: skip
HEADINGS = {"wrong": "wrong", "lost": "lost", "hang": "hangs", "traceback": "tracebacks"}


def hash_source() -> str:
    """Return a hash of everything that the figures depend on."""
    digest = hashlib.sha256()
    for pattern in TESTED:
        for path in sorted(ROOT.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class State:
    """The attempts of one version of the source, in a file; those of another are deleted."""

    def __init__(self, path: Path, source: str) -> None:
        self._path, self._attempts = path, dict[tuple[str, int], dict[str, Any]]()
        lines = path.read_text().splitlines() if path.exists() else []
        if lines[:1] != [source]:
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{source}\n")
            lines = []
        for line in lines[1:]:
            attempt = json.loads(line)
            self._attempts[attempt["check"], attempt["case"]] = attempt

    def has(self, check: str, case: int) -> bool:
        """Return whether this attempt was made."""
        return (check, case) in self._attempts

    def add(self, check: str, case: int, **found: Any) -> None:
        """Note an attempt."""
        attempt = {"check": check, "case": case, **found}
        self._attempts[check, case] = attempt
        with self._path.open("a") as file:
            file.write(json.dumps(attempt) + "\n")

    def list_failures(self) -> list[dict[str, Any]]:
        """Return the attempts that failed."""
        return [attempt for attempt in self._attempts.values() if attempt["kind"]]

    def count(self, checks: Sequence[Check]) -> dict[str, dict[str, int]]:
        """Return the row of each check that was tried."""
        rows = {}
        for check in checks:
            attempts = [one for one in self._attempts.values() if one["check"] == check.name]
            if attempts:
                rows[check.name] = {
                    "tried": sum(one["tried"] for one in attempts),
                    **{HEADINGS[k]: sum(one["kind"] == k for one in attempts) for k in KINDS},
                }
        return rows
