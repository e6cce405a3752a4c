"""Does the seam meter tell seams from none? One recurrent model, run over three films in five ways.

The model is a denoiser whose memory takes a dozen frames to settle; the films get grain first. In
batches it starts cold at each, every 16 frames; a stream carries its memory on, as bytes, at the
same places. Each result is encoded as the product does it, h264 at crf 18, and read again.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from _film import CLIPS, clips, write_result

from filmgate.core.serialization import dumps, loads
from filmgate.media.sources import VideoFile
from filmgate.quality.metrics.motion_residual import luma
from filmgate.quality.report.plot import Line, plot, stacked
from filmgate.quality.seams.score import Seams, highest, judged, measured, scores

LENGTH, OVERLAP = 16, 4
SETTLED = 12  # frames
GRAIN = 6.0  # levels
Picture = npt.NDArray[np.float32]  # (rows, columns), 8-bit levels
State = tuple[Any, ...]  # (mean, frames seen), or nothing
IMG = Path(__file__).parents[1] / "docs" / "img" / "seams.webp"


def step(state: State, picture: Picture) -> tuple[State, Picture]:
    """A mean of all frames so far, let go of where something moves."""
    if not state:
        return (picture, 1), picture
    mean, seen = state[0], min(state[1] + 1, SETTLED)
    moved = np.abs(cv2.blur(picture - mean, (9, 9)))
    share = np.maximum(1 / seen, np.clip(moved / 4 - 0.5, 0, 1))
    mean = np.asarray(mean + share * (picture - mean), np.float32)
    return (mean, seen), mean


def run(state: State, pictures: Iterable[Picture]) -> Iterator[Picture]:
    for picture in pictures:
        state, made = step(state, picture)
        yield made


def independent(video: list[Picture]) -> Iterator[Picture]:
    """Each batch from nothing."""
    for at in range(0, len(video), LENGTH):
        yield from run((), video[at : at + LENGTH])


def overlapped(video: list[Picture]) -> Iterator[Picture]:
    """Each batch begins earlier, and what it makes of that is thrown away."""
    for at in range(0, len(video), LENGTH):
        early = max(0, at - OVERLAP)
        yield from islice(run((), video[early : at + LENGTH]), at - early, None)


def crossfaded(video: list[Picture]) -> Iterator[Picture]:
    """Each batch goes on for longer, and fades into the next."""
    tail: list[Picture] = []
    for at in range(0, len(video), LENGTH):
        made = list(run((), video[at : at + LENGTH + OVERLAP]))
        for k, (old, new) in enumerate(zip(tail, made, strict=False), 1):
            share = k / (OVERLAP + 1)
            made[k - 1] = np.asarray((1 - share) * old + share * new, np.float32)
        yield from made[:LENGTH]
        tail = made[LENGTH:]


def ours(video: list[Picture]) -> Iterator[Picture]:
    """Each batch goes on from what the one before it remembered, which has been bytes."""
    state: State = ()
    for at in range(0, len(video), LENGTH):
        state = loads(dumps(state))
        for picture in video[at : at + LENGTH]:
            state, made = step(state, picture)
            yield made


def untouched(video: list[Picture]) -> Iterator[Picture]:
    """The film with its grain: no model at all."""
    yield from video


WAYS: dict[str, Callable[[list[Picture]], Iterator[Picture]]] = {
    "independent batches": independent,
    "overlapped batches": overlapped,
    "crossfaded batches": crossfaded,
    "ours, a stream": ours,
    "no model": untouched,
}


def grainy(path: Path, count: int) -> list[Picture]:
    """The luma of a film at half size or less, under grain that each frame has for itself."""
    found = []
    with VideoFile(path, frames=count).open() as video:
        for frames, _ in video.read(None, 16):
            for frame in frames:
                whole = luma(frame)
                scale = min(1.0, 640 / max(whole.shape))
                size = [2 * round(n * scale / 2) for n in whole.shape[::-1]]
                small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA)
                grain = np.random.default_rng(frame.index).normal(0, GRAIN, small.shape)
                found.append(np.asarray(small + grain, np.float32))
    return found


def toy(count: int) -> list[Picture]:
    """A still texture, a square that slides over it, and grain."""
    chance = np.random.default_rng(1)
    base = cv2.GaussianBlur(chance.normal(0, 150, (192, 320)).astype(np.float32), (0, 0), 1.5) + 120
    found = []
    for i in range(count):
        picture = base + chance.normal(0, GRAIN, base.shape)
        left = 20 + i % 240
        picture[60:110, left : left + 50] = base[10:60, 100:150] * 0.7 + 40
        found.append(np.asarray(picture, np.float32))
    return found


def encoded(pictures: Iterable[Picture], path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "18"})
        for i, picture in enumerate(pictures):
            whole = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
            if i == 0:
                stream.height, stream.width = whole.shape
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(whole, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def looked_at(path: Path) -> tuple[Seams, Any]:
    with VideoFile(path).open() as video:
        signals = measured(video.spec, (frames for frames, _ in video.read(None, 16)))
    return judged(path, signals, [LENGTH]), highest(scores(signals))


def row(found: Seams) -> dict[str, Any]:
    at = found.given[0]
    jumps = [period for period in (found.found, at) if period and period.jumps]
    return {
        "verdict": "none" if found.ok else "jumps" if jumps else "breathes",
        "period found": found.found.frames if found.found else "none",
        "score at boundaries": round(at.score, 1),
        "by chance": f"{at.chance:.0e}",
        "breathing": f"{at.depth:.1%}" if at.breathes else "none",
        "alike": round(at.breath, 2),
        "worst frame": round(found.worst[0].score, 1) if found.worst else 0.0,
    }


def alarms(path: Path, count: int) -> dict[str, Any]:
    """What the meter says of a film that no model has seen, at every period from 8 to 64."""
    with VideoFile(path, frames=count).open() as video:
        signals = measured(video.spec, (frames for frames, _ in video.read(None, 16)))
    asked = [n for n in range(8, 65) if n <= len(signals.times) // 2]
    found = judged(path, signals, asked)
    return {
        "frames": found.frames,
        "worst frame": round(found.worst[0].score, 1) if found.worst else 0.0,
        "period found": found.found.frames if found.found else "none",
        "periods asked": len(asked),
        "said to jump": sum(period.jumps for period in found.given),
        "said to breathe": sum(period.breathes and not period.jumps for period in found.given),
    }


def drawn(curves: dict[str, Any]) -> None:
    """The scores of one clip over its frames, a panel for each way."""
    top = max(float(np.nanmax(curve)) for curve in curves.values())
    panels = [
        plot(
            [Line(name, np.arange(len(curve), dtype=float), curve)],
            title=name,
            low=0,
            high=top,
            size=(860, 120),
        )
        for name, curve in curves.items()
    ]
    stacked(panels).save(IMG, quality=80)


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--frames", type=int, default=200, help="of each film, at most")
    options = wanted.parse_args()
    rows = dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        videos = {"toy": toy(options.frames)}
        for clip in clips("ls_demo1", "sam2_bedroom"):
            videos[clip.stem] = grainy(clip, options.frames)
        for title, video in videos.items():
            curves = dict[str, Any]()
            for name, way in WAYS.items():
                found, curve = looked_at(encoded(way(video), there / "out.mp4"))
                rows[f"{title}: {name}"], curves[name] = row(found), curve
                print(f"{title:14}{name:22}", *row(found).items(), flush=True)
            if title == "ls_demo1":
                drawn(curves)
    clean = {}
    for clip in sorted(CLIPS.glob("*.mp4")):
        clean[clip.stem] = alarms(clip, 2 * options.frames)
        print(f"{clip.stem:14}", *clean[clip.stem].items(), flush=True)
    result = {
        "question": "does the seam meter tell seams from none?",
        "batch": LENGTH,
        "overlap": OVERLAP,
        "rows": rows,
        "clean": clean,
    }
    print(write_result("seams", result))


if __name__ == "__main__":
    main()
