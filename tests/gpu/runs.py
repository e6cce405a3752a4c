"""Complete runs on the device: memory runs out, the worker dies, and what `doctor` says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.gpu.shared import (
    COMMANDS,
    RUNS,
    Part,
    Report,
    Setup,
    Skipped,
    explain_missing,
    import_benchmark,
    measure_difference,
    read_planes,
)

FRAMES = 40  # of a complete run: two commits and a half
FITS = 2  # images at a time under the cap on memory


def list_parts() -> list[Part]:
    """Return the parts of this file."""
    return [
        Part("out of memory", check_out_of_memory, RUNS, 90),
        Part("worker", check_worker, RUNS, 90),
        Part("doctor", check_doctor, COMMANDS, 60),
    ]


def make_source(setup: Setup, frames: int, width: int = 64, height: int = 48) -> Path:
    """Return a video of a sliding texture."""
    path = setup.folder / f"{width}x{height}_{frames}.mp4"
    if not path.exists():
        import_benchmark("_common").make_video(path, width, height, frames)
    return path


def run_job(task: Any, source: Path, result: Path, **settings: Any) -> Iterator[Any]:
    """Run a job into a lossless video and yield its events."""
    import filmgate as fg

    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(result, codec="ffv1"), (task,))
    return fg.events(job, **settings)


# --- memory ---------------------------------------------------------------------------------------


@dataclass
class MemoryTrial:
    """Runs of a network whose memory grows with the batch, and the bytes that each reserved."""

    setup: Setup
    network: Any
    stages: int = 0  # of the chain
    peaks: dict[int, int] = field(default_factory=dict)  # by batch

    @classmethod
    def create(cls, setup: Setup) -> MemoryTrial:
        """Register the network as a family of this process."""
        from filmgate.models.contracts import Family
        from filmgate.models.registry import register_family
        from filmgate.models.rgb_networks import rgb_upscaler

        network = make_network(setup.device)
        register_family(
            Family(name="gpu-check", summary="Takes much memory.", scales=(2,),
                   build_upscaler=lambda *_: rgb_upscaler(network))
        )  # fmt: skip
        return cls(setup, network)

    @property
    def cap(self) -> int:
        """Bytes between what FITS images reserved and what twice as many did."""
        return (self.peaks.get(FITS, 0) + self.peaks.get(2 * FITS, 0)) // 2

    def run(self, name: str, batch: int, **limits: Any) -> tuple[list[Any], list[Any]]:
        """Return the events and the frames of a run with this batch, or within these limits."""
        import torch

        import filmgate as fg

        size = (64, 48) if self.setup.dry else (640, 480)
        source, result = make_source(self.setup, 16, *size), self.setup.folder / f"{name}.mkv"
        settings: dict[str, Any] = {"limits": fg.Limits(**limits)}
        if not limits:
            batches = (batch,) * self.stages
            settings = {"plan": self.setup.make_plan(chunk=8, segment_frames=16, batches=batches)}
        if not self.setup.dry:
            torch.cuda.empty_cache()
        task = fg.Upscale(model="gpu-check", device=self.setup.device)
        events = []
        for event in run_job(task, source, result, **settings):
            if isinstance(event, fg.Started) and not self.setup.dry:
                torch.cuda.reset_peak_memory_stats()  # planning has measured larger batches
            events.append(event)
        if not self.setup.dry:
            self.peaks[batch] = torch.cuda.max_memory_reserved()
        return events, read_planes(result)

    @contextmanager
    def use_cap(self) -> Iterator[None]:
        """Let the device have `cap` bytes for this process inside the `with`."""
        import torch

        if self.setup.dry:
            self.network.fits = FITS
        else:
            torch.cuda.empty_cache()
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(self.cap / total)
        try:
            yield
        finally:
            self.network.fits = 0
            if not self.setup.dry:
                torch.cuda.set_per_process_memory_fraction(1.0)


def make_network(device: str) -> Any:
    """Return a network that enlarges twice, with a cap of its own for runs without a device."""
    import torch
    from torch import Tensor, nn

    class Network(nn.Module):
        fits = 0

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.first, self.last = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(64, 12, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            if 0 < self.fits < len(images):
                raise torch.OutOfMemoryError("CUDA out of memory, on purpose")
            large = nn.functional.pixel_shuffle(self.last(self.first(images).relu()), 2)
            enlarged = nn.functional.interpolate(images, scale_factor=2.0)
            return (enlarged + 0.1 * large).clamp(0, 1)

    return Network().to(device).requires_grad_(False)


def check_out_of_memory(setup: Setup, report: Report) -> None:
    """A cap on the device's memory that two images fit: the batch halves, and the run finishes."""
    from filmgate.core.events import Replanned, Started

    trial, wanted = MemoryTrial.create(setup), list[Any]()
    with report.check("without a cap", "measured") as found:
        events, wanted = trial.run("one", 1)
        trial.stages = next(len(event.stages) for event in events if isinstance(event, Started))
        for batch in (FITS, 2 * FITS):
            _, frames = trial.run(f"free{batch}", batch)
            assert measure_difference(frames, wanted)[0] <= 1, "law 4"
        found["reserved_mb"] = {batch: round(peak / 1e6) for batch, peak in trial.peaks.items()}
    with report.check("a cap: the batch halves") as found:
        with trial.use_cap():
            events, frames = trial.run("capped", 8)
        found["cap_mb"] = round(trial.cap / 1e6)
        found["reserved_mb"] = round(trial.peaks.get(8, 0) / 1e6)
        replanned = [event for event in events if isinstance(event, Replanned)]
        found["batches"] = [event.batch for event in replanned]
        found["why"] = replanned[-1].why[:200] if replanned else ""
        assert found["batches"], "nothing ran out of memory"
        found["codes"], _ = measure_difference(frames, wanted)
        assert found["codes"] <= 1, f"an image differs by {found['codes']:g} codes"
    with report.check("--vram: the plan keeps it") as found:
        if setup.dry:
            raise Skipped("there is no memory of a device to measure")
        vram = trial.cap // 10**6
        _, frames = trial.run("planned", 0, vram=f"{vram}MB")
        found["vram_mb"], found["reserved_mb"] = vram, round(trial.peaks[0] / 1e6)
        assert trial.peaks[0] <= trial.cap, "the run reserved more"
        assert measure_difference(frames, wanted)[0] <= 1, "law 4"


