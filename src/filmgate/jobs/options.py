"""What the user may set about how a run survives its process, and which jobs can be resumed."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from filmgate.core.job import Job
from filmgate.errors import BadSetting
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.options import MAX_TIME_S
from filmgate.media.rates import format_fraction
from filmgate.media.settings import check_settings
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile

RepeatableSource = VideoFile | ImageSequence | FrameCounter  # each read gives the same frames


@dataclass(frozen=True, slots=True)
class ResumeOptions:
    """How a run survives its process; each field is a flag."""

    work: Path | None = None
    """Folder for the files that resuming needs. Default: OUT.filmgate, next to the result."""

    restart: bool = False
    """Start again, even if there is an unfinished run for this result."""

    pause_after: Fraction | None = None
    """Stop at the first commit after this time, seconds or 1:02:03; the same command resumes."""

    playable: bool = False
    """Keep a video of what is done so far, playable.mp4, in the folder of --work."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.pause_after is not None and not 0 <= self.pause_after <= MAX_TIME_S:
            raise BadSetting(f"pause_after is {format_fraction(self.pause_after)} s: pass 0 to "
                             f"{MAX_TIME_S}")  # fmt: skip

    def find_directory(self, result: Path) -> RunDirectory:
        """Return the directory of the run for this result."""
        return RunDirectory(Path(self.work)) if self.work else RunDirectory.for_result(result)


def explain_not_resumable(job: Job) -> str | None:
    """Return why no other process can resume a run of this job, None if one can."""
    if not isinstance(job.source, RepeatableSource):
        return "this run cannot be resumed if it is stopped: a pipe can only be read once"
    if isinstance(job.sink, VideoOutput) and job.sink.to_pipe:
        return "this run cannot be resumed if it is stopped: its result goes to a pipe"
    return None
