"""What a command line asks for, as values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from filmgate.cli.paths import pair_paths
from filmgate.core.job import GeneratingTask, Job, SourceFile, Task
from filmgate.errors import BadSetting
from filmgate.jobs.options import ResumeOptions
from filmgate.media.disc_titles import find_title
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.images.numbering import compile_number_pattern
from filmgate.media.options import SUFFIXES
from filmgate.media.rates import check_fraction
from filmgate.media.records.formats import SUFFIXES as RECORD_SUFFIXES
from filmgate.planning.limits import Limits
from filmgate.storage.file_names import extend_long_path
from filmgate.tasks.job_config import (
    make_sink,
    make_sinks,
    make_source,
    refuse_existing_folder,
    task_from,
)
from filmgate.tasks.model_task import ModelTask

TABLE = Path("-")  # as a profile: without a file


@dataclass(frozen=True, slots=True)
class DisplayOptions:
    """What a run prints, and in which process it runs; each field is a flag."""

    json: bool = False
    """Print JSON on standard output."""

    quiet: bool = False
    """Print nothing but warnings and errors."""

    trace: Path | None = None
    """Write a timeline of the run to this file, for ui.perfetto.dev."""

    profile: Path | None = None
    """Print at the end what each phase took: seconds, CPU, frames, memory, bytes copied to and from
    a device. With a name that ends in .json a timeline of all phases is written to it too."""

    skip_bad: bool = False
    """Replace frames that crash the worker repeatedly by the last good one; exit code 4."""

    in_process: bool = False
    """Run in this process. Default: in a worker process, whose crash does not end the run."""

    @property
    def timeline(self) -> Path | None:
        """The file for a timeline. Raises BadSetting if there are two, or for a wrong name."""
        if self.profile is None or self.profile == TABLE:
            return self.trace
        if self.profile.suffix.lower() != ".json":
            raise BadSetting(f"profile is {self.profile}: pass a name that ends in .json, or "
                             "--profile alone")  # fmt: skip
        if self.trace is not None:
            raise BadSetting(f"profile is {self.profile} and trace is {self.trace}, and both are "
                             "a timeline: omit --trace")  # fmt: skip
        return self.profile


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """A trial before the complete run; each field is a flag."""

    sample: Fraction | None = None
    """Run only so many seconds of the beginning, the middle and the end, in a temporary folder:
    estimates time and disk of the complete run and saves an image of before and after."""

    def __post_init__(self) -> None:
        if self.sample is not None:
            check_fraction("sample", self.sample, Fraction(1, 1000), Fraction(86_400), "s")


@dataclass(frozen=True, slots=True)
class MoreOutputs:
    """Outputs of a task that makes records, next to its result; each field is a flag."""

    also: tuple[Path, ...] = ()
    """Write the records to this file too, in the same pass and in the format of its suffix. Can be
    given several times."""

    overlay: Path | None = None
    """Write a video with what was found drawn on it, in the same pass; audio is kept."""

    report: Path | None = None
    """Write a page (.html) with a timeline, images of everyone and counts, in the same pass."""

    @property
    def given(self) -> list[tuple[str, Path]]:
        """The outputs that are wanted, each with its flag. Raises BadSetting for another name."""
        if self.report is not None and self.report.suffix.lower() != ".html":
            raise BadSetting(f"report is {self.report}: pass a name that ends in .html")
        for path in self.also:
            if path.suffix.lower() not in RECORD_SUFFIXES:
                raise BadSetting(f"also is {path}: pass a name that ends in one of "
                                 f"{', '.join(RECORD_SUFFIXES)}; --overlay writes a "
                                 "video")  # fmt: skip
        given = [("--overlay", self.overlay), ("--report", self.report)]
        return [("--also", path) for path in self.also] + [
            (flag, path) for flag, path in given if path is not None
        ]


@dataclass(frozen=True, slots=True)
class JoinOptions:
    """Inputs that are one video; each field is a flag."""

    join: bool = False
    """The inputs are parts of one video, in this order: chapters of a camera, files of a disc,
    pieces of a recording. A folder VIDEO_TS needs no flag: its longest title is taken."""


@dataclass(frozen=True, slots=True)
class LengthOptions:
    """How long a generated video is; each field is a flag."""

    frames: int | None = None
    """How many frames to generate. Default: as many as the model was trained on."""

    fps: Fraction | int | None = None
    """Frames per second, any fraction (24, 30000/1001). Default: as the model was trained."""


@dataclass(frozen=True, slots=True)
class FollowingTasks:
    """Tasks that follow in the same pass; each field is a flag."""

    interpolate: str | None = None
    """Make frames between the frames, with the model film, rife or dis, or a file of weights."""

    factor: Fraction | int | None = None
    """With interpolate: output frames for each frame. Default: 2."""

    upscale: str | None = None
    """Enlarge every frame, with the model compact, another one, or a file of weights."""

    scale: int | None = None
    """With upscale: how many times as wide and high. Default: 2."""

    def build(self) -> tuple[Task, ...]:
        """Return the tasks. Raises BadSetting for a number without its task."""
        for number, task in (("factor", "interpolate"), ("scale", "upscale")):
            if getattr(self, number) is not None and getattr(self, task) is None:
                raise BadSetting(f"{number} is {getattr(self, number)} and nothing is to "
                                 f"{task}: pass --{task} with a model too")  # fmt: skip
        forms = []
        if self.interpolate is not None:
            forms.append({"task": "interpolate", "model": self.interpolate, "factor": self.factor})
        if self.upscale is not None:
            forms.append({"task": "upscale", "model": self.upscale, "scale": self.scale})
        return tuple(
            task_from({key: value for key, value in form.items() if value is not None})
            for form in forms
        )


@dataclass(frozen=True, slots=True)
class SeedOptions:
    """Several videos of one command; each field is a flag."""

    seeds: tuple[int, ...] = ()
    """Make a video with each of these seeds; the results get their numbers: out-7.mp4. Can be given
    several times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The paths of a command line, and the settings of each owner of flags.

    `generates`: there is no video to read, only a result; `input` says how long it is. `seeds`: a
    video for each of them, `seed` if there are none.
    `values`: those of all flags, for commands with flags of their own.
    """

    paths: tuple[Path, ...]
    generates: bool = False
    out: Path | None = None
    tasks: tuple[Task, ...] = ()
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    more_outputs: MoreOutputs = field(default_factory=MoreOutputs)
    seed: int = 0
    seeds: tuple[int, ...] = ()
    limits: Limits = field(default_factory=Limits)
    resume_options: ResumeOptions = field(default_factory=ResumeOptions)
    display: DisplayOptions = field(default_factory=DisplayOptions)
    sample: SampleOptions = field(default_factory=SampleOptions)
    values: Mapping[str, Any] = field(default_factory=dict)

    def build_jobs(self) -> dict[str, Job]:
        """Return every job, by "input -> result". Raises BadSetting."""
        if self.generates:
            return self._build_generating_jobs()
        if self.out is not None and self.out.suffix in SUFFIXES and not self.out.is_dir():
            raise BadSetting(f"-o names a folder for several results, and {self.out} is the name "
                             "of a video: pass it as the last path, without -o")  # fmt: skip
        container = self.output.get("container") or ("jsonl" if _make_records(self.tasks) else None)
        paths = self._list_parts() if self.values.get("join") else self.paths
        pairs = pair_paths(paths, self.out, str(container) if container else None)
        if len(pairs) > 1:
            for flag, _ in self.more_outputs.given:
                raise BadSetting(
                    f"{flag} names one file and there are {len(pairs)} videos: omit it"
                )
        return {f"{path} -> {result}": self._build_job(path, result) for path, result in pairs}

    def _build_generating_jobs(self) -> dict[str, Job]:
        """Return a job for each seed. Raises BadSetting."""
        if len(self.paths) != 1:
            raise BadSetting(f"there are {len(self.paths)} paths: pass OUT")
        first = self.tasks[0]
        source: SourceFile
        if isinstance(first, GeneratingTask):
            source = first.make_source(**self.input)
        else:
            if self.input.get("frames") is None:
                raise BadSetting("frames is missing: pass --frames with the number to generate")
            source = FrameCounter(**self.input)
        if self.seeds and self.seed:
            raise BadSetting(f"seed is {self.seed} and there are seeds too: omit one of them")
        out, jobs = self.paths[0], {}
        for seed in self.seeds or (self.seed,):
            path = _add_number(out, seed) if self.seeds else out
            sink = make_sink(path, self.output)
            refuse_existing_folder(sink)
            jobs[f"seed {seed} -> {path}"] = Job(source, sink, self.tasks, seed)
        return jobs

    def _list_parts(self) -> tuple[Path, ...]:
        """Return the first of the parts to join, and the result. Raises BadSetting."""
        if self.out is not None or len(self.paths) < 3:
            raise BadSetting(
                f"join is for parts of one video and there are {len(self.paths)} paths: pass all "
                "parts and then the result, without -o"
            )
        return self.paths[0], self.paths[-1]

    def _find_parts(self, path: Path) -> tuple[Path, ...]:
        """Return the files of an input: itself, all parts to join, or those of a disc's title."""
        if self.values.get("join"):
            return tuple(extend_long_path(part) for part in self.paths[:-1])
        return find_title(path) or (path,)

    def _build_job(self, path: Path, result: Path) -> Job:
        paths = [result, *(path for _, path in self.more_outputs.given)]
        first, *rest = self._find_parts(path)
        joined = {"join": tuple(rest)} if rest else {}
        source, sinks = make_source(first, {**self.input, **joined}), make_sinks(paths, self.output)
        for sink in sinks:
            refuse_existing_folder(sink, path.stem)
        tasks = self.tasks
        if any(sink.takes_images for sink in sinks):
            tasks = tuple(replace(task, draw=True) if _make_records([task]) else task  # type: ignore[type-var]  # mypy#14941: a task is a dataclass
                          for task in tasks)  # fmt: skip
        elif all(isinstance(task, ModelTask) and not task.makes_records for task in tasks):
            raise BadSetting(f"{result} is the name of a file of records, and this command makes "
                             f"none: name a video, such as {result.stem}.mp4")  # fmt: skip
        return Job(source, sinks[0], tasks, self.seed, tuple(sinks[1:]))


def _add_number(out: Path, number: int) -> Path:
    """Return the name of one of several results; of images that of their folder."""
    if compile_number_pattern(out.name):
        return _add_number(out.parent, number) / out.name
    return out.with_name(f"{out.stem}-{number}{out.suffix}")


def _make_records(tasks: Iterable[Task]) -> bool:
    return any(isinstance(task, ModelTask) and task.makes_records for task in tasks)
