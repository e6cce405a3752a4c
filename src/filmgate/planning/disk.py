"""Disk space of a run: predicted, checked before the first frame and at every commit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filmgate.core.events import Started
from filmgate.core.job import Job
from filmgate.errors import DiskFull, DoesNotFit
from filmgate.media.images.image_files import resolve_pattern
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.planning.output_size import bound_frame_bytes, estimate_frame_bytes

if TYPE_CHECKING:
    from filmgate.planning.fit import Fit

KEY_FRAMES = 250  # at most from one key frame to the next, of x264, x265 and others by default
SEGMENTS = 1.1  # times the result: segments in the run's folder before the join
JOINED = 1.0  # times the result: what the join adds


@dataclass(frozen=True, slots=True)
class DiskUse:
    """Bytes on the disk: of the result, and at most before the join and during it."""

    result: int
    segments: int
    joining: int
    folder: Path

    @classmethod
    def of(cls, sink: Any, result: float, snapshot: int) -> DiskUse:
        """Return the use for a result of so many bytes; images and pipes have no segments."""
        folder = Path(sink.path).absolute().parent
        if not isinstance(sink, VideoOutput) or sink.to_pipe:
            return cls(int(result), 0, int(result), folder)
        segments = int(SEGMENTS * result) + 2 * snapshot
        return cls(int(result), segments, segments + int(JOINED * result), folder)

    @property
    def free(self) -> int | None:
        """Free bytes on that disk; None if the folder does not exist yet."""
        return shutil.disk_usage(self.folder).free if self.folder.is_dir() else None

    def plain(self) -> Mapping[str, int | None]:
        """Return the values for JSON."""
        return {
            "result_bytes": self.result,
            "before_join_bytes": self.segments,
            "at_most_bytes": self.joining,
            "free_bytes": self.free,
        }


def predict_disk_use(fit: Fit) -> DiskUse | None:
    """Return what the result will take, None if the number of frames is unknown."""
    costs, job = fit.costs, fit.job
    if costs.frames is None or not costs.file_bytes:
        return None
    frames, size = float(costs.frames * costs.output_ratio), costs.file_bytes
    if isinstance(job.image_sink, VideoOutput) and isinstance(
        job.source, VideoFile | ImageSequence
    ):
        interval = min(frames, KEY_FRAMES, float(fit.plan.segment_frames * costs.output_ratio))
        size = estimate_frame_bytes(
            job.source, job.image_sink, fit.source_spec, fit.result_spec, max(1, int(interval))
        )
    return DiskUse.of(job.image_sink or job.sink, size * frames, costs.snapshot_bytes)


def check_space(folder: Path, job: Job, started: Started) -> None:
    """Raise DoesNotFit if the run would fill the disk. Encodes frames only if that is in doubt.

    `folder` is that of the run; images are written next to it.
    """
    spec, result = started.source, started.result
    source, output = job.source, job.image_sink
    if (
        not spec.frames
        or not isinstance(output, VideoOutput | ImageOutput)
        or not isinstance(source, VideoFile | ImageSequence)
    ):
        return
    times = SEGMENTS + JOINED
    remedy = "choose a smaller result (--crf, --preset), or pass a folder on another disk to --work"
    if isinstance(output, ImageOutput):
        folder, times = resolve_pattern(Path(output.path)).absolute().parent, 1.0
        folder = folder if folder.is_dir() else folder.parent
        remedy = "choose another disk for the output, or raise --png-level"
    free = shutil.disk_usage(folder).free
    ratio = result.rate / spec.rate if result.rate and spec.rate else Fraction(2)
    frames = float(spec.frames * ratio)
    if frames * bound_frame_bytes(output, result) * times < free:
        return
    interval = min(KEY_FRAMES, int(started.plan.segment_frames * ratio))
    size = estimate_frame_bytes(source, output, spec, result, interval)
    needed = int(size * frames * times)
    if needed > free:
        raise DoesNotFit(
            f"{folder} needs about {-(-needed // 10**6)} MB until the result is complete (about "
            f"{size * frames / 1e6:.0f} MB), and {free // 10**6} MB are free: make room, "
            f"{remedy}",
            needed,
        )


def check_remaining_space(folder: Path, read: int, frames: int | None) -> None:
    """Raise DiskFull if the rest of the run would not fit, judged by the segments so far.

    `read` of the source's `frames` are done; nothing is checked if their number is unknown. It may
    be too small.
    """
    if not frames or not read:
        return
    written = sum(entry.stat().st_size for entry in os.scandir(folder))
    frames = max(frames, read)
    needed = int(written * (frames - read) / read + JOINED * written * frames / read)
    if needed > shutil.disk_usage(folder).free:
        raise DiskFull.short(folder, needed, read)
