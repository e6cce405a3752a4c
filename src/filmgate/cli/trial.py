"""Run a few frames of a job and measure what the plan predicted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import filmgate as fg
from filmgate.backends.trace import explain_bottleneck
from filmgate.cli.signals import stop_on_signals
from filmgate.core.chain import Chain
from filmgate.core.events import Done
from filmgate.core.instrumentation.memory import get_loaded_cuda, make_memory_meter, measure_peak
from filmgate.core.instrumentation.timing import Clock
from filmgate.core.job import Job
from filmgate.core.model_cache import ModelCache
from filmgate.core.plan import Plan
from filmgate.core.run import iter_frames
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.errors import FilmgateError
from filmgate.media.sinks import VideoOutput
from filmgate.pipeline.build import build, open_source
from filmgate.pipeline.threads import pin_threads
from filmgate.planning.costs import predict_seconds
from filmgate.planning.fit import Fit, fit, refuse_generation
from filmgate.planning.limits import Limits

DEFAULT_FRAMES = 10
WARM_UP_FRAMES = 4  # not counted: libraries load and caches fill


@dataclass(frozen=True, slots=True)
class Trial:
    """What some frames took. `host`, `device`: peak bytes of the process.

    `within`: for stages that are chains, seconds per source frame of each of their parts.
    """

    fitted: Fit
    done: Done
    host: int
    device: int
    within: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def fps(self) -> float:
        """Source frames per second, including the time to fill the pipeline."""
        return self.done.read / max(1e-9, self.done.seconds)

    def list_parts(self) -> Iterator[tuple[str, int | None, float, float]]:
        """Yield name, batch, and predicted and measured seconds per source frame of each part."""
        costs, plan, read = self.fitted.costs, self.fitted.plan, max(1, self.done.read)
        seconds = predict_seconds(costs, plan)
        predicted: dict[str, tuple[int | None, float]] = {"decode": (None, seconds["decode"])}
        for stage, size in zip(costs.stages, plan.batches, strict=True):
            predicted[stage.name] = (size, stage.seconds_per_frame(size))
        predicted["encode"] = (None, seconds["encode"])
        for name, (batch, expected) in predicted.items():
            yield name, batch, expected, self.done.busy.get(name, 0.0) / read

    def plain(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "read": self.done.read,
            "written": self.done.written,
            "seconds": self.done.seconds,
            "fps": self.fps,
            "parts": {
                name: {"batch": batch, "predicted_s": predicted, "measured_s": measured}
                | ({"within_s": self.within[name]} if name in self.within else {})
                for name, batch, predicted, measured in self.list_parts()
            },
            "host": _pair_bytes(sum(self.fitted.host.values()), self.host),
            "device": _pair_bytes(self.fitted.device_bytes, self.device),
            "bottleneck": explain_bottleneck(self.done),
        }


def run_trial(job: Job, limits: Limits) -> Trial:
    """Plan, warm up and run in this process, whose memory the plan predicted."""
    source: Any = job.source
    refuse_generation(job)
    count = source.max_frames or DEFAULT_FRAMES
    models = fg.ModelCache()
    fitted = fit(replace(job, source=replace(source, max_frames=None)), limits, models=models)
    with TemporaryDirectory(prefix="filmgate-bench-") as folder, stop_on_signals():
        for frames in (WARM_UP_FRAMES, count):
            trimmed = _trim_job(job, frames, Path(folder) / str(frames))
            cuda = get_loaded_cuda()
            if cuda:
                cuda.reset_peak_memory_stats()
            with measure_peak() as peak:
                before = make_memory_meter()()
                done = _run_to_end(trimmed, fitted.plan, models)
        device = int(cuda.max_memory_reserved()) if (cuda := get_loaded_cuda()) else 0
        within = measure_parts(trimmed, fitted.plan, done.read, models)
    return Trial(fitted, done, before + peak.bytes, device, within)


@dataclass
class SynchronizedClock(Clock):
    """A clock that counts a part until the device has finished its work."""

    @contextmanager
    def busy(self, name: str, frames: int = 0) -> Iterator[None]:
        with super().busy(name, frames):
            yield
            if cuda := get_loaded_cuda():
                cuda.synchronize()


def measure_parts(
    job: Job, plan: Plan, read: int, models: ModelCache | None = None
) -> dict[str, dict[str, float]]:
    """Return seconds per source frame of the parts of each stage that is a chain.

    The `read` frames are run once more, stage by stage: in a usual run no part waits for the
    device.
    """
    opened = open_source(job.source, job.tasks, plan.decode_threads)
    with opened as video, pin_threads(plan):
        uncached = replace(plan, cache=False)
        chain = build(job, video.spec, models).apply(uncached)
        parts = [(name, part) for name, stage in zip(chain.names, chain.stages, strict=True)
                 for part in _list_parts(stage)]  # fmt: skip
        if len(parts) == len(chain.stages):
            return {}
        flat = Chain(tuple(part for _, part in parts), clock=SynchronizedClock())
        for _ in iter_frames(video, flat, uncached):
            pass
    seconds: dict[str, dict[str, float]] = {}
    for (name, _), part_name in zip(parts, flat.names, strict=True):
        per_frame = flat.clock.seconds.get(part_name, 0.0) / max(1, read)
        seconds.setdefault(name, {})[part_name] = per_frame
    return {name: inner for name, inner in seconds.items() if len(inner) > 1}


def _list_parts(stage: AnyStage | Chain) -> tuple[AnyStage, ...]:
    """Return the stages of a stage that is a chain inside its wrappers, or the stage itself."""
    inner = stage
    while isinstance(inner, StageWrapper):
        inner = inner.stage
    return inner.stages if isinstance(inner, Chain) else (stage,)


def _pair_bytes(predicted: int, measured: int) -> Mapping[str, int]:
    return {"predicted_bytes": predicted, "measured_bytes": measured}


def _trim_job(job: Job, frames: int, folder: Path) -> Job:
    """Return the job for so many frames, with its result in `folder`."""
    source, sink = job.source, job.sink
    ends: tuple[Any, Any] = (source, sink)
    folder.mkdir(exist_ok=True)
    suffix = Path(ends[1].path).suffix or ".png"
    name = f"result{sink.suffix}" if isinstance(sink, VideoOutput) else f"%06d{suffix}"
    result = replace(ends[1], path=folder / name, overwrite=True)
    return replace(job, source=replace(ends[0], max_frames=frames), sink=result)


def _run_to_end(job: Job, plan: Plan, models: ModelCache) -> Done:
    with closing(fg.events(job, plan, models=models)) as events:
        for event in events:
            if isinstance(event, Done):
                return event
    raise FilmgateError("the run ended without a result: please report it")
