"""What does FILM cost, ours beside a plain loop? Seconds for each picture made, and GB at most.

The full network with random weights, in the middle of each pair of a film's pictures; each way in a
process of its own, in turns, medians of the rounds. Operations (of convolutions) are counted.
  ours: a picture's features are kept for the next pair, large pictures go in bands of rows
  plain loop: features of both pictures of every pair, and every picture whole
On a CUDA device 1920x1080 in float16, GB as its allocator reserved them. Without one: 448x256 in
float32 on the CPU, resident GB of the process (seconds of the processor too, which a busy machine
changes less); bands are given there in a third way, since a picture that small goes whole by
itself. The last pictures are compared.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from _film import write_result
from torch.utils.flop_counter import FlopCounterMode

from filmgate.core.frame import ColorTags
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_planes, to_rgb
from filmgate.models.families.film import HALF, Draw
from filmgate.models.families.film.net import Film

CUDA = torch.cuda.is_available()
DEVICE, DTYPE = ("cuda", torch.float16) if CUDA else ("cpu", torch.float32)
SIZE = (1920, 1080) if CUDA else (448, 256)
ROWS = 64  # of a band, where it is given
FIGURES = ("tflop", "seconds", "cpu_seconds", "gb")
Between = Callable[[Planes, Planes], Planes]


def pictures(count: int) -> Iterator[Planes]:
    """A smooth texture that slides, as 4:2:0."""
    width, height = SIZE
    chance = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, height // 16, width // 8, generator=chance)
    wide = torch.nn.functional.interpolate(coarse, (height, 2 * width), mode="bilinear")[0]
    for n in range(count):
        moved = wide[:, :, 4 * n : 4 * n + width].contiguous()
        yield to_planes(moved, "yuv420p", ColorTags(matrix="bt709", range="tv"))


def net() -> Film:
    """Random weights that keep the size of what goes through, and a picture about mid-grey."""
    torch.manual_seed(0)
    film = Film().requires_grad_(False)
    for numbers in film.parameters():
        if numbers.ndim > 1:
            numbers.normal_(0, numbers[0].numel() ** -0.5)
        else:
            numbers.zero_()
    film.fuse.output_conv.bias.fill_(0.5)
    return film.to(DEVICE, DTYPE).eval()


def ours(rows: int | None = None) -> Between:
    draw = Draw(net(), DEVICE, DTYPE, rows)

    def between(a: Planes, b: Planes) -> Planes:
        (made,) = draw.between(a, b, [HALF])
        return made

    return between


def plain() -> Between:
    """What a careful person writes around the same network: two pictures in, one out."""
    film = net()

    @torch.inference_mode()
    def between(a: Planes, b: Planes) -> Planes:
        width, height = a.size
        across, down = (-n % film.shape.align for n in a.size)
        left, top = across // 2, down // 2
        around = (left, across - left, top, down - top)
        ends = []
        for picture in (a, b):
            rgb = to_rgb(picture, DTYPE, DEVICE)[None]
            images = film.pyramid(torch.nn.functional.pad(rgb, around))
            ends.append((images, film.features(images)))
        first, second = ends
        flows = film.flows(first[1], second[1])[0], film.flows(second[1], first[1])[0]
        made = film.fused(first, second, *flows, 0.5)[0, :, top : top + height, left : left + width]
        return to_planes(made.float(), a.pixels, a.colour)

    return between


WAYS: dict[str, Callable[[], Between]] = {"ours": ours, "plain loop": plain}
if not CUDA:
    WAYS[f"ours, in bands of {ROWS} rows"] = lambda: ours(ROWS)


def run(way: str, pairs: int, shown: Path) -> dict[str, float]:
    """One way in this process: the first pair warms up, in the second operations are counted.

    The last picture goes to `shown`.
    """
    between, film, operations = WAYS[way](), pictures(pairs + 3), 0
    before, times, busy = next(film), list[float](), list[float]()
    for n, after in enumerate(film):
        began, cpu = perf_counter(), process_time()
        with FlopCounterMode(display=False) if n == 1 else nullcontext() as counted:
            made = between(before, after)  # its planes are in memory: the device has finished
        if counted:
            operations = counted.get_total_flops()
        times.append(perf_counter() - began)
        busy.append(process_time() - cpu)
        before = after
    assert int(np.ptp(made.arrays[0])) > 16, "a flat picture is like any other"
    np.save(shown, made.arrays[0])
    return {
        "tflop": operations / 1e12,
        "seconds": median(times[2:]),
        "cpu_seconds": median(busy[2:]),
        "gb": _most() / 1e9,
    }


def _most() -> int:
    if CUDA:
        return torch.cuda.max_memory_reserved()
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--way", nargs=2, help="one way, and its picture: a child of this bench")
    wanted.add_argument("--pairs", type=int, default=20 if CUDA else 3)
    wanted.add_argument("--rounds", type=int, default=3 if CUDA else 2)
    options = wanted.parse_args()
    if options.way:
        print(json.dumps(run(options.way[0], options.pairs, Path(options.way[1]))))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    load = os.getloadavg()[0]  # of others, before ours
    made = dict[str, Any]()
    with tempfile.TemporaryDirectory() as folder:
        for k in range(options.rounds):
            for way in sorted(WAYS, reverse=bool(k % 2)):
                picture = Path(folder) / "made.npy"
                command = [sys.executable, __file__, "--pairs", str(options.pairs), "--way", way]
                said = subprocess.check_output([*command, str(picture)], text=True)
                found[way].append(json.loads(said))
                made[way] = np.load(picture).astype(int)
                print(way, said, end="", flush=True)
    rows = dict[str, dict[str, Any]]()
    for way, runs in found.items():
        rows[way] = {"device": DEVICE, "size": "{}x{}".format(*SIZE)}
        rows[way] |= {key: median(one[key] for one in runs) for key in FIGURES}
        rows[way]["most_codes_apart"] = int(np.abs(made[way] - made["plain loop"]).max())
    where = torch.cuda.get_device_name() if CUDA else "the CPU: there is no CUDA device here"
    result = {
        "question": "what does FILM cost, ours beside a plain loop?",
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
