"""A bench of a person's own film on their own machine: what was foreseen beside what came."""

import json as json_
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console, Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

import filmgate as fg
from filmgate.backends.trace import bottleneck
from filmgate.cli.request import Request, jobs_of
from filmgate.cli.signals import polite
from filmgate.cli.views.tables import sheet
from filmgate.core.chain import Chain
from filmgate.core.events import Done
from filmgate.core.instrumentation.memory import cuda_in_use, measure_peak, resident_meter
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.core.run import frames as made_frames
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.errors import Exit, FilmgateError
from filmgate.media.sinks import VideoOutput
from filmgate.pipeline.build import build
from filmgate.pipeline.threads import pinned
from filmgate.planning.costs import seconds_each
from filmgate.planning.fit import Fit, fit

HELP = "Run some frames of a film aside, and show what each part took beside what was foreseen."
FRAMES = 10  # without --frames
WARMING = 4  # frames that nobody counts: libraries load, caches fill


@dataclass(frozen=True, slots=True)
class Taken:
    """What some frames took. `host`, `device`: bytes at most, of the whole process.

    `within`: of stages that are lines themselves, seconds for a source frame of each of their
    parts.
    """

    found: Fit
    done: Done
    host: int
    device: int
    within: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Frames of the source in a second, the filling of the line included."""
        return self.done.read / max(1e-9, self.done.seconds)

    def parts(self) -> Iterator[tuple[str, int | None, float, float]]:
        """Part, its batch, seconds for a source frame as foreseen and as they were."""
        costs, plan, read = self.found.costs, self.found.plan, max(1, self.done.read)
        each = seconds_each(costs, plan)
        foreseen: dict[str, tuple[int | None, float]] = {"decode": (None, each["decode"])}
        for stage, size in zip(costs.stages, plan.batches, strict=True):
            foreseen[stage.name] = (size, stage.seconds_each(size))
        foreseen["encode"] = (None, each["encode"])
        for name, (batch, seconds) in foreseen.items():
            yield name, batch, seconds, self.done.busy.get(name, 0.0) / read

    def plain(self) -> dict[str, object]:
        """For JSON."""
        return {
            "read": self.done.read,
            "written": self.done.written,
            "seconds": self.done.seconds,
            "fps": self.fps,
            "parts": {
                name: {"batch": batch, "predicted_s": predicted, "measured_s": measured}
                | ({"within_s": self.within[name]} if name in self.within else {})
                for name, batch, predicted, measured in self.parts()
            },
            "host": _both(sum(self.found.host.values()), self.host),
            "device": _both(self.found.device_bytes, self.device),
            "bottleneck": bottleneck(self.done),
        }


def benched(order: Request) -> Exit:
    """Runs a few frames of the film into a folder that goes, and shows what they took."""
    places = order.places
    if len(places) == 1 and order.out is None:
        places = (places[0], Path("bench.mp4"))
    jobs = jobs_of(replace(order, places=places))
    for name, job in jobs.items():
        if len(jobs) > 1 and not order.shown.json:
            print(name)
        taken = take(job, order)
        if order.shown.json:
            print(json_.dumps(taken.plain()))
        else:
            Console(highlight=False).print(drawn(taken))
    return Exit.DONE


def take(job: Job, order: Request) -> Taken:
    """Plans, warms up, runs. In this process, whose memory the plan has foreseen."""
    source: Any = job.source
    frames = source.frames or FRAMES
    found = fit(replace(job, source=replace(source, frames=None)), order.limits)
    with TemporaryDirectory(prefix="filmgate-bench-") as folder, polite():
        for count in (WARMING, frames):
            some = _aside(job, count, Path(folder) / str(count))
            cuda = cuda_in_use()
            if cuda:
                cuda.reset_peak_memory_stats()
            with measure_peak() as peak:
                before = resident_meter()()
                done = _ended(some, found.plan)
        device = int(cuda.max_memory_reserved()) if (cuda := cuda_in_use()) else 0
        parts = within(some, found.plan, done.read)
    return Taken(found, done, before + peak.bytes, device, parts)


@dataclass
class Waiting(Clock):
    """Counts a part until the device has done what it was told there."""

    @contextmanager
    def busy(self, name: str) -> Iterator[None]:
        with super().busy(name):
            yield
            if cuda := cuda_in_use():
                cuda.synchronize()


def within(job: Job, plan: Plan, read: int) -> dict[str, dict[str, float]]:
    """Seconds for each of `read` source frames, by stage that is a line itself and by its parts.

    The frames go through once more, stage by stage: no part of a run waits for the device.
    """
    with job.source.open(plan.decode_threads) as video, pinned(plan):
        kept = replace(plan, cache=False)
        chain, _ = build(job.source, job.tasks, video.spec, kept, job.sink, job.seed)
        inner = [(name, part) for name, stage in zip(chain.names, chain.stages, strict=True)
                 for part in _parts(stage)]  # fmt: skip
        if len(inner) == len(chain.stages):
            return {}
        flat = Chain(tuple(part for _, part in inner), clock=Waiting())
        for _ in made_frames(video, flat, kept):
            pass
    found: dict[str, dict[str, float]] = {}
    for (name, _), part in zip(inner, flat.names, strict=True):
        found.setdefault(name, {})[part] = flat.clock.seconds.get(part, 0.0) / max(1, read)
    return {name: parts for name, parts in found.items() if len(parts) > 1}


def _parts(stage: AnyStage | Chain) -> tuple[AnyStage, ...]:
    """Those of the line that a stage is, whatever is around it; or itself."""
    bare = stage
    while isinstance(bare, StageWrapper):
        bare = bare.stage
    return bare.stages if isinstance(bare, Chain) else (stage,)


def drawn(taken: Taken) -> Group:
    """What a person is shown."""
    table = sheet("part", ">batch", ">predicted s/frame", ">measured s/frame")
    for name, batch, predicted, measured in taken.parts():
        table.add_row(name, str(batch or ""), f"{predicted:.4f}", f"{measured:.4f}")
        for part, seconds in taken.within.get(name, {}).items():
            table.add_row(f"  {part}", "", "", f"{seconds:.4f}")
    memory = sheet("memory, at most", ">predicted", ">measured", ">predicted / measured")
    _row(memory, "of the program", sum(taken.found.host.values()), taken.host)
    if taken.device:
        _row(memory, "on the device", taken.found.device_bytes, taken.device)
    done = taken.done
    return Group(
        table, "", memory, "",
        Text(f"{done.read} frames in, {done.written} out, in {done.seconds:.2f} s: "
             f"{taken.fps:.1f} frames of the film a second, the line's filling included"),
        Text(bottleneck(done)),
    )  # fmt: skip


def _row(table: Table, name: str, predicted: int, measured: int) -> None:
    table.add_row(name, decimal(predicted), decimal(measured), f"{predicted / measured:.2f}")


def _both(predicted: int, measured: int) -> Mapping[str, int]:
    return {"predicted_bytes": predicted, "measured_bytes": measured}


def _aside(job: Job, frames: int, folder: Path) -> Job:
    """The job on so many frames, its result in a folder of its own."""
    source, sink = job.source, job.sink
    sides: tuple[Any, Any] = (source, sink)
    folder.mkdir(exist_ok=True)
    ending = Path(sides[1].path).suffix or ".png"
    name = f"result{sink.suffix}" if isinstance(sink, VideoOutput) else f"%06d{ending}"
    aside = replace(sides[1], path=folder / name, overwrite=True)
    return replace(job, source=replace(sides[0], frames=frames), sink=aside)


def _ended(job: Job, plan: Plan) -> Done:
    with closing(fg.events(job, plan)) as events:
        for event in events:
            if isinstance(event, Done):
                return event
    raise FilmgateError("the run ended without a word: please report it")
