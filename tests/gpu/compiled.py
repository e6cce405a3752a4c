"""What do compiled packages, CUDA graphs and channels_last give on the device?

One network at one size with random weights, one call at a time: as it is; replayed as a CUDA graph
(only here: the product has none); as the package that --compile builds and loads; and that as a
CUDA graph. Each is compared with the first. `first_s` is the first call with all that it needs,
`built_s` the building of the package in it, `load_s` opening it again; building takes the most
time, so what needs none is measured first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

from tests.gpu import speed
from tests.gpu.shared import NETWORKS, Part, Report, Setup, import_benchmark

WARM_UP, CALLS = 3, 20
Call = Callable[[], Any]


def list_parts() -> list[Part]:
    """Return a part for each network."""
    return [
        Part("compile compact x2", compare_compact, NETWORKS, 60),
        Part("compile rife", partial(compare_layouts, "rife"), NETWORKS, 30),
        Part("compile film", partial(compare_layouts, "film"), NETWORKS, 30),
        Part("compile lipsync", compare_lips, NETWORKS, 150),
        Part("compile animate", compare_portraits, NETWORKS, 150),
    ]


def compare_compact(setup: Setup, report: Report) -> None:
    """Measure the network of compact for a strip of 1920x1080, and its layouts."""
    from filmgate.models.families.compact import find_weights
    from filmgate.models.families.compact.upscaler import CompactUpscaler, open_network

    compare_layouts("compact x2", setup, report)
    net = open_network(find_weights(2), setup.device)
    network = CompactUpscaler(net, setup.device).describe(*choose_size("compact x2", setup))
    compare_ways("compact x2", network, setup, report)


def compare_lips(setup: Setup, report: Report) -> None:
    """Measure LatentSync's UNet for a face of 256 pixels: its outermost layers, then all of it."""
    from filmgate.core.model_cache import ModelCache
    from filmgate.models.families.latentsync.compiled import CompiledUNet
    from tests.gpu.lips import LENGTH, build_networks

    unet, _, _ = build_networks(setup)
    unets = CompiledUNet(unet, LENGTH, 8 if setup.dry else 32, 50, ModelCache())
    for complete in (False, True):
        network = unets.describe(complete=complete, silent=True)
        compare_ways(f"lipsync 256 {network.part}", network, setup, report)


def compare_portraits(setup: Setup, report: Report) -> None:
    """Measure PersonaLive's UNet at 512x512 without keyframes."""
    from filmgate.models.families.personalive.compiled import describe_denoiser
    from filmgate.models.families.personalive.memory import STACK
    from tests.gpu.portraits import build_networks

    unet = build_networks(setup).unet
    network = describe_denoiser(unet, STACK, 8 if setup.dry else 64, 1)
    compare_ways("animate 512 UNet", network, setup, report)


def compare_ways(name: str, network: Any, setup: Setup, report: Report) -> None:
    """Measure a network as it is and from its package, each also as a CUDA graph."""
    import torch

    from filmgate.core.model_cache import ModelCache
    from filmgate.models.compiling.packages import open_compiled

    inputs = draw_inputs(network, setup)
    wanted: Any = None
    with torch.inference_mode(), use_packages(setup):
        for way in ("as it is", "as it is, CUDA graph", "package", "package, CUDA graph"):
            if setup.dry and way == "as it is, CUDA graph":
                continue  # nothing is captured without a device: the same as the row before
            with report.check(f"{name}: {way}", "measured") as found:
                start, function = perf_counter(), network.net
                if way.startswith("package"):
                    with torch.inference_mode(mode=False):
                        function = open_compiled(network, ModelCache())
                    found["mb"] = round(function.size_bytes / 1e6, 2)
                    loaded = "built_s" if function.built_s else "load_s"
                    found[loaded] = round(function.built_s or perf_counter() - start, 2)
                call: Call = partial(function, *inputs)
                if way.endswith("graph") and not setup.dry:
                    call = capture(call)
                output = get_first(call())
                wait(setup)
                found["first_s"] = round(perf_counter() - start, 2)
                wanted = output.float().clone() if wanted is None else wanted
                measure_into(found, call, setup)
                found["largest"] = float((output.float() - wanted).abs().max())
                found["spread"] = float(wanted.std())
                del call, output, function
            speed.free_memory()


