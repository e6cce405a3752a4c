"""How much memory does an encoder take? Every codec and preset at two sizes, in new processes.

The line through both sizes, over padded luma samples, is the table in `planning/encoder_memory.py`.
A case ends when 25 frames in a row have not increased it, or after 130 frames.
"""

import argparse
import io
import json
import subprocess
import sys
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import numpy as np
from _common import write_result

from filmgate.planning import encoder_memory

SMALL, LARGE = (640, 360), (1280, 720)
STILL, MOST = 25, 130  # frames
RUNS = 2  # of each case
RESULT = Path(__file__).parent / "results" / "codec_memory.json"
PRESETS = list(encoder_memory.PRESETS)
# Names of codecs, FFmpeg's encoders, and the usual presets.
CODECS: Mapping[str, tuple[str, list[str]]] = {
    "h264": ("libx264", PRESETS),
    "hevc": ("libx265", PRESETS[:7]),
    "av1": ("libsvtav1", ["4", "6", "8", "10", "12"]),
    "vp9": ("libvpx-vp9", [""]),
    "prores": ("prores_ks", [""]),
    "ffv1": ("ffv1", [""]),
}


def make_options(encoder: str, preset: str, threads: int) -> dict[str, str]:
    chosen = {"preset": preset} if preset else {}
    if encoder == "libx265":
        chosen["x265-params"] = f"log-level=none:open-gop=0:pools={threads}:frame-threads=1"
    if encoder == "libvpx-vp9":
        chosen |= {"crf": "30", "b": "0", "row-mt": "1", "cpu-used": "4"}
    return chosen | ({"level": "3", "g": "1"} if encoder == "ffv1" else {})


def measure_encoder(
    encoder: str, preset: str, width: int, height: int, pixels: str, threads: int
) -> int:
    """Return the bytes by which this process grows; run it in a new one."""
    rng = np.random.default_rng(0)
    texture = rng.integers(40, 200, (height // 8 + 9, width // 8 + 9), np.uint8)
    texture = np.kron(texture, np.ones((8, 8), np.uint8))
    container = av.open(io.BytesIO(), "w", format="matroska")
    make_frame(texture, 0, width, height, pixels)
    before = read_status("VmRSS")
    stream = container.add_stream(encoder, rate=25, options=make_options(encoder, preset, threads))
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt = width, height, pixels
    stream.codec_context.thread_count = threads
    if encoder == "libx264":
        stream.codec_context.thread_type = "FRAME"
    container.start_encoding()
    peaks = [before]
    for i in range(MOST):
        stream.encode(make_frame(texture, i, width, height, pixels))
        peaks.append(read_status("VmHWM"))
        if i > STILL and peaks[-1] < 1.002 * peaks[-STILL]:
            break
    return peaks[-1] - before


def make_frame(texture: Any, number: int, width: int, height: int, pixels: str) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, pixels)
    for plane in frame.planes:
        dtype = np.uint16 if "10" in pixels else np.uint8
        rows: Any = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
        at = number % 60
        rows[:, : plane.width] = texture[at : at + plane.height, at : at + plane.width]
    frame.pts, frame.time_base = number, Fraction(1, 25)
    return frame


def read_status(key: str) -> int:
    words = Path("/proc/self/status").read_text().partition(f"{key}:")[2].split()
    return int(words[0]) * 1024


def run_case(*case: object) -> int:
    """Return the largest of `measure_encoder` in some new processes: threads differ in time."""
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    return max(
        int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(RUNS)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=json.loads, help="internal: one case")
    parser.add_argument("--only", choices=CODECS, nargs="*", default=list(CODECS),
                        help="codecs to measure; rows of others are kept")  # fmt: skip
    options = parser.parse_args()
    if options.case:
        print(measure_encoder(*options.case))
        return
    if sys.platform != "linux":
        print("skipped: only Linux reports the peak memory of a process")
        return
    rows = dict[str, dict[str, float]]()
    if RESULT.exists():
        rows |= json.loads(RESULT.read_text())["codecs"]
    for codec in options.only:
        encoder, presets = CODECS[codec]
        pixels = "yuv422p10le" if codec == "prores" else "yuv420p"
        for preset in presets:
            begin = perf_counter()
            small, large = (run_case(encoder, preset, *size, pixels, 2) for size in (SMALL, LARGE))
            few, many = (
                encoder_memory.count_padded_samples(*SMALL, pixels),
                encoder_memory.count_padded_samples(*LARGE, pixels),
            )
            slope = (large - small) / (many - few)
            fixed = max(0.0, small - slope * few)
            row = {"fixed_mb": fixed / 1e6, "per_sample": slope, "large_mb": large / 1e6}
            rows[f"{codec} {preset}".strip()] = {k: round(v, 1) for k, v in row.items()}
            print(f"{codec} {preset}", row, f"{perf_counter() - begin:.0f} s", flush=True)
    h264 = ("libx264", "medium")
    others = {
        "1 thread": run_case(*h264, *LARGE, "yuv420p", 1),
        "4 threads": run_case(*h264, *LARGE, "yuv420p", 4),
        "8 threads": run_case(*h264, *LARGE, "yuv420p", 8),
        "10 bits": run_case(*h264, *LARGE, "yuv420p10le", 2),
        "444": run_case(*h264, *LARGE, "yuv444p", 2),
        "1080p": run_case(*h264, 1920, 1080, "yuv420p", 2),
        "240p": run_case(*h264, 320, 240, "yuv420p", 2),
        "2160p": run_case(*h264, 3840, 2160, "yuv420p", 2),
    }
    result = {
        "question": "how much memory does an encoder take?",
        "sizes": [SMALL, LARGE],
        "codecs": rows,
        "h264_medium_mb": {name: round(value / 1e6, 1) for name, value in others.items()},
    }
    print(write_result("codec_memory", result))


if __name__ == "__main__":
    main()
