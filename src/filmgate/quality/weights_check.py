"""Try published weights: check their tensors, process 16 frames, return a report to send."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from filmgate.backends.inline import iter_frames
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.core.stage import AnyStage
from filmgate.errors import BadWeights, FilmgateError
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.quality.metrics.psnr_ssim import psnr
from filmgate.storage.fingerprint import ProgressCallback, ignore_progress
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.job_config import fill_task
from filmgate.weights.definitions import Weights
from filmgate.weights.state_dict import TensorMismatch, load_tensors
from filmgate.weights.store import WeightsStore, to_dict

FRAMES, SIDE, STEP = 16, 256, 8  # STEP: pixels of luma that the texture moves in a frame
TrialReport = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SlidingTexture:
    """A video in memory of one sliding texture, so that the frame at any time is known."""

    spec: StreamSpec = StreamSpec(
        width=SIDE,
        height=SIDE,
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        pixels="yuv420p",
        colour=ColorTags(matrix="bt709", range="tv"),
        frames=FRAMES,
    )
    metadata: SourceMetadata = SourceMetadata()

    @contextmanager
    def open(self, threads: int | None = None) -> Iterator[SlidingTexture]:
        """Return the video itself."""
        yield self

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return no stages."""
        return ()

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Yield chunks that end at multiples of `size`, each with the cursor after it."""
        tick, start = self.spec.time_base, cursor.index if cursor else 0
        while start < FRAMES:
            end = min(FRAMES, start + size - start % size)
            yield (
                [Frame(n, n * tick, tick, self.image_at(Fraction(n))) for n in range(start, end)],
                Cursor(end, end),
            )
            start = end

    def image_at(self, at: Fraction) -> Planes:
        """Return the image `at` frames after the first, exact at halves too."""
        arrays = []
        for k in range(3):
            side, step = (SIDE, STEP) if k == 0 else (SIDE // 2, STEP // 2)
            texture = _make_texture(k, side, side + FRAMES * step)
            left = int(at * step)
            arrays.append(np.ascontiguousarray(texture[:, left : left + side]))
        return Planes(tuple(arrays), self.spec.pixels, self.spec.colour)


def try_weights(
    weights: Weights,
    store: WeightsStore,
    path: Path | None = None,
    on_progress: ProgressCallback = ignore_progress,
) -> TrialReport:
    """Try a weights file and return the report as plain values; `ok` is the verdict.

    Interpolated frames must be closer to the true ones than the mean of their neighbours. The
    report holds no paths of this machine. Raises BadWeights if the file is missing or damaged.
    """
    path = store.verify(weights, path, on_progress=on_progress)
    report: TrialReport = {
        "weights": to_dict(weights),
        "file": {"name": path.name, "size_bytes": path.stat().st_size,
                 "sha256": store.sha256(path, on_progress=on_progress)},
        "machine": describe_machine(),
    }  # fmt: skip
    report["tensors"] = _check_tensors(weights, path)
    report["run"] = _run_task(weights, path) if report["tensors"]["ok"] else {"ok": False}
    return {"ok": report["tensors"]["ok"] and report["run"]["ok"], **report}


def _check_tensors(weights: Weights, path: Path) -> TrialReport:
    try:
        found = load_tensors(path)
    except BadWeights as error:
        return {"ok": False, "why": str(error).replace(str(path), path.name)}
    wanted = registry.get_tensor_shapes(weights)
    names = {name: [str(t.dtype).removeprefix("torch."), *t.shape] for name, t in found.items()}
    not_finite = [name for name, t in found.items() if not bool(t.isfinite().all())]
    report = {"ok": not not_finite, "count": len(found), "not_finite": not_finite, "names": names}
    if wanted and (different := TensorMismatch.compare(found, wanted)):
        return {**report, "ok": False, "why": str(different),
                "missing": different.missing, "unexpected": different.unexpected,
                "misshapen": different.wrong_shapes}  # fmt: skip
    return report


def _run_task(weights: Weights, path: Path) -> TrialReport:
    if weights.family not in registry.list_interpolators():
        return {"ok": False, "why": f"no task runs the family {weights.family}"}
    settings = {"model": weights.family, "weights": path}
    task = fill_task(Interpolate, settings, weights.family)
    video, start = SlidingTexture(), perf_counter()
    try:
        outputs = list(iter_frames(video, (task,)))
    except (FilmgateError, RuntimeError) as error:
        return {
            "ok": False,
            "why": f"{type(error).__name__}: {error}".replace(str(path), path.name),
        }
    seconds = perf_counter() - start
    between = [frame for frame in outputs if frame.index % 2 and frame.index < 2 * FRAMES - 1]
    results, means = [], []
    for frame in between:
        assert isinstance(frame.image, Planes)
        at = Fraction(frame.index, 2)
        truth = video.image_at(at).arrays[0]
        ends = [video.image_at(at + part).arrays[0].astype(np.uint16)
                for part in (Fraction(-1, 2), Fraction(1, 2))]  # fmt: skip
        results.append(psnr(frame.image.arrays[0], truth))
        means.append(psnr(((ends[0] + ends[1] + 1) // 2).astype(np.uint8), truth))
    complete = (len(outputs), len(between)) == (2 * FRAMES, FRAMES - 1)
    return {
        "ok": complete and min(results, default=0.0) > max(means, default=0.0),
        "frames_in": FRAMES,
        "frames_out": len(outputs),
        "seconds": round(seconds, 3),
        "psnr_db": {
            "mean": _round_db(fmean(results or [0])),
            "least": _round_db(min(results, default=0)),
        },
        "psnr_db_of_the_mean_of_two": _round_db(fmean(means or [0])),
    }


@lru_cache(maxsize=3)
def _make_texture(seed: int, height: int, width: int) -> Any:
    """Return noise at several scales, smooth enough for every model and not periodic."""
    rng, total = np.random.default_rng(seed), np.zeros((height, width))
    for size in (8, 16, 32):
        coarse = rng.normal(size=(height // size + 3, width // size + 3)) * size
        large = cv2.resize(coarse, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
        total += large[size : size + height, size : size + width]
    low, peak = total.min(), total.max()
    return np.round(24 + (total - low) / (peak - low) * 200).astype(np.uint8)


def _round_db(value: float) -> float:
    return round(min(value, 200.0), 2)  # JSON has no infinity


def describe_machine() -> TrialReport:
    """Return versions, processor and GPUs of this machine."""
    import torch

    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {"filmgate": version("filmgate"), "python": platform.python_version(),
            "torch": torch.__version__, "system": sys.platform, "processor": platform.machine(),
            "gpus": gpus}  # fmt: skip
