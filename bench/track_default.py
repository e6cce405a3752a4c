"""Does `track` as it is stay at one memory, and do its results grow as it goes?

The default detector and tracker follow people through a real clip, and through the same people at
320x180 for 7,500 frames (five minutes): the length at which a user's program had died long ago.
Each video is followed in a process of its own, which reports its memory and the bytes of records
on the disk.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
from _common import find_clips, write_result

SMALL, LONG, RATE = (320, 180), 7500, 25
PLOT = Path(__file__).parents[1] / "docs" / "img" / "track_default.webp"


@dataclass
class Measurement:
    """Frames done, resident bytes, and bytes of records on the disk then; seconds of the run."""

    frames: list[int]
    resident: list[int]
    written: list[int]
    seconds: float
    people: int


def shrink(clip: Path, path: Path, count: int) -> None:
    """Write `count` frames of a clip in the small size, forwards and backwards in turns."""
    import av

    with av.open(str(clip)) as source, av.open(str(path), "w") as output:
        images = [frame.reformat(*SMALL, "yuv420p") for frame in source.decode(video=0)]
        stream = output.add_stream("libx264", rate=RATE, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = *SMALL, "yuv420p"
        for n in range(count):
            lap, place = divmod(n, len(images))
            image = images[-1 - place if lap % 2 else place]
            image.pts, image.time_base, image.pict_type = n, Fraction(1, RATE), 0
            output.mux(stream.encode(image))
        output.mux(stream.encode(None))


def follow(video: Path, folder: Path, minutes: float) -> Measurement:
    """Follow the people in a video for so many minutes at most."""
    import filmgate as fg
    from filmgate.media.sinks import RecordOutput
    from filmgate.tasks.track import Track

    out, start = folder / f"{video.stem}.jsonl", perf_counter()
    seen = list[tuple[int, int, int]]()
    events = fg.events(fg.Job(fg.VideoFile(video), RecordOutput(out), (Track(),)))
    for event in events:
        if isinstance(event, fg.Progress):
            seen.append((event.read, event.resident_bytes, count_written(folder)))
        if perf_counter() - start > 60 * minutes:
            break
    seconds = perf_counter() - start
    events.close()
    frames, resident, written = (list(column) for column in zip(*seen, strict=True))
    lines = [line for path in _iter_records(folder) for line in path.read_bytes().splitlines()]
    people = len({json.loads(line)["id"] for line in lines if line.endswith(b"}")})
    return Measurement(frames, resident, written, seconds, people)


def count_written(folder: Path) -> int:
    """Return the bytes of all records in a folder, in whatever file they are now."""
    return sum(path.stat().st_size for path in _iter_records(folder))


def _iter_records(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*.jsonl") if path.name != "events.jsonl")


def summarize(measured: Measurement, title: str) -> dict[str, Any]:
    """Return the row of one video: growth is that of its second half."""
    frames, held = (np.array(x, np.float64) for x in (measured.frames, measured.resident))
    late = frames >= frames[-1] / 2
    steps = np.diff(np.array(measured.written))
    return {
        "video": title,
        "peak_mb": round(float(held.max()) / 1e6, 1),
        "half_mb": round(float(np.median(held[late])) / 1e6, 1),
        "bytes_per_frame": round(float(np.polyfit(frames[late], held[late], 1)[0])),
        "writes": int((steps > 0).sum()),
        "records_kb": round(max(measured.written) / 1e3),
        "people": measured.people,
        "frames_per_second": round(measured.frames[-1] / measured.seconds, 1),
    }


def draw(measured: dict[str, Measurement]) -> None:
    """Draw resident memory and bytes of records over frames."""
    from PIL import Image

    from filmgate.quality.report.plot import Curve, draw_plot

    def make(values: str, unit: float) -> list[Curve]:
        return [Curve(name, _to_array(one.frames), _to_array(getattr(one, values)) / unit)
                for name, one in measured.items()]  # fmt: skip

    size = (960, 220)
    panels = [
        draw_plot(make("resident", 1e6), title="Resident memory", x_name="frames", y_name="MB",
                  low=0.0, size=size),
        draw_plot(make("written", 1e3), title="Records on the disk", x_name="frames",
                  y_name="kB", low=0.0, size=size),
    ]  # fmt: skip
    page = Image.new("RGB", (size[0], size[1] * len(panels)), "white")
    for k, panel in enumerate(panels):
        page.paste(panel, (0, k * size[1]))
    page.save(PLOT, lossless=True)


def _to_array(values: list[int]) -> npt.NDArray[np.float64]:
    return np.array(values, np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, help="a video of people who walk")
    parser.add_argument("--frames", type=int, default=LONG, help="of the small video")
    parser.add_argument("--minutes", type=float, default=60, help="for each video, at most")
    parser.add_argument("--follow", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        print(json.dumps(asdict(follow(options.follow, options.folder, options.minutes))))
        return
    clips = [options.video] if options.video else find_clips("intel_person")
    if not clips:
        print("skipped: no video here; pass one with --video")
        return
    measured, rows = dict[str, Measurement](), dict[str, dict[str, Any]]()
    with tempfile.TemporaryDirectory() as place:
        shrink(clips[0], Path(place) / "small.mp4", options.frames)
        videos = {clips[0].stem: clips[0], "small": Path(place) / "small.mp4"}
        for name, video in videos.items():
            (folder := Path(place) / f"of-{name}").mkdir()
            command = [sys.executable, __file__, "--follow", str(video), "--folder", str(folder),
                       "--minutes", str(options.minutes)]  # fmt: skip
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            one = measured[name] = Measurement(**json.loads(done.stdout.splitlines()[-1]))
            size = "x".join(map(str, SMALL)) if name == "small" else "as it is"
            rows[name] = summarize(one, f"{one.frames[-1]} frames, {size}")
            print(rows[name], flush=True)
    draw(measured)
    result = {
        "question": "does track stay at one memory, and do its results grow as it goes?",
        "runs": rows,
        "over_frames": {
            name: [(frame, round(held / 1e6, 1), size) for frame, held, size in
                   zip(one.frames, one.resident, one.written, strict=True)
                   ][:: max(1, len(one.frames) // 100)]
            for name, one in measured.items()
        },
    }  # fmt: skip
    print(write_result("track_default", result))


if __name__ == "__main__":
    main()
