"""What does `compact` cost a frame? Seconds, CPU seconds and memory for 960x540, twice as large.

  compact: as it is, in tiles with four columns computed at a time
  compact before: the same network in strips of complete rows, one column at a time
  realesr-animevideov3: a network of that shape through spandrel, by `--model image`
  Lanczos by ffmpeg: frames through the program's scale filter; left out where there is none

Each way runs in a process of its own, in turns, for some rounds; each round gives a ratio to
compact, of which the median is kept. CPU seconds are what a busy machine changes least. Memory is
the peak of the process, and how far that is above what it holds before the first frame: python,
torch and the network. The weights of realesr-animevideov3 are random, which changes no time.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
from _common import write_result

WIDTH, HEIGHT, SCALE = 960, 540, 2
WAYS = ("compact", "compact before", "realesr-animevideov3", "Lanczos by ffmpeg")
FIGURES = ("seconds", "cpu_seconds", "memory_mb", "over_start_mb")
FFMPEG_FRAMES = 100
Row = dict[str, float]


def make_planes(width: int, height: int) -> list[Any]:
    """Return planes of yuv420p: edges of many sizes under grain."""
    rng = np.random.default_rng(1)
    made = []
    for n in (1, 2, 2):
        shape = -(-height // n), -(-width // n)
        coarse = rng.integers(30, 200, (shape[0] // 8 + 1, shape[1] // 8 + 1), np.uint8)
        blocks = np.kron(coarse, np.ones((8, 8), np.uint8))[: shape[0], : shape[1]]
        made.append(blocks + rng.integers(0, 6, shape, np.uint8))
    return made


def upscale_in_strips(net: Any, image: Any, threads: int) -> Any:
    """Return planes enlarged as `compact` enlarged them before it had tiles."""
    import torch
    from torch.nn import functional

    from filmgate.core.prefetch import map_threads
    from filmgate.media.pixels.color import get_code_levels, quantize
    from filmgate.media.pixels.format_names import get_subsampling
    from filmgate.models.families.compact.net import LOBES, build_kernel
    from filmgate.models.families.compact.upscaler import compute_shift

    (low, span), _ = get_code_levels(image.pixels, image.colour)
    scale, steps = net.shape.scale, get_subsampling(image.pixels)

    def apply_network(codes: Any) -> Any:
        padded = codes.sub_(low).mul_(1 / span)
        x, inner = padded, net.reach - LOBES
        for conv in net.convs[:-1]:
            x = functional.leaky_relu_(conv(x), 0.1)
        plain = padded[..., inner : padded.shape[-2] - inner, inner : padded.shape[-1] - inner]
        x = net.convs[-1](x) + functional.conv2d(plain, build_kernel(scale))
        return functional.pixel_shuffle(x, scale).mul_(span).add_(low)

    def apply_lanczos(codes: Any) -> Any:
        return functional.pixel_shuffle(functional.conv2d(codes, kernel), scale)

    def enlarge(plane: Any, function: Callable[[Any], Any], reach: int) -> Any:
        height, width = plane.shape
        rows, padded = max(8, (1 << 16) // width), np.pad(plane, reach, mode="edge")
        result = np.empty((height * scale, width * scale), plane.dtype)

        def strip(first: int) -> None:
            last = min(height, first + rows)
            with torch.inference_mode():
                part = torch.from_numpy(padded[first : last + 2 * reach])
                large = function(part.float()[None, None])[0, 0]
                result[first * scale : last * scale] = quantize(large, image.pixels)

        map_threads(strip, range(0, height, rows), threads)
        return result

    kernel = build_kernel(scale, compute_shift(scale, steps, image.colour.siting))
    luma, *chroma = image.arrays
    enlarged = [enlarge(plane, apply_lanczos, kernel.shape[-1] // 2).copy() for plane in chroma]
    return image.with_arrays((enlarge(luma, apply_network, net.reach), *enlarged))


def build_way(way: str) -> Callable[[Any], Any]:
    """Return a function that enlarges an image."""
    import torch

    from filmgate.models.families.compact import find_weights, upscaler

    if way == "compact":
        return upscaler.CompactUpscaler(upscaler.open_network(find_weights(SCALE))).upscale
    if way == "compact before":
        net = upscaler.open_network(find_weights(SCALE)).to(memory_format=torch.contiguous_format)
        return lambda image: upscale_in_strips(net, image, upscaler.THREADS)
    from filmgate.models import registry
    from filmgate.models.families.image import ImageOptions

    with tempfile.TemporaryDirectory() as folder:
        path = write_animevideo(Path(folder) / "animevideov3.safetensors")
        made = registry.build_upscaler("image", make_spec(), SCALE, ImageOptions(weights=path))
    assert callable(made)
    return made


def write_animevideo(path: Path, channels: int = 64, depth: int = 16) -> Path:
    """Write a network of the shape of realesr-animevideov3-x2 with random weights."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    widths = [3, *[channels] * (depth + 1), 3 * SCALE**2]
    tensors = {}
    for n, (inputs, outputs) in enumerate(pairwise(widths)):
        tensors[f"body.{2 * n}.weight"] = torch.randn(outputs, inputs, 3, 3) / (3 * inputs**0.5)
        tensors[f"body.{2 * n}.bias"] = torch.zeros(outputs)
        if n <= depth:
            tensors[f"body.{2 * n + 1}.weight"] = torch.full((outputs,), 0.1)
    save_file(tensors, path)
    return path


