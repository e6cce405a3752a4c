"""What do compiled networks take on the CPU, and what does compiling them take?

Each way in a process of its own: "as it is"; "package, built", as the first run with --compile, or
models build, does it; "package, loaded", as every later run does; and, if asked for,
"torch.compile" with an empty cache, and "torch.compile again" with the cache that it left. Networks
with weights by rule: a tile of `compact` at 960x540, and LatentSync's UNet with two levels and one
layer each for a clip of 16 frames of 128 pixels, all of it and its outermost layers (DeepCache).
One thread. CPU seconds of this process and its compilers: of the first call with all that it needs,
and of the following calls, in turns with those of the network as it is (medians, and the median
ratio). MB: what the process grew by at most, with one call of the network as it is in "as it is".
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from _common import write_result

NETWORKS = ("compact", "lipsync", "lipsync, outermost")
WAYS = ("as it is", "package, built", "package, loaded", "torch.compile", "torch.compile again")
Row = dict[str, float]
_ROUNDS = 9


def build(name: str) -> Any:
    """Return a network of fixed shapes, as the product compiles it."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    if name == "compact":
        from filmgate.models.families.compact.net import Compact, Shape
        from filmgate.models.families.compact.upscaler import CompactUpscaler

        net = Compact(Shape(2, 32, 6))
        for values in net.parameters():
            nn.init.normal_(values, std=0.1)
        net.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # as it is used
        return CompactUpscaler(net).describe(960, 540)
    from filmgate.core.model_cache import ModelCache
    from filmgate.models.families.latentsync.compiled import CompiledUNet
    from filmgate.models.families.latentsync.unet import Shape as UNetShape
    from filmgate.models.families.latentsync.unet import UNet

    unet = UNet(UNetShape(channels=(64, 64), layers=1, heads=8, audio=64))
    nets = CompiledUNet(unet.eval().requires_grad_(False), 16, 16, 50, ModelCache())
    return nets.describe(complete=name == "lipsync", silent=True)


def count_seconds() -> float:
    """Return the CPU seconds of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure_here(name: str, way: str) -> Row:
    """Return the figures of one way in this process, which must be new."""
    import torch

    torch.set_num_threads(1)
    network = build(name)
    chance = torch.Generator().manual_seed(2)
    inputs = tuple(torch.randn(one.shape, generator=chance) for one in network.inputs)
    before_mb = read_memory("VmRSS")
    begin = count_seconds()
    with torch.no_grad():
        run, size = prepare(network, way)
        made = take_first(run(*inputs))
        first, peak_mb = count_seconds() - begin, read_memory("VmHWM") - before_mb
        wanted = take_first(network.net(*inputs))
        times = dict[str, list[float]](net=[], each=[])
        for _ in range(_ROUNDS):
            for key, function in (("net", network.net), ("each", run)):
                begin = process_time()
                function(*inputs)
                times[key].append(process_time() - begin)
    difference = float((made - wanted).abs().max() / wanted.abs().max())
    pairs = zip(times["net"], times["each"], strict=True)
    return {
        "first call (CPU s)": round(first, 2),
        "next calls (CPU s)": round(median(times["each"]), 4),
        "relative to as it is": round(median(b / a for a, b in pairs), 3),
        "largest difference": difference,
        "memory, at most (MB more)": round(peak_mb),
        "package (MB)": round(size / 1e6, 2),
    }


def prepare(network: Any, way: str) -> tuple[Callable[..., Any], int]:
    """Return the network as a function of its inputs, and the bytes of its package."""
    import torch

    if way == "as it is":
        return network.net, 0
    if way.startswith("torch.compile"):
        return torch.compile(network.net, dynamic=False), 0
    from filmgate.core.model_cache import ModelCache
    from filmgate.models.compiling.packages import open_compiled

    compiled = open_compiled(network, ModelCache())
    assert (compiled.built_s is None) == way.endswith("loaded"), way
    return compiled, compiled.size_bytes


def take_first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def read_memory(name: str) -> float:
    """Return a figure of this process's memory in MB; 0 where the system has no such file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1000 for line in lines if line.startswith(f"{name}:"))


def iter_rows(networks: list[str], ways: list[str]) -> Iterator[tuple[str, Row]]:
    """Yield the figures of each network and way."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/torch", "FILMGATE_CACHE": folder,
                  "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # fmt: skip
        for name in networks:
            for way in ways:
                command = [sys.executable, __file__, "--here", name, way]
                done = subprocess.run(command, env=os.environ | caches, check=True,
                                      stdout=subprocess.PIPE, text=True)  # fmt: skip
                row = json.loads(done.stdout.splitlines()[-1])
                print(f"{name}, {way}", row, flush=True)
                yield f"{name}, {way}", row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--ways", nargs="*", default=list(WAYS[:3]), choices=WAYS)
    parser.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measure_here(*arguments.here)))
        return
    question = "what do compiled networks take on the CPU, and what does compiling take?"
    rows = dict(iter_rows(arguments.networks, arguments.ways))
    print(write_result("compiling", {"question": question, "ways": rows}, torch=version("torch")))


if __name__ == "__main__":
    main()
