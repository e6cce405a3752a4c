"""What does a resumable run cost, and how soon does it resume?

Wall seconds and output bytes of a resumable run over those of a run without checkpoints, for
commits every 1 to 10 seconds of video, alternating in each round, medians of ratios; the largest
size of its run directory over that of the result. Then: seconds from a SIGKILL of the worker to its
next frame.
"""

import argparse
import os
import tempfile
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil
from _common import find_clips, make_video, write_result

import filmgate as fg
from filmgate.backends import inline
from filmgate.jobs.run_directory import RunDirectory

LENGTHS_S = (1, 2, 4, 8, 10)
FRAMES = 600


def run_plain(job: fg.Job) -> None:
    for _ in inline.run(job):
        pass


def run_resumable(job: fg.Job, length_s: int) -> int:
    """Run the job; return the largest size of its run directory, hidden result included."""
    assert isinstance(job.sink, fg.VideoOutput)
    folder, most = RunDirectory.for_result(job.sink.path).path, 0
    for event in fg.events(job, limits=fg.Limits(segment=Fraction(length_s))):
        if isinstance(event, fg.Committed) and folder.exists():
            most = max(most, sum(entry.stat().st_size for entry in os.scandir(folder)))
    return most


def measure_costs(
    source: Path, folder: Path, rounds: int, tasks: tuple[fg.Task, ...]
) -> dict[str, Any]:
    """Return wall, bytes and disk for each segment length, relative to the plain run."""
    job = fg.Job(
        fg.VideoFile(source, max_frames=FRAMES),
        fg.VideoOutput(folder / "out.mp4", overwrite=True),
        tasks,
    )
    walls: dict[int, list[float]] = {length: [] for length in LENGTHS_S}
    sizes: dict[int, float] = {}
    disk: dict[int, float] = {}
    for _ in range(rounds):
        for length in LENGTHS_S:
            began = perf_counter()
            run_plain(job)
            alone, size = perf_counter() - began, job.sink.path.stat().st_size
            began = perf_counter()
            most = run_resumable(job, length)
            walls[length].append((perf_counter() - began) / alone)
            made = job.sink.path.stat().st_size
            sizes[length], disk[length] = made / size, most / made
    return {
        f"{length} s": {
            "wall, relative": round(median(walls[length]), 3),
            "bytes, relative": round(sizes[length], 4),
            "run directory before joining, relative to the result": round(disk[length], 3),
        }
        for length in LENGTHS_S
    }


def measure_recovery(source: Path, folder: Path) -> float:
    """Return the seconds from a SIGKILL of the worker to the next processed frame."""
    job = fg.Job(
        fg.VideoFile(source, max_frames=FRAMES), fg.VideoOutput(folder / "out.mp4", overwrite=True)
    )
    killed = 0.0
    limits = fg.Limits(segment=Fraction(2))
    with closing(fg.events(job, limits=limits, worker=True)) as events:
        for event in events:
            if isinstance(event, fg.Committed) and not killed:
                (child,) = (
                    p for p in psutil.Process().children() if "spawn_main" in read_command(p)
                )
                killed = perf_counter()
                child.kill()
            elif isinstance(event, fg.Started) and event.read:
                frame = next(e for e in events if isinstance(e, fg.Progress))
                assert frame.read > event.read
                return perf_counter() - killed
    raise RuntimeError("the run ended before it was killed: pass a longer video")


def read_command(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, help="Default: a generated video")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = options.video or next(
            iter(find_clips("ls_demo1")), make_video(folder / "in.mp4", 640, 360, FRAMES)
        )
        lengths = measure_costs(source, folder, options.rounds, ())
        back = [measure_recovery(source, folder) for _ in range(options.rounds)]
    result = {
        "question": "what does a resumable run cost, and how soon does it resume?",
        "video": f"{source.name}, {FRAMES} frames, re-encoded with the default settings",
        "lengths": lengths,
        "back": {"after a SIGKILL": {"seconds to the next frame": round(median(back), 2)}},
    }
    print(write_result("durability", result).read_text())


if __name__ == "__main__":
    main()
