"""What do torch.compile and channels_last give on the device, and how long does compiling take?

One network at one size with random weights: as it is, with channels_last weights, compiled, and
both. Each is compared with the first. `again_s` is the compiling in a new process that finds the
cache of the one before.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from tests.gpu import speed
from tests.gpu.shared import NETWORKS, ROOT, Part, Report, Setup, import_benchmark

WARM_UP, CALLS = 3, 20
NAMES = ("compact x2", "rife", "film")
Call = Callable[[], Any]


def list_parts() -> list[Part]:
    """Return a part for each network."""
    return [Part(f"compile {name}", partial(compare, name), NETWORKS, 150) for name in NAMES]


def compare(name: str, setup: Setup, report: Report) -> None:
    """Measure the four ways; compiling is tried again in a new process."""
    import torch

    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(setup.folder / "compiled")
    wanted = list[Any]()
    for compiled, channels_last in product((False, True), repeat=2):
        if setup.dry and compiled and not channels_last:
            continue  # the same graph is made again with channels_last
        way = " ".join(["compiled"] * compiled + ["channels_last"] * channels_last) or "eager"
        with report.check(f"{name}: {way}", "measured") as found, torch.inference_mode():
            call = build(name, setup, compiled=compiled, channels_last=channels_last)
            start = perf_counter()
            output = call().float()
            wait(setup)
            found["first_s"] = round(perf_counter() - start, 2)
            found["ms"] = round(1000 * measure(call, setup), 3)
            wanted = wanted or [output]
            found["largest"] = float((output - wanted[0]).abs().max())
            found["spread"] = float(output.std())
        speed.free_memory()
    if setup.dry:
        return
    with report.check(f"{name}: compiled again in a new process", "measured") as found:
        words = [sys.executable, "-m", "tests.gpu.compiled", name, str(setup.folder)]
        child = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
        if child.returncode:
            raise RuntimeError(child.stderr.splitlines()[-1])
        found["again_s"] = float(child.stdout.split()[-1])


def measure(call: Call, setup: Setup) -> float:
    """Return the median seconds of a call."""
    seconds = list[float]()
    for _ in range(1 if setup.dry else WARM_UP + CALLS):
        start = perf_counter()
        call()
        wait(setup)
        seconds.append(perf_counter() - start)
    return median(seconds[0 if setup.dry else WARM_UP :])


def wait(setup: Setup) -> None:
    """Wait for the device."""
    import torch

    if not setup.dry:
        torch.cuda.synchronize()


def build(name: str, setup: Setup, *, compiled: bool, channels_last: bool) -> Call:
    """Return the network at one size as a function without arguments."""
    import torch

    dtype = torch.float32 if name == "compact x2" else speed.get_half(setup)
    net, function = find_network(name, setup, dtype)
    if channels_last:
        net.to(memory_format=torch.channels_last)
    frames = import_benchmark("_film").make_frames(choose_size(name, setup), 2)
    images = [read(frame, setup, dtype, channels_last) for frame in frames]
    if name == "compact x2":
        images = [image[:, :1].contiguous() for image in images[:1]]
    # dry, graphs are made and not compiled: that takes minutes of a CPU
    run = torch.compile(function, backend="eager" if setup.dry else "inductor",
                        dynamic=False) if compiled else function  # fmt: skip
    return partial(run, *images)


def choose_size(name: str, setup: Setup) -> tuple[int, int]:
    """Return the size that users report, in multiples that each network takes."""
    if setup.dry:
        return 128, 128
    return (1920, 1080) if name == "compact x2" else (768, 1280)


def read(frame: Any, setup: Setup, dtype: Any, channels_last: bool) -> Any:
    """Return a frame as RGB (1, 3, H, W) on the device."""
    import torch

    from filmgate.media.pixels.rgb import to_rgb

    image = to_rgb(frame, dtype, setup.device)[None]
    return image.contiguous(memory_format=torch.channels_last) if channels_last else image


def find_network(name: str, setup: Setup, dtype: Any) -> tuple[Any, Callable[..., Any]]:
    """Return a network, and the function of images that is timed."""
    if name == "rife":
        net = speed.make_rife(setup)
        return net, lambda a, b: net(a, b, 0.5)
    if name == "film":
        film = speed.make_film(setup)
        return film, partial(interpolate, film)
    from filmgate.models.families.compact import find_weights
    from filmgate.models.families.compact.upscaler import open_network

    compact = open_network(find_weights(2), setup.device)
    return compact, compact


def interpolate(net: Any, a: Any, b: Any) -> Any:
    """Return FILM's image in the middle."""
    ends = [(levels, net.extract_features(levels)) for levels in map(net.build_pyramid, (a, b))]
    flows = [net.estimate_flows(ends[n][1], ends[1 - n][1])[0] for n in (0, 1)]
    return net.fuse_images(*ends, *flows, 0.5)[0]


def main() -> None:
    """Print the seconds of the first call of a compiled network; runs in a new process."""
    name, folder = sys.argv[1:]
    import torch

    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "compiled")
    setup = Setup(Path(folder))
    with torch.inference_mode():
        call = build(name, setup, compiled=True, channels_last=False)
        start = perf_counter()
        call()
        wait(setup)
    print(f"{perf_counter() - start:.2f}")


if __name__ == "__main__":
    main()
