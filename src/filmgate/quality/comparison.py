"""Two films beside each other: how far apart they are, frame by frame, matched by time."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import ImageSequence, VideoFile, VideoPipe
from filmgate.quality.metrics import lpips, vmaf
from filmgate.quality.metrics.motion_residual import Luma, flow, luma, small, warped, with_cuts
from filmgate.quality.metrics.psnr_ssim import ssim
from filmgate.quality.report.html import figure, page, table, write
from filmgate.quality.report.plot import Line, plot, stacked
from filmgate.tasks.job_config import source_from

BEST_DB = 100.0  # what equal pictures count as
UNITS = MappingProxyType(
    {
        "psnr": "dB of the first plane, equal pictures 100",
        "ssim": "of the first plane, at most 1",
        "tof": "pixels between both motions, on pictures of 480",
        "warping": "levels that motion leaves over in B, less A's: above 0 it flickers more",
        "lpips": "distance of features, 0 the same",
        "vmaf": "0 to 100",
    }
)
_MORE_IS_BETTER = ("psnr", "ssim", "vmaf")
_SMALLEST = 11  # pixels of a side, of SSIM's window

Small = tuple[Luma, Luma]  # of both films


@dataclass(frozen=True, slots=True)
class Metric:
    """One measure: its mean over the film, and where it is worst (number of the pair, seconds)."""

    name: str
    unit: str
    mean: float
    worst: float
    frame: int
    time: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two films, compared. `alone_a`, `alone_b`: frames without one at their time in the other.

    `times` (seconds of A) and `values` by measure: one for each pair; not a number where there is
    none, as for motion on the first frame of a shot. `left_out`: measures, and why.
    """

    a: Path
    b: Path
    pairs: int
    alone_a: int
    alone_b: int
    metrics: tuple[Metric, ...]
    left_out: dict[str, str]
    times: npt.NDArray[np.float64]
    values: dict[str, npt.NDArray[np.float64]]


def compare_films(a: Path, b: Path) -> Comparison:
    """Reads both in step; frames are a pair if their times are less than half a frame apart.

    Raises BadInput, Unsupported; BadSetting if sizes differ or no two frames share a time.
    """
    asked = {"vmaf": vmaf.no_vmaf(), "lpips": lpips.no_lpips()}
    left_out = {name: why for name, why in asked.items() if why}
    distance = None if "lpips" in left_out else lpips.lpips()
    alone, rows, times = [0, 0], dict[str, list[float]](), list[float]()
    before: Small | None = None
    with _source(a).open() as one, _source(b).open() as two:
        _alike(a, b, one.spec, two.spec)
        videos = (with_cuts(x.spec, (frames for frames, _ in x.read(None, 8))) for x in (one, two))
        for x, y in _matched(*videos):
            if x is None or y is None:
                alone[x is None] += 1
                continue
            found, before = _pair(x, y, None if _cut(x) or _cut(y) else before)
            if distance is not None:
                assert isinstance(x.image, Planes)
                assert isinstance(y.image, Planes)
                found["lpips"] = distance(x.image, y.image)
            times.append(float(x.time))
            for name, value in found.items():
                rows.setdefault(name, []).append(value)
    if not times:
        raise BadSetting(f"no frame of {b} is shown when one of {a} is: nothing can be compared")
    values = {name: np.array(row) for name, row in rows.items()}
    if "vmaf" not in left_out:
        if any(alone) or a.is_dir() or b.is_dir():
            left_out["vmaf"] = "both films must be files with all frames at the same times"
        else:
            values["vmaf"] = vmaf.vmaf(a, b)[: len(times)]
    metrics = tuple(_metric(name, values[name], times) for name in UNITS if name in values)
    return Comparison(
        a, b, len(times), alone[0], alone[1], metrics, left_out, np.array(times), values
    )


