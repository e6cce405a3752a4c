"""Does a run take as long as its slowest part, and what does our loop cost beside a plain one?

Three figures, in one run, alternating, medians of ratios:
  wall / max(busiest stage, CPU seconds / cores) with a fake stage of 60 ms a frame; target 1.05
  CPU seconds of identity over a plain PyAV loop, decode to encode; target 1.05
  CPU seconds of identity through RGB over a plain PyAV loop through RGB; target 1.30
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep

import av
from _film import moving_texture, write_result

import filmgate as fg
from filmgate.core.frame import Frame, Spec
from filmgate.core.stage import AnyStage
from filmgate.core.windows import each
from filmgate.media import colour

PRESET, CRF = "veryfast", 18


@dataclass(frozen=True)
class Task:
    """A task of ready-made stages."""

    made: Callable[[Spec], tuple[AnyStage, ...]]
    keeps_sound: bool = True

    def stages(self, spec: Spec) -> tuple[AnyStage, ...]:
        return self.made(spec)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        return iter(shown)


def ours(source: Path, sink: Path, *tasks: Task) -> fg.Done:
    return fg.run(tasks, source, fg.Output(sink, crf=CRF, preset=PRESET, overwrite=True))


def plain(source: Path, sink: Path, through_rgb: bool) -> None:
    """What a careful person writes by hand: decode, (to RGB and back), encode, mux."""
    with av.open(str(source)) as given, av.open(str(sink), "w", format="mp4") as made:
        video = given.streams.video[0]
        video.thread_type = "AUTO"
        options = {"preset": PRESET, "crf": str(CRF)}
        stream = made.add_stream("libx264", rate=video.average_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for frame in given.decode(video):
            if through_rgb:
                back = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"), format="rgb24")
                back.pts, back.time_base = frame.pts, frame.time_base
                frame = back.reformat(format="yuv420p")
            frame.pict_type = av.video.frame.PictureType.NONE
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))


def slow(frames: Sequence[Frame]) -> Sequence[Frame]:
    sleep(0.06 * len(frames))
    return frames


def rgb_and_back(spec: Spec) -> tuple[AnyStage, ...]:
    return (colour.rgb(), colour.planes(spec.pixels, spec.colour))


def cpu_seconds(work: Callable[[], object]) -> float:
    began = process_time()
    work()
    return process_time() - began


def overlap(source: Path, sink: Path) -> dict[str, float]:
    began, cpu = perf_counter(), process_time()
    done = ours(source, sink, Task(lambda spec: (each(slow, name="fake, 60 ms"),)))
    wall, cpu = perf_counter() - began, process_time() - cpu
    busiest = max(done.busy.values())
    cores = os.cpu_count() or 1
    return {
        "wall_s": round(wall, 3),
        "busiest_s": round(busiest, 3),
        "cpu_s_per_core": round(cpu / cores, 3),
        "ratio": round(wall / max(busiest, cpu / cores), 4),
    }


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--frames", type=int, default=200)
    wanted.add_argument("--rounds", type=int, default=5)
    options = wanted.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = moving_texture(Path(folder) / "in.mp4", 1280, 720, options.frames)
        a, b = Path(folder) / "ours.mp4", Path(folder) / "plain.mp4"
        ours(source, a)  # warm up
        plain(source, b, False)
        ratios: dict[str, list[float]] = {"identity": [], "through_rgb": []}
        for _ in range(options.rounds):
            ratios["identity"].append(
                cpu_seconds(lambda: ours(source, a)) / cpu_seconds(lambda: plain(source, b, False))
            )
            ratios["through_rgb"].append(
                cpu_seconds(lambda: ours(source, a, Task(rgb_and_back)))
                / cpu_seconds(lambda: plain(source, b, True))
            )
        lapped = sorted((overlap(source, a) for _ in range(3)), key=lambda row: row["ratio"])[1]
    result = {
        "question": "wall over the busiest part; CPU seconds over a plain PyAV loop",
        "film": f"1280x720, {options.frames} frames, x264 {PRESET} crf {CRF}",
        "overlap_with_60_ms_stage": lapped,
        "identity_cpu_ratio": [round(r, 3) for r in sorted(ratios["identity"])],
        "through_rgb_cpu_ratio": [round(r, 3) for r in sorted(ratios["through_rgb"])],
        "identity_cpu_ratio_median": round(median(ratios["identity"]), 3),
        "through_rgb_cpu_ratio_median": round(median(ratios["through_rgb"]), 3),
        "targets": {"overlap": 1.05, "identity": 1.05, "through_rgb": 1.3},
    }
    path = write_result("overlap", result)
    print(path.read_text())


if __name__ == "__main__":
    main()
