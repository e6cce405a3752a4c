"""Room on the disk: what a run will want, asked before its first frame and at every commit."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

from filmgate.core.events import Started
from filmgate.core.job import Job
from filmgate.errors import DoesNotFit
from filmgate.jobs.folder import DiskTrouble
from filmgate.media.expected import at_most, frame_bytes
from filmgate.media.file import File, Images, Output

PIECES = 1.1  # of the result: what lies in the folder before the join
JOINED = 1.0  # of the result: what the join adds to that


def for_all(folder: Path, job: Job, started: Started) -> None:
    """Raises DoesNotFit if the whole run would not find room. Tries the encoder only in doubt."""
    given, made, free = started.source, started.result, shutil.disk_usage(folder).free
    source, output = job.source, job.sink
    if not given.frames or not isinstance(output, Output) or not isinstance(source, File | Images):
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
    """Raises DiskTrouble if what is left to do would not find room, as the pieces so far tell."""
    if not frames or not read:
        return
    made = sum(entry.stat().st_size for entry in os.scandir(folder))
    needed = int(made * (frames - read) / read + JOINED * made * frames / read)
    if needed > shutil.disk_usage(folder).free:
        raise DiskTrouble.short(folder, needed, read)