def comparison_page(found: Comparison, report: Path) -> Path:
    """Writes the page `report` with its plot beside it."""
    if report.suffix.lower() not in (".html", ".htm"):
        raise BadSetting(f"report is {report}: wanted a name that ends in .html")
    drawn = stacked([
        plot([Line(m.name, found.times[: len(found.values[m.name])], found.values[m.name])],
             title=f"{m.name}: {m.unit}", marks=[m.time], size=(960, 150))
        for m in found.metrics
    ])  # fmt: skip
    rows = [
        (m.name, f"{m.mean:.4g}", f"{m.worst:.4g}", f"frame {m.frame}, {m.time:.3f} s", m.unit)
        for m in found.metrics
    ]
    parts = [
        table(("", "mean", "worst", "where", "what"), rows),
        table(("left out", "why"), found.left_out.items()) if found.left_out else "",
        figure(drawn, "Over seconds; upright: the worst frame"),
    ]
    words = f"{found.pairs} pairs of frames; {alone_words(found)}"
    html = page(f"{found.b.name} beside {found.a.name}", words, None, parts)
    return write(report, html, drawn)[0]


def alone_words(found: Comparison) -> str:
    """How many frames have no other, in words."""
    if not found.alone_a and not found.alone_b:
        return "none stands alone"
    return f"alone stand {found.alone_a} of A and {found.alone_b} of B"


def _source(path: Path) -> VideoFile | ImageSequence:
    source = source_from({"path": path})
    if isinstance(source, VideoPipe):
        raise BadSetting("films are compared that lie on disk: name two files")
    return source


def _alike(a: Path, b: Path, one: StreamSpec, two: StreamSpec) -> None:
    if (one.width, one.height) != (two.width, two.height):
        raise BadSetting(
            f"{a} is {one.width}x{one.height} and {b} is {two.width}x{two.height}: films that are "
            "compared have one size"
        )
    if one.pixels.startswith("gbr") != two.pixels.startswith("gbr"):
        raise BadSetting(
            f"{a} is {one.pixels} and {b} is {two.pixels}: the first plane of one is green and of "
            "the other luma; convert one with --pix-fmt"
        )
    if min(one.width, one.height) < _SMALLEST:
        raise BadSetting(f"{a} is {one.width}x{one.height}: SSIM wants {_SMALLEST} pixels a side")


def _matched(a: Iterator[Frame], b: Iterator[Frame]) -> Iterator[tuple[Frame | None, Frame | None]]:
    """Pairs by time, and frames that have no other."""
    x, y = next(a, None), next(b, None)
    while x is not None or y is not None:
        near = (
            x is not None
            and y is not None
            and abs(x.time - y.time) * 2 < min(x.duration, y.duration)
        )
        first = x is not None and (y is None or x.time < y.time)
        yield (x if near or first else None), (y if near or not first else None)
        x, y = (next(a, None) if near or first else x), (next(b, None) if near or not first else y)


def _cut(frame: Frame) -> bool:
    return bool(frame.extras.get("cut"))


def _pair(x: Frame, y: Frame, before: Small | None) -> tuple[dict[str, float], Small]:
    """Every measure of two frames, and what the next pair needs of them."""
    a, b = luma(x), luma(y)
    now = small(a), small(b)
    error = float(np.mean(np.square(a - b, dtype=np.float64)))
    found = {
        "psnr": min(BEST_DB, 10 * float(np.log10(255 * 255 / error))) if error else BEST_DB,
        "ssim": ssim(a, b),
        "tof": float("nan"),
        "warping": float("nan"),
    }
    if before is not None:
        fields = [flow(old, new) for old, new in zip(before, now, strict=True)]
        # the field has pixels of half that size
        found["tof"] = 2 * float(np.linalg.norm(fields[0] - fields[1], axis=-1).mean())
        # both are moved as A moves: B's own motion would follow its mistakes
        left = [float(np.abs(new - warped(old, fields[0])).mean())
                for old, new in zip(before, now, strict=True)]  # fmt: skip
        found["warping"] = left[1] - left[0]
    return found, now


def _metric(name: str, values: npt.NDArray[np.float64], times: list[float]) -> Metric:
    told = np.flatnonzero(~np.isnan(values))
    if not len(told):
        return Metric(name, UNITS[name], float("nan"), float("nan"), 0, times[0])
    worst = np.argmin if name in _MORE_IS_BETTER else np.argmax
    at = int(told[worst(values[told])])
    mean = float(values[told].mean())
    return Metric(name, UNITS[name], mean, float(values[at]), at, times[at])
