"""What does FILM cost, ours compared with a plain loop? Seconds for each output frame, and peak GB.

The full network with random weights, in the middle of each pair of frames; each method in a process
of its own, in turns, medians of the rounds. Operations (of convolutions) are counted.
  ours: a frame's features are kept for the next pair, large frames are processed in bands of rows
  plain loop: features of both frames of every pair, and every frame at once
On a CUDA device 1920x1080 in float16, GB as its allocator reserved them. Without one: 448x256 in
float32 on the CPU, resident GB of the process (CPU seconds too, which a busy machine changes less);
bands are set there in a third method, since frames that small are processed at once. The last
output frames are compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from _common import write_result
from _film import Interpolator, make_frames, make_network, make_plain_loop
from torch.utils.flop_counter import FlopCounterMode

from filmgate.media.pixels.planes import Planes
from filmgate.models.families.film.interpolator import HALF, FilmInterpolator

CUDA = torch.cuda.is_available()
DEVICE, DTYPE = ("cuda", torch.float16) if CUDA else ("cpu", torch.float32)
SIZE = (1920, 1080) if CUDA else (448, 256)
ROWS = 64  # of a band, if it is set
FIGURES = ("tflop", "seconds", "cpu_seconds", "gb")


def make_ours(rows: int | None = None) -> Interpolator:
    net = make_network(DEVICE, DTYPE)
    interpolator = FilmInterpolator(net, DEVICE, DTYPE, rows)

    def interpolate(a: Planes, b: Planes) -> Planes:
        (result,) = interpolator(a, b, [HALF])
        return result

    return interpolate


METHODS: dict[str, Callable[[], Interpolator]] = {
    "ours": make_ours,
    "plain loop": lambda: make_plain_loop(make_network(DEVICE, DTYPE), DEVICE, DTYPE),
}
if not CUDA:
    METHODS[f"ours, in bands of {ROWS} rows"] = lambda: make_ours(ROWS)


def run(way: str, pairs: int, output: Path) -> dict[str, float]:
    """Run one method in this process: pair 1 warms up, in pair 2 operations are counted.

    The last output frame is saved to `output`.
    """
    interpolate, frames, operations = METHODS[way](), make_frames(SIZE, pairs + 3), 0
    before, times, busy = next(frames), list[float](), list[float]()
    for n, after in enumerate(frames):
        began, cpu = perf_counter(), process_time()
        with FlopCounterMode(display=False) if n == 1 else nullcontext() as counted:
            made = interpolate(before, after)  # its planes are in memory: the device has finished
        if counted:
            operations = counted.get_total_flops()
        times.append(perf_counter() - began)
        busy.append(process_time() - cpu)
        before = after
    assert int(np.ptp(made.arrays[0])) > 16, "the output is flat"
    np.save(output, made.arrays[0])
    return {
        "tflop": operations / 1e12,
        "seconds": median(times[2:]),
        "cpu_seconds": median(busy[2:]),
        "gb": _peak_bytes() / 1e9,
    }


def _peak_bytes() -> int:
    if CUDA:
        return torch.cuda.max_memory_reserved()
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--way", nargs=2, help="internal: one method, and a file for its last frame"
    )
    parser.add_argument("--pairs", type=int, default=20 if CUDA else 3)
    parser.add_argument("--rounds", type=int, default=3 if CUDA else 2)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(run(options.way[0], options.pairs, Path(options.way[1]))))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in METHODS}
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    load = os.getloadavg()[0]  # of other processes
    made = dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        for k in range(options.rounds):
            for way in sorted(METHODS, reverse=bool(k % 2)):
                image = Path(folder) / "made.npy"
                command = [sys.executable, __file__, "--pairs", str(options.pairs), "--way", way]
                text = subprocess.check_output([*command, str(image)], text=True)
                found[way].append(json.loads(text))
                made[way] = np.load(image).astype(int)
                print(way, text, end="", flush=True)
    rows = dict[str, dict[str, Any]]()
    for way, runs in found.items():
        rows[way] = {"device": DEVICE, "size": "{}x{}".format(*SIZE)}
        rows[way] |= {key: median(one[key] for one in runs) for key in FIGURES}
        rows[way]["most_codes_apart"] = int(np.abs(made[way] - made["plain loop"]).max())
    where = torch.cuda.get_device_name() if CUDA else "the CPU (no CUDA device here)"
    result = {
        "question": "what does FILM cost, ours compared with a plain loop?",
        "device": f"{where}; {SIZE[0]}x{SIZE[1]}, {str(DTYPE).removeprefix('torch.')}",
        "threads": torch.get_num_threads(),
        "gb": "reserved by the allocator" if CUDA else "resident, with Python and torch",
        "weights": "random",
        "load_before": round(load, 1),
        "pairs": options.pairs,
        "ways": rows,
        "rounds": found,
    }
    print(write_result("film_speed", result).read_text())


if __name__ == "__main__":
    main()