def make_spec() -> Any:
    from fractions import Fraction

    from filmgate.core.frame import ColorTags, StreamSpec

    return StreamSpec(
        width=WIDTH, height=HEIGHT, rate=Fraction(25), time_base=Fraction(1, 25), pixels="yuv420p",
        colour=ColorTags(matrix="bt709", range="tv"),
    )  # fmt: skip


def measure_here(way: str, frames: int) -> Row:
    """Return the figures of one way in this process, which must be new."""
    from filmgate.core.instrumentation.memory import make_memory_meter
    from filmgate.core.instrumentation.torch_settings import fix_torch_settings
    from filmgate.media.pixels.planes import Planes

    spec = make_spec()
    image = Planes(tuple(make_planes(WIDTH, HEIGHT)), spec.pixels, spec.colour)
    upscale, start = build_way(way), make_memory_meter()()
    times, cpu_times = [], []
    with fix_torch_settings():
        for _ in range(frames + 1):
            begin, cpu = perf_counter(), process_time()
            upscale(image)
            times.append(perf_counter() - begin)
            cpu_times.append(process_time() - cpu)
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": median(times[1:]), "cpu_seconds": median(cpu_times[1:]),
            "memory_mb": peak / 1e6, "over_start_mb": (peak - start) / 1e6}  # fmt: skip


def measure_ffmpeg(program: str, folder: Path) -> Row:
    """Return the figures of ffmpeg's Lanczos; frames are read from memory and thrown away."""
    raw = folder / "frame.yuv"
    raw.write_bytes(b"".join(plane.tobytes() for plane in make_planes(WIDTH, HEIGHT)))
    size = f"{WIDTH * SCALE}:{HEIGHT * SCALE}"
    command = [program, "-v", "error", "-nostdin", "-f", "rawvideo", "-pix_fmt", "yuv420p",
               "-video_size", f"{WIDTH}x{HEIGHT}", "-stream_loop", str(FFMPEG_FRAMES - 1),
               "-i", str(raw), "-vf", f"scale={size}:flags=lanczos", "-f", "null", "-"]  # fmt: skip
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    begin = perf_counter()
    child = subprocess.Popen(command)
    _, code, used = os.wait4(child.pid, 0)
    seconds = perf_counter() - begin
    child.returncode = code
    if code:
        raise SystemExit(f"ffmpeg ended with status {code}: see above")
    return {"seconds": seconds / FFMPEG_FRAMES,
            "cpu_seconds": (used.ru_utime + used.ru_stime) / FFMPEG_FRAMES,
            "memory_mb": used.ru_maxrss * 1024 / 1e6}  # fmt: skip


def run_way(way: str, frames: int) -> Row:
    """Run one way in a process of its own."""
    if way == "Lanczos by ffmpeg":
        with tempfile.TemporaryDirectory() as folder:
            return measure_ffmpeg(str(shutil.which("ffmpeg")), Path(folder))
    command = [sys.executable, __file__, "--way", way, "--frames", str(frames)]
    row: Row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return row


def make_table(rounds: list[dict[str, Row]]) -> dict[str, dict[str, Any]]:
    """Return medians, and of each figure the median of its ratios to `compact` in each round."""
    rows = dict[str, dict[str, Any]]()
    for way in rounds[0]:
        rows[way] = {}
        for key in FIGURES:
            if key not in rounds[0][way]:
                rows[way] |= {key: "", f"{key.removesuffix('_mb')}_x": ""}
                continue
            ratios = [one[way][key] / one["compact"][key] for one in rounds]
            rows[way] |= {key: round(median(one[way][key] for one in rounds), 3),
                          f"{key.removesuffix('_mb')}_x": round(median(ratios), 2)}  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", help="internal: one way, in this process")
    parser.add_argument("--frames", type=int, default=8, help="of each way in a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure_here(options.way, options.frames)))
        return
    if sys.platform == "win32":
        print("skipped: Windows reports the peak memory of a process otherwise")
        return
    ways = [way for way in WAYS if way != "Lanczos by ffmpeg" or shutil.which("ffmpeg")]
    if len(ways) < len(WAYS):
        print("Lanczos by ffmpeg is left out: the program ffmpeg is not on the PATH")
    load, rounds = os.getloadavg()[0], list[dict[str, Row]]()
    for k in range(options.rounds):
        order = ways[k % len(ways) :] + ways[: k % len(ways)]
        slow = {"realesr-animevideov3": 1}  # seconds a frame
        found = {way: run_way(way, slow.get(way, options.frames)) for way in order}
        rounds.append({way: found[way] for way in ways})
        print(json.dumps(rounds[-1]), flush=True)
    result = {
        "question": "what does compact cost a frame?",
        "video": f"generated, {WIDTH}x{HEIGHT} yuv420p, {SCALE} times as large",
        "load_before": round(load, 1),
        "ways": make_table(rounds),
        "rounds": rounds,
    }
    print(write_result("upscale_speed", result))


if __name__ == "__main__":
    main()
