"""Does memory grow with the video? Resident bytes per frame over 20,000 small frames, end to end.

The same video three times: at full speed, with a slow sink, with a slow source. The slope is the
least-squares line through resident memory over frames without the first fifth, in which buffers and
codecs fill. Target: below 1 KB per frame.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import numpy as np
from _common import make_video, write_result

import filmgate as fg
from filmgate.core.frame import Frame
from filmgate.core.outputs import open_outputs
from filmgate.core.run import run
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.pipeline.build import build, compute_time_scale


@dataclass
class Slow:
    """A source or a sink that takes `seconds` longer for each chunk."""

    inner: object
    seconds: float

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        for chunk in self.inner.read(cursor, size):  # type: ignore[attr-defined]
            sleep(self.seconds)
            yield chunk

    def write(self, frames: Sequence[Frame]) -> None:
        sleep(self.seconds)
        self.inner.write(frames)  # type: ignore[attr-defined]

    def commit(self, snapshot: Snapshot) -> None:
        self.inner.commit(snapshot)  # type: ignore[attr-defined]


def measure_slope(source: Path, sink: Path, which: str) -> dict[str, float]:
    """Return bytes per frame and the peak of one run."""
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(sink, preset="ultrafast", overwrite=True),
                 (fg.Interpolate(factor=2),))  # fmt: skip
    plan, seen = fg.Plan(queue_bytes=4 << 20), list[tuple[int, int]]()
    with ExitStack() as stack:
        video = stack.enter_context(job.source.open())
        pipeline = build(job, video.spec)
        chain, spec = pipeline.apply(plan), pipeline.output
        result = stack.enter_context(
            open_outputs(job.sinks, video.metadata, spec, time_scale=compute_time_scale(job.tasks))
        )
        slow_source = Slow(video, 0.002) if which == "slow source" else video
        slow_sink = Slow(result, 0.002) if which == "slow sink" else result
        for event in run(slow_source, chain, slow_sink, plan):  # type: ignore[arg-type]
            if isinstance(event, fg.Progress):
                seen.append((event.read, event.resident_bytes))
    frames, held = np.array(seen[len(seen) // 5 :], np.float64).T
    return {
        "frames": int(frames[-1]),
        "bytes_per_frame": round(float(np.polyfit(frames, held, 1)[0]), 1),
        "peak_mb": round(held.max() / 1e6, 1),
        "growth_after_first_fifth_kb": round((held[-1] - held[0]) / 1e3, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = make_video(Path(folder) / "in.mp4", 64, 48, options.frames)
        rows = {
            which: measure_slope(source, Path(folder) / "out.mp4", which)
            for which in ("plain", "slow sink", "slow source")
        }
    result = {
        "question": "does memory grow with the video?",
        "video": f"64x48, {options.frames} frames, interpolate factor 2",
        "runs": rows,
        "target_bytes_per_frame": 1000,
    }
    print(write_result("memory_slope", result).read_text())


if __name__ == "__main__":
    main()
