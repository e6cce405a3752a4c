"""Every error that Filmgate raises, as a tree, each with its exit code.

    FilmgateError                      3  internal: a bug, or the machine failed
    ├── UserError                      2  settings or files that the user can change
    │   ├── BadSetting                    an invalid value, or two that contradict each other
    │   │   └── BadField               2  one in a JSON document; `pointer` says where
    │   ├── BadInput                      not a video, damaged, or it ends too early
    │   ├── Unsupported                   a valid video, but not for what was asked
    │   ├── OutputExists                  the result would overwrite a file
    │   ├── DoesNotFit                    no plan keeps the memory budget
    │   ├── BadWeights                    a weights file is missing, damaged or another model's
    │   ├── JobConflict                   the job is in another state, or another one, than assumed
    │   │   └── KeyReused              2  an idempotency key came with another request before
    │   ├── UnknownJob                    the queue has no such job, or not any more
    │   ├── UnknownUpload                 a service has no such upload
    │   └── UploadQuota                   a client's uploads take all the space that it may use
    ├── Busy                          75  another process works on the same result or queue
    ├── QueueFull                     75  the queue takes no more jobs at this moment
    ├── LeaseLost                      3  a worker's lease has ended: what it reports is refused
    ├── NotPlanned                     3  what a job takes could not be predicted
    ├── NotFetched                     3  a download did not finish; what arrived is kept
    ├── NotConnected                   3  a service cannot be reached, or failed
    ├── NotLoaded                      3  a library cannot be loaded, or the system gives no memory
    ├── OutOfMemory                    3  one stage's batch did not fit; its state is still valid
    ├── DiskFull                       3  the disk is full or failed; committed work is kept
    ├── StageContractError             3  a stage broke the contract: times, indices, count, state
    ├── BadOutput                      3  a stage made images that cannot be right
    ├── StreamsRefused                 3  the output cannot hold streams that were copied to it
    └── Interrupted                  130  Ctrl-C, or SIGTERM
        └── Paused                       --pause-after: the time is up

A message says what was found, what was wanted and what to do, with the values. Exit codes: 0 done,
1 a check failed, 2 a user error, 3 an internal error, 4 done, but damage was concealed or parts of
other streams were lost at the end, 75 another process holds the run or the queue, or the queue is
full, 130 interrupted.
"""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from pathlib import Path


FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT})  # of OSError: no space, or no inode, is left


class Exit(IntEnum):
    """Exit codes of the process."""

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
    """The user can fix it: a setting or a file."""

    exit_code = Exit.USER


class BadSetting(UserError):
    """A setting is invalid, or contradicts another."""


class BadField(BadSetting):
    """A setting in a JSON document is invalid; `pointer` (RFC 6901) says where, "": everywhere."""

    def __init__(self, message: str, pointer: str) -> None:
        super().__init__(message)
        self.pointer = pointer


class BadInput(UserError):
    """The input is not a video, is damaged, or ends too early."""


class Unsupported(UserError):
    """The video is valid, but cannot be used for what was asked."""


class OutputExists(UserError):
    """The result would overwrite a file, and overwriting was not allowed."""


class DoesNotFit(UserError):
    """No plan keeps the budget; `needed_bytes` is the smallest budget of that memory that works."""

    def __init__(self, message: str, needed_bytes: int) -> None:
        super().__init__(message)
        self.needed_bytes = needed_bytes


class BadWeights(UserError):
    """A weights file is missing, damaged, another model's, or contains more than tensors."""


class JobConflict(UserError):
    """A job of the queue is not in a state, or not the request, that the caller assumed."""


class KeyReused(JobConflict):
    """An idempotency key was used for another request before."""


class UnknownJob(UserError):
    """The queue has no job of this name; `was_removed`: it had one, which was removed."""

    def __init__(self, message: str, was_removed: bool = False) -> None:
        super().__init__(message)
        self.was_removed = was_removed


class UnknownUpload(UserError):
    """A service has no upload of this id, or it is another client's."""


class UploadQuota(UserError):
    """A client's uploads take all the space, or are as many, as it may have."""


class Busy(FilmgateError):
    """Another process works on the same result, or on the same queue."""

    exit_code = Exit.BUSY


