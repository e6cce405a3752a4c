"""Does the seam check separate seams from none? One recurrent model, run over three videos.

The model is a denoiser whose state takes a dozen frames to settle; grain is added to the videos. In
batches of 16 frames it starts cold at each; as a stream it carries its state on, as bytes, at the
same frames. Each result is encoded as the product does, h264 at crf 18, and read again.
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
from _common import CLIPS, find_clips, write_result

from filmgate.core.serialization import dumps, loads
from filmgate.media.sources import VideoFile
from filmgate.quality.metrics.motion_residual import get_luma
from filmgate.quality.report.plot import Curve, Marks, draw_plot, stack_vertically
from filmgate.quality.seams.report import list_limits
from filmgate.quality.seams.score import (
    SINGLE_THRESHOLD,
    SeamReport,
    compute_scores,
    judge_signals,
    measure_signals,
    take_highest,
)

LENGTH, OVERLAP = 16, 4
SETTLED = 12  # frames
GRAIN = 6.0  # levels
Luma = npt.NDArray[np.float32]  # (rows, columns), 8-bit levels
State = tuple[Any, ...]  # (mean, frames seen), or nothing
PLOT = Path(__file__).parents[1] / "docs" / "img" / "seams.webp"


def step(state: State, image: Luma) -> tuple[State, Luma]:
    """Return the mean of all frames so far, reset where something moves."""
    if not state:
        return (image, 1), image
    mean, count = state[0], min(state[1] + 1, SETTLED)
    moved = np.abs(cv2.blur(image - mean, (9, 9)))
    share = np.maximum(1 / count, np.clip(moved / 4 - 0.5, 0, 1))
    mean = np.asarray(mean + share * (image - mean), np.float32)
    return (mean, count), mean


def run_model(state: State, images: Iterable[Luma]) -> Iterator[Luma]:
    for image in images:
        state, output = step(state, image)
        yield output


def run_batches(video: list[Luma]) -> Iterator[Luma]:
    """Run each batch from an empty state."""
    for at in range(0, len(video), LENGTH):
        yield from run_model((), video[at : at + LENGTH])


def run_overlapped(video: list[Luma]) -> Iterator[Luma]:
    """Start each batch earlier and discard the frames before it."""
    for at in range(0, len(video), LENGTH):
        early = max(0, at - OVERLAP)
        yield from islice(run_model((), video[early : at + LENGTH]), at - early, None)


def run_crossfaded(video: list[Luma]) -> Iterator[Luma]:
    """Run each batch longer and blend it into the next."""
    tail: list[Luma] = []
    for at in range(0, len(video), LENGTH):
        outputs = list(run_model((), video[at : at + LENGTH + OVERLAP]))
        for k, (old, new) in enumerate(zip(tail, outputs, strict=False), 1):
            share = k / (OVERLAP + 1)
            outputs[k - 1] = np.asarray((1 - share) * old + share * new, np.float32)
        yield from outputs[:LENGTH]
        tail = outputs[LENGTH:]


def run_stream(video: list[Luma]) -> Iterator[Luma]:
    """Carry the state from batch to batch, serialized to bytes."""
    state: State = ()
    for at in range(0, len(video), LENGTH):
        state = loads(dumps(state))
        for image in video[at : at + LENGTH]:
            state, output = step(state, image)
            yield output


def run_nothing(video: list[Luma]) -> Iterator[Luma]:
    """Return the video with its grain: no model."""
    yield from video


METHODS: dict[str, Callable[[list[Luma]], Iterator[Luma]]] = {
    "independent batches": run_batches,
    "overlapped batches": run_overlapped,
    "crossfaded batches": run_crossfaded,
    "Filmgate, a stream": run_stream,
    "no model": run_nothing,
}


def read_with_grain(path: Path, count: int) -> list[Luma]:
    """Return the luma of a video at half size or less, with grain added to each frame."""
    found = []
    with VideoFile(path, max_frames=count).open() as video:
        for frames, _ in video.read(None, 16):
            for frame in frames:
                full = get_luma(frame)
                scale = min(1.0, 640 / max(full.shape))
                size = [2 * round(n * scale / 2) for n in full.shape[::-1]]
                small = cv2.resize(full, size, interpolation=cv2.INTER_AREA)
                grain = np.random.default_rng(frame.index).normal(0, GRAIN, small.shape)
                found.append(np.asarray(small + grain, np.float32))
    return found


def make_toy(count: int) -> list[Luma]:
    """Return a static texture with a sliding square and grain."""
    rng = np.random.default_rng(1)
    base = cv2.GaussianBlur(rng.normal(0, 150, (192, 320)).astype(np.float32), (0, 0), 1.5) + 120
    found = []
    for i in range(count):
        image = base + rng.normal(0, GRAIN, base.shape)
        left = 20 + i % 240
        image[60:110, left : left + 50] = base[10:60, 100:150] * 0.7 + 40
        found.append(np.asarray(image, np.float32))
    return found


def encode(images: Iterable[Luma], path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "18"})
        for i, image in enumerate(images):
            full = np.clip(image + 0.5, 0, 255).astype(np.uint8)
            if i == 0:
                stream.height, stream.width = full.shape
                stream.pix_fmt = "yuv420p"
            frame = av.VideoFrame.from_ndarray(full, "gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def check_file(path: Path) -> tuple[SeamReport, Any]:
    with VideoFile(path).open() as video:
        signals = measure_signals(video.spec, (frames for frames, _ in video.read(None, 16)))
    return judge_signals(path, signals, [LENGTH]), take_highest(compute_scores(signals))


def make_row(found: SeamReport) -> dict[str, Any]:
    at = found.given[0]
    jumps = [period for period in (found.found, at) if period and period.jumps]
    return {
        "verdict": "none" if found.ok else "jumps" if jumps else "breathes",
        "period found": found.found.frames if found.found else "none",
        "score at boundaries": round(at.score, 1),
        "p-value": f"{at.p_value:.0e}",
        "breathing": f"{at.depth:.1%}" if at.breathes else "none",
        "similarity": round(at.similarity, 2),
        "worst frame": round(found.worst[0].score, 1) if found.worst else 0.0,
    }


def check_clean_video(path: Path, count: int) -> dict[str, Any]:
    """Check a video that no model has processed, at every period from 8 to 64."""
    with VideoFile(path, max_frames=count).open() as video:
        signals = measure_signals(video.spec, (frames for frames, _ in video.read(None, 16)))
    periods = [n for n in range(8, 65) if n <= len(signals.times) // 2]
    found = judge_signals(path, signals, periods)
    return {
        "frames": found.frames,
        "worst frame": round(found.worst[0].score, 1) if found.worst else 0.0,
        "period found": found.found.frames if found.found else "none",
        "periods tested": len(periods),
        "reported jumps": sum(period.jumps for period in found.given),
        "reported breathing": sum(period.breathes and not period.jumps for period in found.given),
    }


def draw_scores(curves: dict[str, Any]) -> None:
    """Plot the scores of one clip over its frames, a panel for each method."""
    length = max(len(curve) for curve in curves.values())
    batches = Marks(f"batch of {LENGTH} starts", [float(n) for n in range(LENGTH, length, LENGTH)])
    panels = [
        draw_plot(
            [Curve("score of the frame", np.arange(len(curve), dtype=float), curve)],
            title=name,
            x_name="frame",
            y_name="score",
            low=0,
            high=1.08 * SINGLE_THRESHOLD,
            limits=list_limits(),
            marks=batches,
            size=(1000, 160),
        )
        for name, curve in curves.items()
    ]
    stack_vertically(panels).save(PLOT, quality=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200, help="frames of each video, at most")
    options = parser.parse_args()
    rows = dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        videos = {"toy": make_toy(options.frames)}
        for clip in find_clips("ls_demo1", "sam2_bedroom"):
            videos[clip.stem] = read_with_grain(clip, options.frames)
        for title, video in videos.items():
            curves = dict[str, Any]()
            for name, method in METHODS.items():
                found, curve = check_file(encode(method(video), work / "out.mp4"))
                rows[f"{title}: {name}"], curves[name] = make_row(found), curve
                print(f"{title:14}{name:22}", *make_row(found).items(), flush=True)
            if title == "ls_demo1":
                draw_scores(curves)
    clean = {}
    for clip in sorted(CLIPS.glob("*.mp4")):
        clean[clip.stem] = check_clean_video(clip, 2 * options.frames)
        print(f"{clip.stem:14}", *clean[clip.stem].items(), flush=True)
    result = {
        "question": "does the seam check separate seams from none?",
        "batch": LENGTH,
        "overlap": OVERLAP,
        "rows": rows,
        "clean": clean,
    }
    print(write_result("seams", result))


if __name__ == "__main__":
    main()
