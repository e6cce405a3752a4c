"""What does writing a video in closed segments cost, which survive a crash?

Bytes of the joined result and CPU seconds, over those of writing one file, for segments of 1 to 10
seconds. Bytes are exact, seconds are medians on a shared machine.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from _common import make_video, write_result

from filmgate.core.frame import Frame
from filmgate.core.outputs import open_outputs
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.writing.video_writer import VideoWriter

LENGTHS_S = (1, 2, 4, 8, 10)
KINDS = (("h264", "medium"), ("hevc", "veryfast"))


def write_one_file(video: Any, frames: list[Frame], output: VideoOutput) -> None:
    with VideoWriter(output.encode_options, video.spec, video.metadata) as sink:
        for at in range(0, len(frames), 8):
            sink.write(frames[at : at + 8])
        sink.finish()


def write_segments(
    video: Any, frames: list[Frame], output: VideoOutput, folder: Path, length: int
) -> None:
    checkpoints = Checkpoints(RunDirectory(folder / "run"))
    with (
        checkpoints.directory.lock(),
        open_outputs([output], video.metadata, video.spec, checkpoints=checkpoints) as sink,
    ):
        for at in range(0, len(frames), length):
            for part in range(at, min(at + length, len(frames)), 8):
                sink.write(frames[part : min(part + 8, at + length)])
            sink.commit(Snapshot(Cursor(at + length, 0), (), (), 0))
        sink.commit(Snapshot(Cursor(len(frames), 0), None, (), 0))
        checkpoints.directory.clear()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, help="Default: a generated video")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = options.video or make_video(folder / "in.mp4", 640, 360, options.frames)
        video = VideoFile(source, max_frames=options.frames).open()
        frames = [frame for chunk, _ in video.read(None, 8) for frame in chunk]
        for codec, preset in KINDS:
            output = VideoOutput(folder / "out.mp4", codec, preset=preset, overwrite=True)  # type: ignore[arg-type]
            seconds: dict[int, list[float]] = {length: [] for length in (0, *LENGTHS_S)}
            size: dict[int, int] = {}
            for _ in range(options.rounds):
                for length in seconds:
                    began = process_time()
                    if length:
                        count = round(length * float(video.spec.rate or 25))
                        write_segments(video, frames, output, folder, count)
                    else:
                        write_one_file(video, frames, output)
                    seconds[length].append(process_time() - began)
                    size[length] = output.path.stat().st_size
            for length in LENGTHS_S:
                rows[f"{codec} {preset}, {length} s"] = {
                    "bytes, relative": round(size[length] / size[0], 4),
                    "CPU, relative": round(median(seconds[length]) / median(seconds[0]), 3),
                }
    result = {
        "question": "what do closed segments cost, compared with one file?",
        "video": f"{source.name}, {video.spec.width}x{video.spec.height}, {len(frames)} frames",
        "segments": rows,
    }
    print(write_result("segment_cost", result).read_text())


if __name__ == "__main__":
    main()
