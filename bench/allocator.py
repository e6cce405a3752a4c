"""What does the C library keep of freed frames, and what does returning them cost?

A video is interpolated (dis, factor 2) with a small plan, each time in a new process: with glibc's
default, and with allocations above 1 MiB (`Plan.give_back`) or 128 KiB returned when they are
freed. Peak of the process (ru_maxrss) and CPU seconds; medians of three, taken in turns.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time

from _common import make_video, write_result

import filmgate as fg

SIZES = ((640, 360), (1280, 720))
WAYS = {"glibc default": "", "above 1 MiB": "1048576", "above 128 KiB": "131072"}


def run(source: str, sink: str) -> dict[str, float]:
    """Run once in this process."""
    plan = fg.Plan(chunk=2, queue_bytes=1 << 20, decode_threads=2, encode_threads=2)
    began = process_time()
    fg.run(fg.Interpolate(factor=2), source, fg.VideoOutput(Path(sink), overwrite=True), plan=plan)
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"measured MB": peak / 1e6, "CPU seconds": process_time() - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", nargs=2, help="internal: one case")
    case = parser.parse_args().case
    if case:
        print(json.dumps(run(*case)))
        return
    if sys.platform != "linux":
        print("skipped: this measures glibc, which exists on Linux only")
        return
    rows = dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            source = make_video(Path(folder) / "in.mp4", width, height, 50)
            found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(3):
                for way, limit in WAYS.items():
                    environment = {"MALLOC_MMAP_THRESHOLD_": limit} if limit else {}
                    output = subprocess.check_output(
                        [sys.executable, __file__, "--case", str(source), f"{folder}/out.mp4"],
                        env=os.environ | environment,
                    )
                    found[way].append(json.loads(output))
            for way, runs in found.items():
                rows[f"{width}x{height}, {way}"] = {
                    name: median(run[name] for run in runs) for name in runs[0]
                }
    print(
        write_result("allocator", {"question": "what does glibc keep?", "ways": rows}).read_text()
    )


if __name__ == "__main__":
    main()