def use_packages(setup: Setup) -> AbstractContextManager[object]:
    """Keep packages in the folder of this run; dry, nothing is compiled."""
    if setup.dry:
        from tests.models.compiling.pretended import pretend

        return pretend(setup.folder)
    os.environ["FILMGATE_CACHE"] = str(setup.folder)
    return nullcontext()


def capture(call: Call) -> Call:
    """Return a function that replays a call as a CUDA graph; what it returns is overwritten."""
    import torch

    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = call()

    def replay() -> Any:
        graph.replay()
        return made

    return replay


def draw_inputs(network: Any, setup: Setup) -> list[Any]:
    """Return random inputs of a network, the same each time; integers are 0."""
    import torch

    chance = torch.Generator().manual_seed(4)
    made = []
    for one in network.inputs:
        values = torch.randn(one.shape, generator=chance)
        if not one.dtype.is_floating_point:
            values = torch.zeros(one.shape)
        made.append(values.to(setup.device, one.dtype))
    return made


def get_first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple) else output


def measure_into(found: dict[str, Any], call: Call, setup: Setup) -> None:
    """Add the median milliseconds of a call, and the GB that were allocated at most."""
    import torch

    if not setup.dry:
        torch.cuda.reset_peak_memory_stats()
    seconds = list[float]()
    for _ in range(1 if setup.dry else WARM_UP + CALLS):
        start = perf_counter()
        call()
        wait(setup)
        seconds.append(perf_counter() - start)
    found["ms"] = round(1000 * median(seconds[0 if setup.dry else WARM_UP :]), 3)
    if not setup.dry:
        found["gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)


def wait(setup: Setup) -> None:
    """Wait for the device."""
    import torch

    if not setup.dry:
        torch.cuda.synchronize()


# --- layouts --------------------------------------------------------------------------------------


def compare_layouts(name: str, setup: Setup, report: Report) -> None:
    """Measure a network in torch's default layout, and with channels_last weights and images."""
    import torch

    for way in ("eager", "channels_last"):
        with report.check(f"{name}: {way}", "measured") as found, torch.inference_mode():
            call = build(name, setup, channels_last=way != "eager")
            start = perf_counter()
            call()
            wait(setup)
            found["first_s"] = round(perf_counter() - start, 2)
            measure_into(found, call, setup)
        speed.free_memory()


def build(name: str, setup: Setup, *, channels_last: bool) -> Call:
    """Return the network at one size as a function without arguments."""
    import torch

    dtype = torch.float32 if name == "compact x2" else speed.get_half(setup)
    net, function = find_network(name, setup)
    if channels_last:
        net.to(memory_format=torch.channels_last)
    images = list(iter_images(name, setup, dtype, channels_last))
    if name == "compact x2":
        images = [image[:, :1].contiguous() for image in images[:1]]
    return partial(function, *images)


def choose_size(name: str, setup: Setup) -> tuple[int, int]:
    """Return the size that users report, in multiples that each network takes."""
    if setup.dry:
        return 128, 128
    return (1920, 1080) if name == "compact x2" else (768, 1280)


def iter_images(name: str, setup: Setup, dtype: Any, channels_last: bool) -> Iterator[Any]:
    """Yield two frames as RGB (1, 3, H, W) on the device."""
    import torch

    from filmgate.media.pixels.rgb import to_rgb

    for frame in import_benchmark("_film").make_frames(choose_size(name, setup), 2):
        image = to_rgb(frame, dtype, setup.device)[None]
        yield image.contiguous(memory_format=torch.channels_last) if channels_last else image


def find_network(name: str, setup: Setup) -> tuple[Any, Callable[..., Any]]:
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
