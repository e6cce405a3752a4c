"""Follow people through a long video: all of it in memory, in chunks of 100 frames, as a stream.

The three ways use the same boxes, of a file, and the same tracker; each is a process of its own.
"all" keeps every frame and every record until the end, as programs of research do. "chunks" is the
remedy that their users are given: each chunk is a video of its own. "stream" is `filmgate track`.
Numbers that change within a person are counted against the true ones.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from _common import write_result

ROOT = Path(__file__).parents[1]
CHUNK, LIMIT = 100, 4 << 30  # frames; bytes that "longest video" may take
FLAT = 200.0  # bytes a frame: less than the resolution of the measurement over thousands of frames
WAYS = ("all", "chunks", "stream")


@dataclass
class Measurement:
    """Frames done and resident bytes then, over the run; the seconds of the run."""

    frames: list[int]
    resident: list[int]
    seconds: float


def make_scene(folder: Path, count: int) -> None:
    """Write a video of six people who cross each other, their boxes, and the truth."""
    sys.path.append(str(ROOT))
    from tests.models.people import figures

    def pace(speed: float, place: float, y: float) -> figures.Figure:
        """Someone who walks to and fro over the width of the image."""

        def find(n: int) -> tuple[float, float]:
            way = (place + speed * n) % 280
            return 10 + (way if way < 140 else 280 - way), y

        return figures.Figure(find)

    people = [pace(0.7 + 0.3 * k, 45.0 * k, 22 + 9.0 * k) for k in range(6)]
    figures.write_video(people, count, folder / "in.mkv")
    figures.write_sidecar(people, count, folder / "boxes.jsonl")
    with open(folder / "truth.jsonl", "w", encoding="utf-8") as file:
        for n in range(count):
            for k, box in figures.list_truth(people, n).items():
                file.write(json.dumps({"frame": n, "id": k + 1, "box": box}) + "\n")


def run_way(way: str, folder: Path) -> Measurement:
    """Follow the people in one of the ways; the records are in OUT-WAY.jsonl."""
    start, out = perf_counter(), folder / f"out-{way}.jsonl"
    measured = _run_stream(folder, out) if way == "stream" else _run_held(folder, out, way)
    return Measurement(*measured, perf_counter() - start)


def _run_stream(folder: Path, out: Path) -> tuple[list[int], list[int]]:
    import filmgate as fg
    from filmgate.media.records.record_file import RecordFile
    from filmgate.media.sinks import RecordOutput
    from filmgate.tasks.track import Track

    task = Track(boxes=RecordFile(folder / "boxes.jsonl"))
    job = fg.Job(fg.VideoFile(folder / "in.mkv"), RecordOutput(out), (task,))
    seen = [
        (event.read, event.resident_bytes)
        for event in fg.events(job)
        if isinstance(event, fg.Progress)
    ]
    return [frame for frame, _ in seen], [held for _, held in seen]


def _run_held(folder: Path, out: Path, way: str) -> tuple[list[int], list[int]]:
    """Read all frames, or a chunk of them, then follow the people in them, then write."""
    import psutil

    from filmgate.media.records.box_reader import read_boxes

    table, process = read_boxes(folder / "boxes.jsonl"), psutil.Process()
    records, numbers, frames, resident = list[str](), 0, list[int](), list[int]()
    length = CHUNK if way == "chunks" else sys.maxsize
    done, reader = 0, _iter_images(folder / "in.mkv")
    while True:
        images = list[Any]()
        for image in reader:
            images.append(image)
            if (done + len(images)) % 50 == 0:
                frames.append(done + len(images))
                resident.append(process.memory_info().rss)
            if len(images) == length:
                break
        if not images:
            break
        lines, numbers = _follow(images, table, done, numbers)
        records += lines
        frames.append(done + len(images))
        resident.append(process.memory_info().rss)
        done += len(images)
        if way == "chunks":
            with open(out, "a", encoding="utf-8") as file:
                file.writelines(records)
            records = []
    with open(out, "a", encoding="utf-8") as file:
        file.writelines(records)
    return frames, resident


def _iter_images(path: Path) -> Iterator[Any]:
    import av

    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def _follow(
    images: Sequence[npt.NDArray[np.uint8]], table: Any, first: int, numbers: int
) -> tuple[list[str], int]:
    """Return the records of consecutive frames, and the largest number so far."""
    from fractions import Fraction

    from filmgate.core.frame import Frame, Position, StreamSpec
    from filmgate.device.placement import Placement
    from filmgate.media.pixels.planes import Planes
    from filmgate.models.people.following import Associate, Finish, add_boxes
    from filmgate.models.registry import build_person_tracker

    height, width = images[0].shape[:2]
    spec = StreamSpec(width=width, height=height, rate=Fraction(25), time_base=Fraction(1, 25),
                      pixels="gbrp")  # fmt: skip
    tracker = build_person_tracker("bytetrack", None, Placement())
    associate, finish = Associate(tracker), Finish(tracker.delay)
    place = Position(first, Fraction(first, 25))
    state, waiting = associate.start(spec, place), finish.start(spec, place)
    lines, largest = list[str](), numbers
    for n in range(len(images) + 1):
        if n < len(images):
            image = Planes(tuple(images[n][..., c] for c in (1, 2, 0)), "gbrp")
            frame = Frame(first + n, Fraction(first + n, 25), Fraction(1, 25), image)
            state, outputs = associate.step(state, add_boxes(table, [frame]))
            waiting, outputs = finish.step(waiting, outputs)
        else:
            _, outputs = finish.finish(waiting)
        for output in outputs:
            for record in output.extras["records"]:  # type: ignore[attr-defined]
                largest = max(largest, numbers + record["id"])
                line = {"frame": output.index, **record, "id": numbers + record["id"]}
                lines.append(json.dumps(line) + "\n")
    return lines, largest


def summarize(way: str, folder: Path, measured: Measurement, count: int) -> dict[str, Any]:
    """Return the row of one way."""
    from filmgate.quality.metrics.tracking import compare_tracks

    scores = compare_tracks(folder / "truth.jsonl", folder / f"out-{way}.jsonl")
    skipped = len(measured.frames) // 5
    frames = np.array(measured.frames[skipped:], np.float64)
    held = np.array(measured.resident[skipped:], np.float64)
    growth = float(np.polyfit(frames, held, 1)[0])
    fixed = float(np.median(held - growth * frames)) if growth >= FLAT else float(held.max())
    longest = int((LIMIT - fixed) / growth) if growth >= FLAT else None
    return {
        "peak_mb": round(max(measured.resident) / 1e6, 1),
        "bytes_per_frame": round(growth),
        "numbers_broken": scores.switches,
        "idf1": round(scores.idf1 or 0, 3),
        "longest_in_4_gib": "any" if longest is None else f"{longest:,} frames",
        "frames_per_second": round(count / measured.seconds, 1),
    }


def draw(measured: dict[str, Measurement], path: Path) -> None:
    """Draw resident memory over frames."""
    from filmgate.quality.report.plot import Curve, draw_plot

    curves = [
        Curve(way, np.array(one.frames, np.float64), np.array(one.resident, np.float64) / 1e6)
        for way, one in measured.items()
    ]
    plot = draw_plot(curves, title="Resident memory while people are followed",
                     x_name="frames", y_name="MB", low=0.0, size=(960, 240))  # fmt: skip
    plot.save(path, lossless=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(asdict(run_way(options.way, options.folder))))
        return
    measured: dict[str, Measurement] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_scene(folder, options.frames)
        for way in WAYS:
            command = [sys.executable, __file__, "--way", way, "--folder", place]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            measured[way] = Measurement(**json.loads(done.stdout.splitlines()[-1]))
        rows = {way: summarize(way, folder, measured[way], options.frames) for way in WAYS}
    draw(measured, ROOT / "docs" / "img" / "track_memory.webp")
    result = {
        "question": "what does following people through a long video take?",
        "video": f"160x90, {options.frames} frames, six people, boxes from a file",
        "runs": rows,
        "resident_mb": {
            way: [(frame, round(held / 1e6, 1)) for frame, held in
                  zip(one.frames, one.resident, strict=True)][:: max(1, len(one.frames) // 100)]
            for way, one in measured.items()
        },
    }  # fmt: skip
    print(write_result("track_memory", result).read_text())


if __name__ == "__main__":
    main()