class QueueFull(FilmgateError):
    """The queue takes no more jobs now, of one tenant or at all.

    Trying again in `retry_after_s` can succeed. `of_tenant`: it is the tenant's own limit.
    """

    exit_code = Exit.BUSY

    def __init__(self, message: str, retry_after_s: float = 30.0, of_tenant: bool = False) -> None:
        super().__init__(message)
        self.retry_after_s, self.of_tenant = retry_after_s, of_tenant


class LeaseLost(FilmgateError):
    """A worker's lease on a job has ended: its segments and its result are refused."""


class NotPlanned(FilmgateError):
    """What a job takes could not be predicted: it took too long, or the process for it died."""


class NotFetched(FilmgateError):
    """A download did not finish: network, disk, or offline; what arrived is kept."""


class NotConnected(FilmgateError):
    """A service cannot be reached, failed, or is none; trying later can succeed."""


class NotLoaded(FilmgateError):
    """A library cannot be loaded, or the system gives no memory or threads to this program."""


class OutOfMemory(FilmgateError):
    """Stage number `stage` of a chain did not fit with `batch` frames; its state is still valid."""

    def __init__(self, stage: int, batch: int, why: str = "") -> None:
        frames = f"{batch} frame{'s' if batch != 1 else ''} at a time"
        super().__init__(f"stage {stage} ran out of memory with {frames}{why and ': ' + why}")
        self.stage, self.batch, self.why = stage, batch, why


class StageContractError(FilmgateError):
    """A stage broke the contract: wrong count, a gap in time, or a state that is no plain value."""


class BadOutput(FilmgateError):
    """A stage's image or state is wrong from `time` (seconds) on; `kind`: "black", "frozen" ..."""

    def __init__(self, message: str, kind: str, time: Fraction) -> None:
        super().__init__(message)
        self.kind, self.time = kind, time


class StreamsRefused(FilmgateError):
    """An output cannot be completed with copied streams; `indexes` are those of the source."""

    def __init__(self, suffix: str, streams: Mapping[int, str]) -> None:
        super().__init__(
            f"{suffix} can't hold {' and '.join(streams.values())}: pass "
            f"{' '.join(f'--drop {index}' for index in streams)}"
        )
        self.indexes = frozenset(streams)


class Interrupted(FilmgateError):
    """Ctrl-C or SIGTERM stopped the run; no half-written result is left."""

    exit_code = Exit.INTERRUPTED


class Paused(Interrupted):
    """The run stopped at a commit because its time was up (--pause-after); it can be resumed."""


class DiskFull(FilmgateError):
    """The disk is full or failed; committed work is kept, and the run can be resumed."""

    @classmethod
    def of(cls, place: Path, error: OSError) -> DiskFull:
        """Return the error for the system's `error` in writing `place`."""
        if error.errno not in FULL_DISK:
            return cls(
                f"cannot write {place}: {error.strerror}. Check the folder, its permissions and "
                "its disk; the same command resumes from the last commit"
            )
        free, advice = _describe_free(place)
        return cls(
            f"cannot write {place}: {error.strerror}{free}. {advice}; the same command resumes "
            "from the last commit"
        )

    @classmethod
    def full(cls, place: Path, read: int) -> DiskFull:
        """Return the error for a full disk after source frame `read` was committed."""
        free, advice = _describe_free(place)
        return cls(f"cannot write {place}: its disk is full{free}. Paused at frame {read}. "
                   f"{advice}; the same command resumes")  # fmt: skip

    @classmethod
    def short(cls, place: Path, needed_bytes: int, read: int) -> DiskFull:
        """Return the error for a disk with less space than the rest of the run needs."""
        needed = -(-needed_bytes // 10**6)  # up, and what is free down: they are never equal
        free, advice = _describe_free(place)
        return cls(f"the rest of the run needs about {needed} MB on the disk of {place}{free}. "
                   f"Paused at frame {read}. {advice}; the same command resumes")  # fmt: skip


def _describe_free(place: Path) -> tuple[str, str]:
    """Return what is free on the disk of `place`, as part of a sentence, and what to do."""
    import os
    from shutil import disk_usage

    if sys.platform != "win32":  # whose disks have no limit of files
        with suppress(OSError):
            disk = os.statvfs(place)
            if disk.f_files and not disk.f_favail:
                return ", no inode is free", "Delete some files: their number is what is used up"
    with suppress(OSError):
        return f", {disk_usage(place).free // 10**6} MB are free", "Free some space"
    return "", "Free some space"
