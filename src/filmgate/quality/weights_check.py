"""Trying weights: the tensors of the real file, 16 frames through the task, a report to send."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from filmgate.backends.inline import frames as made_of
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.core.stage import AnyStage
from filmgate.errors import BadWeights, FilmgateError
from filmgate.media.pixels.planes import Planes
from filmgate.models import registry
from filmgate.quality.metrics.psnr_ssim import psnr
from filmgate.storage.fingerprint import Tell, nobody
from filmgate.tasks.interpolate import Interpolate
from filmgate.weights.definitions import Weights
from filmgate.weights.state_dict import Difference, tensors
from filmgate.weights.store import WeightsStore, plain

FRAMES, SIDE, STEP = 16, 256, 8  # pixels of luma that the picture slides in a frame
Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Slide:
    """A film made in memory: one texture slides, so what stands between two frames is known."""

    spec: StreamSpec = StreamSpec(
        width=SIDE,
        height=SIDE,
        rate=Fraction(25),
        time_base=Fraction(1, 25),
        pixels="yuv420p",
        colour=ColorTags(matrix="bt709", range="tv"),
        frames=FRAMES,
    )

    @contextmanager
    def open(self, threads: int | None = None) -> Iterator[Slide]:
        """Nothing has to be opened."""
        yield self

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Nothing is done to it."""
        return ()

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Chunks that end at multiples of `size`, each with the place after it."""
        tick, here = self.spec.time_base, cursor.index if cursor else 0
        while here < FRAMES:
            end = min(FRAMES, here + size - here % size)
            yield (
                [Frame(n, n * tick, tick, self.picture(Fraction(n))) for n in range(here, end)],
                Cursor(end, end),
            )
            here = end

    def picture(self, at: Fraction) -> Planes:
        """What is seen `at` frames after the first; half-way is exact."""
        arrays = []
        for k in range(3):
            side, step = (SIDE, STEP) if k == 0 else (SIDE // 2, STEP // 2)
            wide = _texture(k, side, side + FRAMES * step)
            begin = int(at * step)
            arrays.append(np.ascontiguousarray(wide[:, begin : begin + side]))
        return Planes(tuple(arrays), self.spec.pixels, self.spec.colour)


def trial(
    weights: Weights, shelf: WeightsStore, given: Path | None = None, tell: Tell = nobody
) -> Report:
    """What came of trying the real file; `ok` is the verdict. It tells no path of this machine.

    The picture between two frames must come closer to the true one than their mean does. Raises
    BadWeights where the file is not here or damaged.
    """
    path = shelf.verified(weights, given, tell=tell)
    report: Report = {
        "weights": plain(weights),
        "file": {"name": path.name, "size_bytes": path.stat().st_size,
                 "sha256": shelf.sha256(path, tell=tell)},
        "machine": _machine(),
    }  # fmt: skip
    report["tensors"] = _tensors(weights, path)
    report["run"] = _run(weights, path) if report["tensors"]["ok"] else {"ok": False}
    return {"ok": report["tensors"]["ok"] and report["run"]["ok"], **report}


def _tensors(weights: Weights, path: Path) -> Report:
    try:
        found = tensors(path)
    except BadWeights as error:
        return {"ok": False, "why": str(error).replace(str(path), path.name)}
    wanted = registry.shapes(weights)
    names = {name: [str(t.dtype).removeprefix("torch."), *t.shape] for name, t in found.items()}
    unsound = [name for name, t in found.items() if not bool(t.isfinite().all())]
    report = {"ok": not unsound, "count": len(found), "not_finite": unsound, "names": names}
    if wanted and (different := Difference.of(found, wanted)):
        return {**report, "ok": False, "why": str(different),
                "missing": different.missing, "unexpected": different.unexpected,
                "misshapen": different.misshapen}  # fmt: skip
    return report


def _run(weights: Weights, path: Path) -> Report:
    if weights.family not in registry.interpolators():
        return {"ok": False, "why": f"no task runs the family {weights.family} yet"}
    video, began = Slide(), perf_counter()
    try:
        made = list(made_of(video, (Interpolate(model=weights.family, weights=path),)))
    except (FilmgateError, RuntimeError) as error:
        return {
            "ok": False,
            "why": f"{type(error).__name__}: {error}".replace(str(path), path.name),
        }
    seconds = perf_counter() - began
    between = [frame for frame in made if frame.index % 2 and frame.index < 2 * FRAMES - 1]
    found, blended = [], []
    for frame in between:
        assert isinstance(frame.image, Planes)
        at = Fraction(frame.index, 2)
        truth = video.picture(at).arrays[0]
        ends = [video.picture(at + part).arrays[0].astype(np.uint16)
                for part in (Fraction(-1, 2), Fraction(1, 2))]  # fmt: skip
        found.append(psnr(frame.image.arrays[0], truth))
        blended.append(psnr(((ends[0] + ends[1] + 1) // 2).astype(np.uint8), truth))
    counted = (len(made), len(between)) == (2 * FRAMES, FRAMES - 1)
    return {
        "ok": counted and min(found, default=0.0) > max(blended, default=0.0),
        "frames_in": FRAMES,
        "frames_out": len(made),
        "seconds": round(seconds, 3),
        "psnr_db": {"mean": _db(fmean(found or [0])), "least": _db(min(found, default=0))},
        "psnr_db_of_the_mean_of_two": _db(fmean(blended or [0])),
    }


def _texture(seed: int, high: int, wide: int) -> Any:
    """Noise at several sizes, smooth enough for every model and nowhere periodic."""
    chance, total = np.random.default_rng(seed), np.zeros((high, wide))
    for size in (8, 16, 32):
        coarse = chance.normal(size=(high // size + 3, wide // size + 3)) * size
        grown = cv2.resize(coarse, None, fx=size, fy=size, interpolation=cv2.INTER_CUBIC)
        total += grown[size : size + high, size : size + wide]
    low, peak = total.min(), total.max()
    return np.round(24 + (total - low) / (peak - low) * 200).astype(np.uint8)


def _db(value: float) -> float:
    return round(min(value, 200.0), 2)  # JSON holds no infinity


def _machine() -> Report:
    import torch

    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    return {"filmgate": version("filmgate"), "python": platform.python_version(),
            "torch": torch.__version__, "system": sys.platform, "processor": platform.machine(),
            "gpus": gpus}  # fmt: skip
