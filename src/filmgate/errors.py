"""Every error that Filmgate raises, drawn as a tree, each with its exit code.

    FilmgateError                      3  internal: a bug, or the machine failed
    ├── UserError                      2  settings or files that the user can change
    │   ├── BadSetting                    an invalid value, or two that contradict each other
    │   ├── BadInput                      not a video, damaged, or it ends too early
    │   ├── Unsupported                   a valid video, but not one this can be done to
    │   ├── OutputExists                  the result would overwrite a file
    │   ├── DoesNotFit                    no plan keeps the memory budget
    │   └── BadWeights                    a model's file is missing, damaged or another model's
    ├── Busy                          75  another process works on the same result
    ├── NotFetched                     3  a download did not finish; what arrived is kept
    ├── OutOfMemory                    3  one stage's batch did not fit; its state is still valid
    ├── DiskFull                       3  the disk is full or failed; committed work is kept
    ├── StageContractError             3  a stage broke the contract: times, indices, count, state
    ├── BadOutput                      3  a stage made images that cannot be right
    └── Interrupted                  130  Ctrl-C, or SIGTERM

A message says what was found, what was wanted and what to do, with the values. Exit codes: 0 done,
1 the verdict is no, 2 the user's mistake, 3 ours, 4 done with repairs, 75 somebody else is at it,
130 interrupted.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from enum import IntEnum
from fractions import Fraction
from pathlib import Path


class Exit(IntEnum):
    """What the process says when it ends."""

    DONE = 0
    VERDICT_NO = 1
    USER = 2
    OURS = 3
    REPAIRED = 4
    BUSY = 75
    INTERRUPTED = 130


class FilmgateError(Exception):
    """Root of the tree."""

    exit_code = Exit.OURS


class UserError(FilmgateError):
    """The user can mend it: a setting or a file."""

    exit_code = Exit.USER


class BadSetting(UserError):
    """A setting that cannot be, or that contradicts another."""


class BadInput(UserError):
    """The input is not a film, is damaged, or ends before it says it does."""


class Unsupported(UserError):
    """The film is right, but this cannot be done to it."""


class OutputExists(UserError):
    """The result would overwrite a file that nobody said may go."""


class DoesNotFit(UserError):
    """No plan keeps the budget; `needed_bytes` of the memory in question is the least that does."""

    def __init__(self, message: str, needed_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes


class BadWeights(UserError):
    """A model's file is not here, damaged, another model's, or more than tensors."""


class Busy(FilmgateError):
    """Another process works on the same result."""

    exit_code = Exit.BUSY


class NotFetched(FilmgateError):
    """A download did not come to its end: network, disk, or offline; what came is kept."""


class OutOfMemory(FilmgateError):
    """Stage number `stage` of a chain did not fit with `batch` frames; the state it had is good."""

    def __init__(self, stage: int, batch: int, why: str = "") -> None:
        what = f"{batch} frame{'s' if batch != 1 else ''} at a time"
        super().__init__(f"stage {stage} ran out of memory with {what}{why and ': ' + why}")
        self.stage, self.batch, self.why = stage, batch, why


class StageContractError(FilmgateError):
    """A stage broke the contract: it lost count, left a hole in time, or gave no plain state."""


class BadOutput(FilmgateError):
    """A stage's picture, or state, from `time` (seconds) on is `kind`: "black", "frozen" ..."""

    def __init__(self, message: str, kind: str, time: Fraction) -> None:
        super().__init__(message)
        self.kind, self.time = kind, time


class Interrupted(FilmgateError):
    """Somebody pressed Ctrl-C or sent a polite signal; nothing half-written is left."""

    exit_code = Exit.INTERRUPTED


class DiskFull(FilmgateError):
    """The disk is full or failed: what was committed is good, and the run can go on later."""

    @classmethod
    def of(cls, place: Path, error: OSError) -> DiskFull:
        """What to tell of a system's error about `place`."""
        return cls(
            f"{place} could not be written: {error.strerror}{_free(place)}; make room, and the "
            "same command goes on from the last commit"
        )

    @classmethod
    def full(cls, place: Path, read: int) -> DiskFull:
        """The disk of `place` was full after source frame `read` was committed."""
        return cls(f"{place} could not be written, its disk is full{_free(place)}: paused at frame "
                   f"{read}; make room, and the same command goes on")  # fmt: skip

    @classmethod
    def short(cls, place: Path, needed_bytes: int, read: int) -> DiskFull:
        """The rest of the run would want more than there is."""
        return cls(f"the rest needs about {needed_bytes / 1e6:.0f} MB on the disk of {place}"
                   f"{_free(place)}: paused at frame {read}; make room, and the same command goes "
                   "on")  # fmt: skip


def _free(place: Path) -> str:
    with suppress(OSError):
        return f", {shutil.disk_usage(place).free / 1e6:.0f} MB are free there"
    return ""
