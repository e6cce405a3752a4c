"""What does the C library keep of freed pictures, and what does it cost to give them back?

A film interpolated (dis, factor 2) with a small plan, in new processes: as glibc does by itself,
and with pieces from 1 MiB (`Plan.give_back`) or from 128 KiB on given back when they are freed.
Peak of the process (ru_maxrss) and seconds of the processor; medians of three, taken in turns.
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

from _film import moving_texture, write_result

import filmgate as fg

SIZES = ((640, 360), (1280, 720))
WAYS = {"glibc's own way": "", "from 1 MiB on": "1048576", "from 128 KiB on": "131072"}


def run(source: str, sink: str) -> dict[str, float]:
    """One run in this process."""
    plan = fg.Plan(chunk=2, queue_bytes=1 << 20, decode_threads=2, encode_threads=2)
    began = process_time()
    fg.run(fg.Interpolate(factor=2), source, fg.VideoOutput(Path(sink), overwrite=True), plan=plan)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"measured MB": peak / 1e6, "seconds of the processor": process_time() - began}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--case", nargs=2, help="one case, for a child of this bench")
    case = wanted.parse_args().case
    if case:
        print(json.dumps(run(*case)))
        return
    if sys.platform != "linux":
        print("skipped: this is a question about glibc")
        return
    rows = dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory() as folder:
        for width, height in SIZES:
            source = moving_texture(Path(folder) / "in.mp4", width, height, 50)
            found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
            for _ in range(3):
                for way, limit in WAYS.items():
                    own = {"MALLOC_MMAP_THRESHOLD_": limit} if limit else {}
                    made = subprocess.check_output(
                        [sys.executable, __file__, "--case", str(source), f"{folder}/out.mp4"],
                        env=os.environ | own,
                    )
                    found[way].append(json.loads(made))
            for way, runs in found.items():
                rows[f"{width}x{height}, {way}"] = {
                    name: median(run[name] for run in runs) for name in runs[0]
                }
    print(
        write_result("give_back", {"question": "what does glibc keep?", "ways": rows}).read_text()
    )


if __name__ == "__main__":
    main()
