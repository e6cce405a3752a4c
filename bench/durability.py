"""What does it cost that a run can be killed, and how soon does it go on?

Wall seconds and bytes of the result of a durable run over those of one that is not, for commits
every 1 to 10 seconds of film, side by side in each round, medians of ratios; the disk its folder
takes at most, over the result. Then: seconds from a SIGKILL of the worker to its next frame.
"""

import argparse
import os
import signal
import tempfile
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil
from _film import clips, moving_texture, write_result

import filmgate as fg
from filmgate.backends import inline
from filmgate.jobs.run_directory import RunDirectory

LENGTHS_S = (1, 2, 4, 8, 10)
FRAMES = 600


def plain(job: fg.Job) -> None:
    for _ in inline.run(job):
        pass


def durable(job: fg.Job, length_s: int) -> int:
    """Runs it; returns the bytes of its folder and its hidden result at their largest."""
    assert isinstance(job.sink, fg.VideoOutput)
    folder, most = RunDirectory.beside(job.sink.path).path, 0
    for event in fg.events(job, limits=fg.Limits(segment=Fraction(length_s))):
        if isinstance(event, fg.Committed) and folder.exists():
            most = max(most, sum(entry.stat().st_size for entry in os.scandir(folder)))
    return most


def costs(source: Path, folder: Path, rounds: int, tasks: tuple[fg.Task, ...]) -> dict[str, Any]:
    """For each length: wall, bytes and disk of the durable run over those of the other."""
    job = fg.Job(
        fg.VideoFile(source, frames=FRAMES),
        fg.VideoOutput(folder / "out.mp4", overwrite=True),
        tasks,
    )
    walls: dict[int, list[float]] = {length: [] for length in LENGTHS_S}
    sizes: dict[int, float] = {}
    disk: dict[int, float] = {}
    for _ in range(rounds):
        for length in LENGTHS_S:
            began = perf_counter()
            plain(job)
            alone, size = perf_counter() - began, job.sink.path.stat().st_size  # type: ignore[attr-defined]
            began = perf_counter()
            most = durable(job, length)
            walls[length].append((perf_counter() - began) / alone)
            made = job.sink.path.stat().st_size  # type: ignore[attr-defined]
            sizes[length], disk[length] = made / size, most / made
    return {
        f"{length} s": {
            "wall over one go": round(median(walls[length]), 3),
            "bytes over one go": round(sizes[length], 4),
            "folder before the join, over the result": round(disk[length], 3),
        }
        for length in LENGTHS_S
    }


def back_after_a_kill(source: Path, folder: Path) -> float:
    """Seconds from the SIGKILL of the worker to the next frame that goes through the chain."""
    job = fg.Job(
        fg.VideoFile(source, frames=FRAMES), fg.VideoOutput(folder / "out.mp4", overwrite=True)
    )
    shot = 0.0
    limits = fg.Limits(segment=Fraction(2))
    with closing(fg.events(job, limits=limits, worker=True)) as events:
        for event in events:
            if isinstance(event, fg.Committed) and not shot:
                (child,) = (p for p in psutil.Process().children() if "spawn_main" in cmdline(p))
                shot = perf_counter()
                os.kill(child.pid, signal.SIGKILL)
            elif isinstance(event, fg.Started) and event.read:
                frame = next(e for e in events if isinstance(e, fg.Progress))
                assert frame.read > event.read
                return perf_counter() - shot
    raise RuntimeError("the run ended before it could be shot: it needs a longer film")


def cmdline(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--film", type=Path, help="a real one; without: a made one")
    wanted.add_argument("--rounds", type=int, default=3)
    options = wanted.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = options.video or next(
            iter(clips("ls_demo1")), moving_texture(folder / "made.mp4", 640, 360, FRAMES)
        )
        lengths = costs(source, folder, options.rounds, ())
        back = [back_after_a_kill(source, folder) for _ in range(options.rounds)]
    result = {
        "question": "what a durable run costs over one that is not, and how soon it is back",
        "film": f"{source.name}, {FRAMES} frames, encoded anew with the default settings",
        "lengths": lengths,
        "back": {"after a SIGKILL": {"seconds to the next frame": round(median(back), 2)}},
    }
    print(write_result("durability", result).read_text())


if __name__ == "__main__":
    main()
