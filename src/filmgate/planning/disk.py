"""Room on the disk: what a run will want, asked before its first frame and at every commit."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from filmgate.core.events import Started
from filmgate.core.job import Job
from filmgate.errors import DiskFull, DoesNotFit
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.planning.fit import Fit
from filmgate.planning.output_size import at_most, frame_bytes


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes on the disk: of the result, and at most before the join and during it."""

    result: int
    pieces: int
    joining: int
    folder: Path

    @classmethod
    def of(cls, sink: Any, result: float, snapshot: int) -> "Disk":
        """What a result of so many bytes takes on its way; pictures and pipes have no pieces."""
        if not isinstance(sink, VideoOutput) or sink.piped:
            return cls(int(result), 0, int(result), Path(sink.path).absolute().parent)

        pieces = int(PIECES * result) + 2 * snapshot
        joining = pieces + int(JOINED * result)
        return cls(int(result), pieces, joining, Path(sink.path).absolute().parent)

    @property
    def free(self) -> int | None:
        """What is free there; None where there is no such folder yet."""
        return shutil.disk_usage(self.folder).free if self.folder.is_dir() else None

    def plain(self) -> Mapping[str, int | None]:
        """For JSON."""
        return {
            "result_bytes": self.result,
            "before_join_bytes": self.pieces,
            "at_most_bytes": self.joining,
            "free_bytes": self.free,
        }


def foreseen(found: Fit) -> Disk | None:
    """What the result will take, about; None where nobody can know."""
    costs, job = found.costs, found.job
    if costs.frames is None or not costs.file_bytes:
        return None
    frames, each = float(costs.frames * costs.output_ratio), costs.file_bytes
    if isinstance(job.sink, VideoOutput) and isinstance(job.source, VideoFile | ImageSequence):
        from filmgate.planning.output_size import frame_bytes

        key = min(frames, float(found.plan.segment_frames * costs.output_ratio))
        each = frame_bytes(job.source, job.sink, found.given, found.made, max(1, int(key)))
    return Disk.of(job.sink, each * frames, costs.snapshot_bytes)


PIECES = 1.1  # of the result: what lies in the folder before the join
JOINED = 1.0  # of the result: what the join adds to that


def for_all(folder: Path, job: Job, started: Started) -> None:
    """Raises DoesNotFit if the whole run would not find room. Tries the encoder only in doubt."""
    given, made, free = started.source, started.result, shutil.disk_usage(folder).free
    source, output = job.source, job.sink
    if (
        not given.frames
        or not isinstance(output, VideoOutput)
        or not isinstance(source, VideoFile | ImageSequence)
    ):
        return
    more = made.rate / given.rate if made.rate and given.rate else Fraction(2)
    frames = float(given.frames * more)
    if frames * at_most(output, made) * (PIECES + JOINED) < free:
        return
    each = frame_bytes(source, output, given, made, int(started.plan.segment_frames * more))
    needed = int(each * frames * (PIECES + JOINED))
    if needed > free:
        raise DoesNotFit(
            f"{folder} needs room for about {needed / 1e6:.0f} MB until the result is whole (that "
            f"is about {each * frames / 1e6:.0f} MB), and {free / 1e6:.0f} MB are free there: make "
            "room, choose a smaller result (--crf, --preset), or name another disk with --work",
            needed,
        )


def for_the_rest(folder: Path, read: int, frames: int | None) -> None:
    """Raises DiskFull if what is left to do would not find room, as the pieces so far tell."""
    if not frames or not read:
        return
    made = sum(entry.stat().st_size for entry in os.scandir(folder))
    needed = int(made * (frames - read) / read + JOINED * made * frames / read)
    if needed > shutil.disk_usage(folder).free:
        raise DiskFull.short(folder, needed, read)
