"""Does a run take as long as its slowest part, and what does our loop cost over a plain one?

Three ratios, in one run, alternating, medians:
  wall / max(busiest stage, CPU seconds / cores) with a fake stage of 60 ms a frame; target 1.05
  CPU seconds of identity over a plain PyAV loop, decode to encode; target 1.05
  CPU seconds of identity through RGB over a plain PyAV loop through RGB; target 1.30
The plain loop encodes with the same settings, ours by default; with a faster preset the work around
the encoder weighs more, so that is measured too.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any

import av
from _common import find_clips, make_video, write_result

import filmgate as fg
from filmgate.backends import inline
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.media.pixels import rgb

PRESETS: tuple[str, ...] = ("medium", "veryfast")
CRF = 18


@dataclass(frozen=True)
class Task:
    """A task of ready-made stages."""

    build: Callable[[StreamSpec], tuple[AnyStage, ...]]
    time_scale: int = 1

    def stages(self, spec: StreamSpec, models: object = None) -> tuple[AnyStage, ...]:
        return self.build(spec)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        return iter(shown)


def run_filmgate(source: Path, sink: Path, preset: str, *tasks: Task) -> fg.Done:
    output = fg.VideoOutput(sink, crf=CRF, preset=preset, overwrite=True)
    *_, done = inline.run(fg.Job(fg.VideoFile(source), output, tasks))
    assert isinstance(done, fg.Done)
    return done


def run_plain_loop(source: Path, sink: Path, preset: str, through_rgb: bool) -> None:
    """Run a careful hand-written loop: decode, (to RGB and back), encode, mux."""
    with av.open(str(source)) as source_file, av.open(str(sink), "w", format="mp4") as output:
        video = source_file.streams.video[0]
        video.thread_type = "AUTO"
        options = {"preset": preset, "crf": str(CRF)}
        stream = output.add_stream("libx264", rate=video.average_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for frame in source_file.decode(video):
            if through_rgb:
                back = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
                back.pts, back.time_base = frame.pts, frame.time_base
                frame = back.reformat(format="yuv420p")
            frame.pict_type = av.video.frame.PictureType.NONE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def sleep_60_ms(frames: Sequence[Frame]) -> Sequence[Frame]:
    sleep(0.06 * len(frames))
    return frames


def convert_to_rgb_and_back(spec: StreamSpec) -> tuple[AnyStage, ...]:
    return (rgb.convert_to_rgb(), rgb.convert_to_planes(spec.pixels, spec.colour))


def measure_cpu(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began


def measure_overlap(source: Path, sink: Path) -> dict[str, float]:
    began, cpu = perf_counter(), process_time()
    done = run_filmgate(
        source, sink, "veryfast", Task(lambda spec: (each(sleep_60_ms, name="fake, 60 ms"),))
    )
    wall, cpu = perf_counter() - began, process_time() - cpu
    busiest = max(done.busy.values())
    cores = os.cpu_count() or 1
    return {
        "wall_s": round(wall, 3),
        "busiest_s": round(busiest, 3),
        "cpu_s_per_core": round(cpu / cores, 3),
        "ratio": round(wall / max(busiest, cpu / cores), 4),
    }


def measure_ratios(source: Path, folder: Path, preset: str, rounds: int) -> dict[str, Any]:
    """Return CPU seconds of ours over the plain loop's, with planes and through RGB."""
    a, b = folder / "ours.mp4", folder / "plain.mp4"
    rows: dict[str, list[float]] = {"identity": [], "through_rgb": []}
    for _ in range(rounds):
        for name, tasks, through_rgb in (
            ("identity", (), False),
            ("through_rgb", (Task(convert_to_rgb_and_back),), True),
        ):
            mine = measure_cpu(partial(run_filmgate, source, a, preset, *tasks))
            theirs = measure_cpu(partial(run_plain_loop, source, b, preset, through_rgb))
            rows[name].append(round(mine / theirs, 3))
    return {name: {"median": round(median(row), 3), "rounds": row} for name, row in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, action="append", help="also measure this video")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_video(folder / "in.mp4", 1280, 720, options.frames)
        run_filmgate(source, folder / "warm.mp4", "veryfast", Task(convert_to_rgb_and_back))
        overlap = sorted((measure_overlap(source, folder / "o.mp4") for _ in range(3)),
                        key=lambda row: row["ratio"])[1]  # fmt: skip
        cpu = {
            video.name: {
                preset: measure_ratios(video, folder, preset, options.rounds) for preset in PRESETS
            }
            for video in (source, *(options.video or find_clips("sam2_bedroom")))
        }
    result = {
        "question": "wall over the busiest part; CPU seconds over a plain PyAV loop",
        "generated": f"1280x720, {options.frames} frames: a sliding texture with grain",
        "overlap_with_60_ms_stage": overlap,
        "cpu_seconds_over_plain_loop": cpu,
        "targets": {"overlap": 1.05, "identity": 1.05, "through_rgb": 1.3},
    }
    print(write_result("overlap", result).read_text())


if __name__ == "__main__":
    main()
