"""What do torch.compile and packages that are compiled ahead of time give on the CPU?

Each way in a process of its own: "eager", "compiled" with an empty cache, "compiled again" with the
cache that it left, "package": exported and compiled by AOTInductor, and "package again", which only
loads it. Networks with weights by rule: a tile of `compact` in its layout, and a small UNet of
LatentSync for a clip of 16 frames of 128 pixels. One thread. CPU seconds: of the first call with
all that it needs, in this process and in compilers, and of the following calls, in turns with those
of the network as it is (medians, and the median ratio).
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

NETWORKS = ("compact", "lipsync")
WAYS = ("eager", "compiled", "compiled again", "package", "package again")
Row = dict[str, float]
_ROUNDS = 9


def build(name: str) -> tuple[Any, tuple[Any, ...]]:
    """Return a network as a module of tensors, and its inputs."""
    import torch
    from torch import nn

    torch.manual_seed(1)
    if name == "compact":
        from filmgate.models.families.compact.grouped import choose_group
        from filmgate.models.families.compact.net import Compact, Shape

        net = Compact(Shape(2, 32, 6))
        for values in net.parameters():
            nn.init.normal_(values, std=0.1)
        net.to(memory_format=torch.channels_last)  # as it is used

        class Tile(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.net, self.enlarge = net, net.group_columns(choose_group(2, "cpu"))

            def forward(self, padded: Any) -> Any:
                return self.enlarge(padded)

        edge = 2 * net.reach
        return Tile(), (torch.rand(1, 1, 128 + edge, 256 + edge),)
    from filmgate.models.families.latentsync.unet import Shape as UNetShape
    from filmgate.models.families.latentsync.unet import UNet

    unet = UNet(UNetShape(channels=(64, 64), layers=1, heads=8, audio=64))

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unet = unet

        def forward(self, latents: Any, tokens: Any) -> Any:
            heard = self.unet.project_audio(tokens, silent=True)
            return self.unet(latents, 501, heard)[0]

    return Step(), (torch.randn(2, 16, 13, 16, 16), torch.randn(1, 16, 50, 64))


def count_seconds() -> float:
    """Return the CPU seconds of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure_here(name: str, way: str, folder: Path) -> Row:
    """Return the figures of one way in this process, which must be new."""
    import torch

    torch.set_num_threads(1)
    net, inputs = build(name)
    net = net.eval().requires_grad_(False)
    with torch.inference_mode():
        wanted = net(*inputs)
    inputs = tuple(value.clone() for value in inputs)
    begin = count_seconds()
    with torch.no_grad():
        run = prepare(net, inputs, way, folder / f"{name}.pt2")
        made = run(*inputs)
        first, times = count_seconds() - begin, dict[str, list[float]](eager=[], each=[])
        for _ in range(_ROUNDS):
            for key, function in (("eager", net), ("each", run)):
                begin = process_time()
                function(*inputs)
                times[key].append(process_time() - begin)
    difference = float((made - wanted).abs().max() / wanted.abs().max())
    each = {key: round(median(values), 5) for key, values in times.items()}
    ratio = median(b / a for a, b in zip(times["eager"], times["each"], strict=True))
    return {"first": round(first, 2), **each, "ratio": round(ratio, 3), "difference": difference}


def prepare(net: Any, inputs: tuple[Any, ...], way: str, package: Path) -> Callable[..., Any]:
    """Return the network as a function of its inputs."""
    import torch

    if way == "eager":
        return net  # type: ignore[no-any-return]
    if way.startswith("compiled"):
        return torch.compile(net, dynamic=False)
    from torch import _inductor as inductor

    if way == "package":
        inductor.aoti_compile_and_package(torch.export.export(net, inputs),
                                          package_path=str(package))  # fmt: skip
    return inductor.aoti_load_package(str(package))


def iter_rows(networks: list[str]) -> Iterator[tuple[str, Row]]:
    """Yield the figures of each network and way."""
    with tempfile.TemporaryDirectory() as folder:
        for name in networks:
            cache = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/{name}",
                     "TORCHINDUCTOR_COMPILE_THREADS": "1"}  # fmt: skip
            for way in WAYS:
                command = [sys.executable, __file__, "--here", name, way, folder]
                done = subprocess.run(command, env=os.environ | cache, check=False,
                                      stdout=subprocess.PIPE, text=True)  # fmt: skip
                row = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
                print(f"{name}, {way}", row, flush=True)
                yield f"{name}, {way}", row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--here", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        name, way, folder = arguments.here
        print(json.dumps(measure_here(name, way, Path(folder))))
        return
    question = "what do compiled networks take on the CPU, and what does compiling take?"
    rows = dict(iter_rows(arguments.networks))
    print(write_result("compiling", {"question": question, "ways": rows}, torch=version("torch")))


if __name__ == "__main__":
    main()
