"""What a run has committed: snapshots with their checksums, and the list that says which count."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filmgate.core import serialization
from filmgate.core.events import Done
from filmgate.core.instrumentation.fault_injection import fault
from filmgate.core.snapshot import Commit
from filmgate.jobs.run_directory import COMMITS, RunDirectory
from filmgate.storage.fingerprint import fingerprint

KEPT = 2  # snapshots: the latest, and the one before it should that be torn


@dataclass
class Checkpoints:
    """The commits in a run's folder (a core Keep). Every one is durable before it counts."""

    folder: RunDirectory
    playable: bool = False
    told: list[str] = field(default_factory=list)  # what was found torn

    @property
    def path(self) -> Path:
        """Where pieces lie, and the result until it has its name."""
        return self.folder.path

    @property
    def begun(self) -> bool:
        """Whether anything was committed."""
        return bool(self._list()["snapshots"])

    @property
    def frames(self) -> int:
        """Source frames that the latest commit covers; its snapshot is not opened."""
        latest = self._list()["snapshots"][:1]
        return int(latest[0]["frames"]) if latest else 0

    def commits(self) -> Iterator[Commit]:
        """What was kept, the latest first; a torn snapshot is told and left out."""
        for entry in self._list()["snapshots"]:
            data = self.folder.read(entry["name"]) or b""
            if hashlib.sha256(data).hexdigest() == entry["sha256"]:
                yield serialization.loads(data)
            else:
                self.told.append(f"{self.path / entry['name']} is not what was written")

    def keep(self, commit: Commit) -> None:
        """Makes a commit durable; its pieces are already. Raises DiskFull."""
        name = f"{commit.snapshot.segment:06}.snapshot"
        data = serialization.dumps(commit)
        self.folder.write(name, data)
        fault("commit.snapshot")
        entry = {
            "name": name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "frames": commit.snapshot.cursor.index,
            "written": commit.snapshot.written,
            "concealed": commit.snapshot.concealed,
        }
        before = [one for one in self._list()["snapshots"] if one["frames"] < entry["frames"]]
        kept = [entry, *before][:KEPT]
        self._write({"snapshots": kept, "whole": None})
        fault("commit.listed")
        for file in self.path.glob("*.snapshot"):
            if file.stem.isdecimal() and file.name not in {one["name"] for one in kept}:
                file.unlink()

    def whole(self, part: Path) -> None:
        """Notes that the result is whole and durable as `part`, and only wants its name."""
        told = {"name": part.name, **fingerprint(part)}
        self._write(self._list() | {"whole": told})
        fault("join.whole")

    def result(self) -> tuple[dict[str, Any], Done] | None:
        """What `whole` noted (the part's name and fingerprint), and what there is to tell."""
        found = self._list()
        if found["whole"] is None or not found["snapshots"]:
            return None
        last = found["snapshots"][0]
        return found["whole"], Done(last["frames"], last["written"], 0.0, {}, last["concealed"])

    def _list(self) -> dict[str, Any]:
        """The list as it is on disk; a torn one counts as none."""
        try:
            found = json.loads(self.folder.read(COMMITS) or b"{}")
            return {"snapshots": list(found["snapshots"]), "whole": found["whole"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"snapshots": [], "whole": None}

    def _write(self, found: dict[str, Any]) -> None:
        self.folder.write(COMMITS, json.dumps(found, indent=1).encode())
