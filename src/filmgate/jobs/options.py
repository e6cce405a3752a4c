"""What a user may set about how a run survives its process."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from filmgate.errors import BadSetting
from filmgate.jobs.run_directory import RunDirectory


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """What a person may say of how a run outlives its process; each field is a flag."""

    work: Path | None = None
    """Keep what is needed to go on in this folder. Without: OUT.filmgate, beside the result."""

    restart: bool = False
    """Start over, although a run for this result was begun."""

    pause_after: Fraction | None = None
    """Stop at the first commit after so long, seconds or 1:02:03; the same command goes on."""

    playable: bool = False
    """Keep a film of what is done so far in that folder, to be watched meanwhile."""

    def __post_init__(self) -> None:
        if self.pause_after is not None and self.pause_after < 0:
            raise BadSetting(f"pause_after is {self.pause_after} s: wanted 0 or more")

    def folder(self, result: Path) -> RunDirectory:
        """Where the run for this result keeps what it needs."""
        return RunDirectory(Path(self.work)) if self.work else RunDirectory.beside(result)
