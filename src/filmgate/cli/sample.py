"""Run three snippets of a video with the plan of the complete run, and estimate that run."""

from __future__ import annotations

import json as json_
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.filesize import decimal

import filmgate as fg
from filmgate.cli.request import Request
from filmgate.cli.signals import stop_on_signals
from filmgate.cli.views.progress import ProgressView
from filmgate.core.events import Committed, Done, Event, Progress
from filmgate.core.job import Job, OwnLengthTask
from filmgate.core.plan import Plan
from filmgate.errors import BadSetting, Exit, Interrupted, Unsupported
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.pipeline.build import choose_source
from filmgate.planning.disk import DiskUse
from filmgate.planning.fit import plan_within
from filmgate.storage.atomic import append_suffix
from filmgate.units import format_duration

SNIPPETS = ("beginning", "middle", "end")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A part that was run: its place in seconds of the video, or of the result where that has a
    length of its own, how many frames of that it is, and what it took."""

    place: str
    begin: Fraction
    duration: Fraction
    done: Done
    frames: int
    result_bytes: int
    snapshot_bytes: int

    def plain(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "place": self.place,
            "begin_s": float(self.begin),
            "lasts_s": float(self.duration),
            "read": self.frames,
            "written": self.done.written,
            "seconds": self.done.seconds,
            "result_bytes": self.result_bytes,
        }


def run_sample(job: Job, seconds: Fraction, request: Request) -> Exit:
    """Run the snippets in a temporary folder and print the estimate. Raises FilmgateError."""
    source, sink = job.source, job.sink
    if not isinstance(source, VideoFile | ImageSequence):
        raise Unsupported("cannot sample a pipe: a sample is taken from three places, and a pipe "
                          "can only be read once. Pass a file, or omit --sample")  # fmt: skip
    if not isinstance(sink, ImageOutput | VideoOutput):
        raise Unsupported(f"cannot sample {sink.path}: a sample shows images before and after, "
                          "and these are records. Name a video, or pass --end 5s")  # fmt: skip
    if str(sink.path) == "-":
        raise Unsupported("cannot sample into a pipe: a sample saves an image next to the result. "
                          "Pass a file, or omit --sample")  # fmt: skip
    png = find_image_path(sink)
    if not png.parent.is_dir():
        raise BadSetting(f"the folder {png.parent} does not exist: create it first")
    plan, job = plan_within(job, request.limits), choose_source(job)
    length = _measure_length(job)
    places = choose_places(length, seconds)
    with TemporaryDirectory(prefix="filmgate-sample-") as folder, stop_on_signals():
        try:
            jobs = [_trim_job(job, at, min(at + seconds, length), Path(folder) / place)
                    for place, at in places]  # fmt: skip
            snippets = [_run_snippet(trimmed, plan, place, at, request)
                        for trimmed, (place, at) in zip(jobs, places, strict=True)]  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted("stopped; the sample was removed") from None
        _save_image(jobs, snippets, png)
    estimate = Estimate.of(snippets, length, sink)
    if request.display.json:
        print(json_.dumps(estimate.plain() | {"image": str(png)}))
    elif not request.display.quiet:
        lines = [*estimate.describe(), f"image     {png}"]
        Console(highlight=False).print(*lines, sep="\n", soft_wrap=True)
    return Exit.DONE


def choose_places(length: Fraction, seconds: Fraction) -> list[tuple[str, Fraction]]:
    """Return name and beginning of three snippets, or of as many as a short video has room for."""
    last = max(Fraction(0), length - seconds)
    begins = {"beginning": Fraction(0), "middle": last / 2, "end": last}
    room = max(1, min(len(SNIPPETS), int(length / seconds)))
    names = {1: SNIPPETS[:1], 2: SNIPPETS[::2], 3: SNIPPETS}[room]
    return [(name, begins[name]) for name in names]


def find_image_path(sink: VideoOutput | ImageOutput) -> Path:
    """Return where before and after are saved: next to the result, or to its folder."""
    path = Path(sink.path)
    if isinstance(sink, ImageOutput) and "%" in path.name:
        path = path.absolute().parent
    return append_suffix(path, ".sample.png")


@dataclass(frozen=True, slots=True)
class Estimate:
    """Frames, seconds and disk of the complete run, estimated from snippets."""

    snippets: Sequence[Snippet]
    frames: int
    seconds: float
    disk: DiskUse

    @property
    def _unit(self) -> str:
        is_read = all(snippet.frames == snippet.done.read for snippet in self.snippets)
        return "source frames" if is_read else "frames"

    @classmethod
    def of(cls, snippets: Sequence[Snippet], length: Fraction, sink: object) -> Estimate:
        """Return the estimate: each second of the video takes as much as those of the snippets."""
        share = float(length / sum(snippet.duration for snippet in snippets))
        result = share * sum(snippet.result_bytes for snippet in snippets)
        snapshot = max(snippet.snapshot_bytes for snippet in snippets)
        return cls(
            snippets,
            round(share * sum(snippet.frames for snippet in snippets)),
            share * sum(snippet.done.seconds for snippet in snippets),
            DiskUse.of(sink, result, snapshot),
        )

    def plain(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "snippets": [snippet.plain() for snippet in self.snippets],
            "frames": self.frames,
            "seconds": self.seconds,
            "disk": self.disk.plain(),
        }

    def describe(self) -> list[str]:
        """Return it as lines of text."""
        seconds = sum(snippet.done.seconds for snippet in self.snippets)
        read = sum(snippet.frames for snippet in self.snippets)
        names = ", ".join(
            f"{s.place} (at {format_duration(float(s.begin))})" for s in self.snippets
        )
        free = "" if self.disk.free is None else f"; {decimal(self.disk.free)} are free"
        return [
            f"sample    {names}: {read} frames in {seconds:.1f} s",
            f"time      {format_duration(self.seconds)} for all {self.frames} frames",
            f"speed     {read / max(1e-9, seconds):.1f} {self._unit} per second",
            f"result    about {decimal(self.disk.result)}",
            f"disk      at most {decimal(self.disk.joining)} during the run{free}",
        ]


def _find_own_length(job: Job) -> OwnLengthTask | None:
    """Return the task that gives the result a length of its own, if there is one."""
    return next((task for task in job.tasks if isinstance(task, OwnLengthTask)), None)


def _measure_length(job: Job) -> Fraction:
    """Return how many seconds of the video the job takes, or of how many its result is."""
    if (task := _find_own_length(job)) is not None:
        return task.measure_seconds()
    source = job.source
    assert isinstance(source, VideoFile | ImageSequence)
    with source.open() as opened:
        if opened.duration is not None:
            return opened.duration
    raise Unsupported(f"cannot find the middle of {source.path}: the file does not say how long it "
                      "is. Pass --end")  # fmt: skip


def _trim_job(job: Job, at: Fraction, end: Fraction, folder: Path) -> Job:
    """Return the job from `at` to `end` seconds, with its result in a new `folder`."""
    folder.mkdir()
    source, sink = job.source, job.sink
    assert isinstance(source, VideoFile | ImageSequence)
    if _find_own_length(job) is None:
        base = source.start or Fraction(0)
        source = replace(source, start=base + at or None, end=base + end, max_frames=None)
    inputs = folder.with_name(f"{folder.name} inputs")
    inputs.mkdir()
    tasks = tuple(task.take_part(at, end, inputs) if isinstance(task, OwnLengthTask) else task
                  for task in job.tasks)  # fmt: skip
    return replace(job, source=source, sink=_move_sink(sink, folder), tasks=tasks)


def _move_sink(sink: Any, folder: Path) -> Any:
    """Return the output with its file, or its images, in `folder`."""
    name = f"%06d{Path(sink.path).suffix or '.png'}"
    if not isinstance(sink, ImageOutput):
        name = f"result{sink.suffix}"
    return replace(sink, path=folder / name)


def _run_snippet(
    job: Job, plan: Plan | None, place: str, at: Fraction, request: Request
) -> Snippet:
    display = request.display
    quiet = display.quiet or display.json
    console = Console(stderr=True, highlight=False, quiet=quiet)
    console.print(f"{place}, from {format_duration(float(at))}")
    last: Event | None = None
    duration, snapshot = Fraction(0), 0
    path = Path(job.sink.path)
    with (
        ProgressView(console, None, quiet) as view,
        closing(_start(job, plan, request)) as events,
    ):
        for event in events:
            last = event
            if isinstance(event, Progress):
                duration = event.time
            elif isinstance(event, Committed):
                files = RunDirectory.for_result(path).path.glob("*.snapshot")
                snapshot = max([snapshot, *(file.stat().st_size for file in files)])
            if not isinstance(event, Done):
                view.show(event)
    assert isinstance(last, Done)
    results = path.parent.iterdir() if isinstance(job.sink, ImageOutput) else [path]
    size = sum(file.stat().st_size for file in results)
    frames = last.read
    if (task := _find_own_length(job)) is not None:  # what is before its part is read too
        duration, frames = task.measure_seconds(), last.written
    return Snippet(place, at, duration, last, frames, size, snapshot)


def _start(job: Job, plan: Plan | None, request: Request) -> Generator[Event, None, None]:
    worker = not request.display.in_process
    return fg.events(job, plan, limits=request.limits, worker=worker)


def _save_image(jobs: Sequence[Job], snippets: Sequence[Snippet], png: Path) -> None:
    """Save frames before and after, from the middle of each snippet."""
    from filmgate.quality.report.contact_sheet import BeforeAfter, write_before_after

    pairs = []
    for job, snippet in zip(jobs, snippets, strict=True):
        path = Path(job.sink.path)
        after = ImageSequence(path) if isinstance(job.sink, ImageOutput) else VideoFile(path)
        first = max(0, snippet.done.written // 2 - 3)
        pairs.append(BeforeAfter(job.source, after, job.tasks, first))
    try:
        write_before_after(pairs, png)
    except OSError as error:
        raise BadSetting(f"cannot write {png}: {error.strerror}") from error
