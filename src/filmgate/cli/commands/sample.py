"""A sample: the same plan on three snippets of a film, and what the whole would take."""

import json as json_
from collections.abc import Sequence
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
from filmgate.cli.signals import polite
from filmgate.cli.views.progress import ProgressView
from filmgate.core.events import Committed, Done, Event, Progress
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.errors import BadSetting, Exit, Interrupted, Unsupported
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.planning.disk import Disk
from filmgate.planning.fit import planned_within
from filmgate.units import format_duration

SNIPPETS = ("beginning", "middle", "end")


@dataclass(frozen=True, slots=True)
class Snippet:
    """One stretch of the film, done: seconds of the film, and what it took."""

    place: str
    begin: Fraction
    lasts: Fraction
    done: Done
    result_bytes: int
    snapshot_bytes: int

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "place": self.place,
            "begin_s": float(self.begin),
            "lasts_s": float(self.lasts),
            "read": self.done.read,
            "written": self.done.written,
            "seconds": self.done.seconds,
            "result_bytes": self.result_bytes,
        }


def tried(job: Job, seconds: Fraction, order: Request) -> Exit:
    """Does the snippets in a folder that goes, and tells what they tell of the whole."""
    source, sink = job.source, job.sink
    if not isinstance(source, VideoFile | ImageSequence):
        raise Unsupported("a sample is taken from three places, and a pipe can be read only once: "
                          "give a file")  # fmt: skip
    if not isinstance(sink, ImageOutput | VideoOutput) or str(sink.path) == "-":
        raise Unsupported("a sample saves a picture beside the result, and a pipe has no place: "
                          "name a file")  # fmt: skip
    png = picture_of(sink)
    if not png.parent.is_dir():
        raise BadSetting(f"the folder {png.parent} does not exist: make it first")
    length, plan = _length(source), planned_within(job, order.limits)
    parts = places(length, seconds)
    with TemporaryDirectory(prefix="filmgate-sample-") as folder, polite():
        try:
            cuts = [_cut(job, source, at, min(at + seconds, length), Path(folder) / place)
                    for place, at in parts]  # fmt: skip
            done = [_done(cut, plan, place, at, order)
                    for cut, (place, at) in zip(cuts, parts, strict=True)]  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted("stopped; nothing of the sample is left") from None
        _drawn(cuts, done, png)
    told = Whole.of(done, length, sink)
    if order.shown.json:
        print(json_.dumps(told.plain() | {"picture": str(png)}))
    elif not order.shown.quiet:
        Console(highlight=False).print(*told.words(), f"picture   {png}", sep="\n", soft_wrap=True)
    return Exit.DONE


def places(length: Fraction, seconds: Fraction) -> list[tuple[str, Fraction]]:
    """Where the snippets begin: three, or as many as a short film has room for."""
    last = max(Fraction(0), length - seconds)
    begins = {"beginning": Fraction(0), "middle": last / 2, "end": last}
    room = max(1, min(len(SNIPPETS), int(length / seconds)))
    chosen = {1: SNIPPETS[:1], 2: SNIPPETS[::2], 3: SNIPPETS}[room]
    return [(place, begins[place]) for place in chosen]


def picture_of(sink: VideoOutput | ImageOutput) -> Path:
    """Where before and after are saved: beside the result, or the folder that it would be."""
    path = Path(sink.path)
    if isinstance(sink, ImageOutput) and "%" in path.name:
        path = path.absolute().parent
    return path.with_name(f"{path.name}.sample.png")


