"""What a command line asks for, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from filmgate.cli.paths import pair_paths
from filmgate.core.job import Job, Task
from filmgate.errors import BadSetting
from filmgate.jobs.options import ResumeOptions
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.options import SUFFIXES
from filmgate.media.rates import check_fraction
from filmgate.planning.limits import Limits
from filmgate.tasks.job_config import make_sink, make_source, refuse_existing_folder


@dataclass(frozen=True, slots=True)
class DisplayOptions:
    """What a run prints, and in which process it runs; each field is a flag."""

    json: bool = False
    """Print JSON on standard output."""

    quiet: bool = False
    """Print nothing but warnings and errors."""

    trace: Path | None = None
    """Write a timeline of the run to this file, for ui.perfetto.dev."""

    skip_bad: bool = False
    """Replace frames that crash the worker repeatedly by the last good one; exit code 4."""

    in_process: bool = False
    """Run in this process. Default: in a worker process, whose crash does not end the run."""


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """A trial before the complete run; each field is a flag."""

    sample: Fraction | None = None
    """Run only so many seconds of the beginning, the middle and the end, in a temporary folder:
    estimates time and disk of the complete run and saves an image of before and after."""

    def __post_init__(self) -> None:
        if self.sample is not None:
            check_fraction("sample", self.sample, Fraction(1, 1000), Fraction(86_400), "s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The paths of a command line, and the settings of each owner of flags.

    `generates`: there is no input, only a result; `input` has the settings of a frame counter.
    """

    paths: tuple[Path, ...]
    generates: bool = False
    out: Path | None = None
    tasks: tuple[Task, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    limits: Limits = field(default_factory=Limits)
    resume_options: ResumeOptions = field(default_factory=ResumeOptions)
    display: DisplayOptions = field(default_factory=DisplayOptions)
    sample: SampleOptions = field(default_factory=SampleOptions)

    def build_jobs(self) -> dict[str, Job]:
        """Return every job, by "input -> result". Raises BadSetting."""
        if self.generates:
            if len(self.paths) != 1:
                raise BadSetting(f"there are {len(self.paths)} paths: pass OUT")
            source: Any = FrameCounter(**self.input)
            sink = make_sink(self.paths[0], self.output)
            return {f"-> {self.paths[0]}": Job(source, sink, self.tasks, self.seed)}
        if self.out is not None and self.out.suffix in SUFFIXES and not self.out.is_dir():
            raise BadSetting(f"-o names a folder for several results, and {self.out} is the name "
                             "of a video: pass it as the last path, without -o")  # fmt: skip
        container = self.output.get("container")
        pairs = pair_paths(self.paths, self.out, str(container) if container else None)
        return {f"{path} -> {result}": self._build_job(path, result) for path, result in pairs}

    def _build_job(self, path: Path, result: Path) -> Job:
        source, sink = make_source(path, self.input), make_sink(result, self.output)
        refuse_existing_folder(sink, path.stem)
        return Job(source, sink, self.tasks, self.seed)