# --- processes ------------------------------------------------------------------------------------


def check_worker(setup: Setup, report: Report) -> None:
    """A run in a worker that is killed before each second commit: the bits of the inline run."""
    import filmgate as fg
    from filmgate.core.events import Died, Done

    task = fg.Upscale(device=setup.device)
    # dry, it is killed once: each worker takes seconds of a CPU to import torch
    count, deaths = (24, 1) if setup.dry else (FRAMES, 2)
    source = make_source(setup, count)
    plan, wanted = setup.make_plan(chunk=8, segment_frames=16), list[Any]()
    with report.check("in this process") as found:
        list(run_job(task, source, setup.folder / "inline.mkv", plan=plan))
        wanted = read_planes(setup.folder / "inline.mkv")
        found["frames"] = len(wanted)
        assert len(wanted) == count
    with report.check("in a worker that is killed before each second commit") as found:
        os.environ["FILMGATE_FAULT"] = "encode.before_commit=kill@2"
        try:
            result = setup.folder / "worker.mkv"
            events = list(run_job(task, source, result, plan=plan, worker=True))
        finally:
            del os.environ["FILMGATE_FAULT"]
        found["deaths"] = sum(isinstance(event, Died) for event in events)
        assert found["deaths"] == deaths, f"the worker was not killed {deaths} times"
        assert isinstance(events[-1], Done)
        frames = read_planes(result)
        assert measure_difference(frames, wanted) == (0, 0), "laws 8 and 9: other frames"


def check_doctor(setup: Setup, report: Report) -> None:
    """What `filmgate doctor` says about this machine."""
    with report.check("filmgate doctor") as found:
        result = subprocess.run(
            [sys.executable, "-m", "filmgate", "doctor", "--json"],
            cwd=setup.folder, capture_output=True, text=True, check=False, timeout=50,
        )  # fmt: skip
        assert result.stdout.startswith("["), result.stderr[-400:]
        items = {item["name"]: item for item in json.loads(result.stdout)}
        found["items"] = {name: item["found"] for name, item in items.items()}
        assert items["GPU"]["ok"] or setup.dry, f"no GPU: {items['GPU']['found']}"
        missing = explain_missing(COMMANDS)
        assert result.returncode == 0 or missing, f"doctor returned {result.returncode}"