@dataclass(frozen=True, slots=True)
class Whole:
    """What the snippets tell of the whole film."""

    snippets: Sequence[Snippet]
    frames: int
    seconds: float
    disk: Disk

    @classmethod
    def of(cls, snippets: Sequence[Snippet], length: Fraction, sink: object) -> "Whole":
        """As much for each second of the film as the snippets took for theirs."""
        share = float(length / sum(snippet.lasts for snippet in snippets))
        result = share * sum(snippet.result_bytes for snippet in snippets)
        snapshot = max(snippet.snapshot_bytes for snippet in snippets)
        return cls(
            snippets,
            round(share * sum(snippet.done.read for snippet in snippets)),
            share * sum(snippet.done.seconds for snippet in snippets),
            Disk.of(sink, result, snapshot),
        )

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "snippets": [snippet.plain() for snippet in self.snippets],
            "frames": self.frames,
            "seconds": self.seconds,
            "disk": self.disk.plain(),
        }

    def words(self) -> list[str]:
        """For a person."""
        seconds = sum(snippet.done.seconds for snippet in self.snippets)
        read = sum(snippet.done.read for snippet in self.snippets)
        names = ", ".join(
            f"{s.place} (at {format_duration(float(s.begin))})" for s in self.snippets
        )
        free = "" if self.disk.free is None else f"; {decimal(self.disk.free)} are free there"
        return [
            f"sample    {names}: {read} frames in {seconds:.1f} s",
            f"time      {format_duration(self.seconds)} for the whole video, {self.frames} frames",
            f"speed     {read / max(1e-9, seconds):.1f} frames of the film a second",
            f"result    about {decimal(self.disk.result)}",
            f"disk      {decimal(self.disk.joining)} at most until it is whole{free}",
        ]


def _length(source: VideoFile | ImageSequence) -> Fraction:
    """Seconds of the film that the job takes."""
    with source.open() as opened:
        video: Any = opened
        spec, stop, end = video.spec, getattr(video, "stop", None), getattr(video, "end", None)
        if stop is not None:
            return Fraction((stop - video.start) * spec.time_base)
        if spec.rate and spec.frames:
            return Fraction(spec.frames / spec.rate)
        if end is not None:
            return Fraction(end - video.offset)
    raise Unsupported(f"{source.path} does not say how long it is, so nobody knows where its "
                      "middle is: say where to end with --to")  # fmt: skip


def _cut(
    job: Job, source: VideoFile | ImageSequence, at: Fraction, end: Fraction, aside: Path
) -> Job:
    """The job from `at` to `end` seconds, its result in the folder `aside`."""
    base = source.from_ or Fraction(0)
    trimmed = replace(source, from_=base + at or None, to=base + end, frames=None)
    sink: Any = job.sink
    name = f"%06d{Path(sink.path).suffix or '.png'}"
    if not isinstance(sink, ImageOutput):
        name = f"result{sink.suffix}"
    aside.mkdir()
    return replace(job, source=trimmed, sink=replace(sink, path=aside / name))


def _done(job: Job, plan: Plan | None, place: str, at: Fraction, order: Request) -> Snippet:
    """Runs one snippet, shown as it goes."""
    shown = order.shown
    console = Console(stderr=True, highlight=False, quiet=shown.quiet or shown.json)
    console.print(f"{place}, from {format_duration(float(at))} on")
    last: Event | None = None
    lasts, snapshot, path = Fraction(0), 0, Path(job.sink.path)  # type: ignore[attr-defined]
    with (
        ProgressView(console, None, shown.quiet or shown.json) as words,
        closing(fg.events(job, plan, worker=not shown.in_process)) as events,
    ):
        for event in events:
            last = event
            if isinstance(event, Progress):
                lasts = event.time
            elif isinstance(event, Committed):
                kept = RunDirectory.beside(path).path.glob("*.snapshot")
                snapshot = max([snapshot, *(file.stat().st_size for file in kept)])
            if not isinstance(event, Done):
                words.tell(event)
    assert isinstance(last, Done)
    files = path.parent.iterdir() if isinstance(job.sink, ImageOutput) else [path]
    return Snippet(place, at, lasts, last, sum(f.stat().st_size for f in files), snapshot)


def _drawn(cuts: Sequence[Job], done: Sequence[Snippet], png: Path) -> None:
    """Saves what was shown and what is shown now, from the middle of each snippet on."""
    from filmgate.quality.report.contact_sheet import Pair, before_after

    pairs = []
    for cut, snippet in zip(cuts, done, strict=True):
        made = Path(cut.sink.path)  # type: ignore[attr-defined]
        after = ImageSequence(made) if isinstance(cut.sink, ImageOutput) else VideoFile(made)
        first = max(0, snippet.done.written // 2 - 3)
        pairs.append(Pair(cut.source, after, cut.tasks, first))
    try:
        before_after(pairs, png)
    except OSError as error:
        raise BadSetting(f"{png} can't be written: {error.strerror}") from error
