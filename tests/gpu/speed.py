"""How fast are full-size networks on the device, and how much memory do they take?

Ours, as the stages of the product call them, and the plain loop around the same network, with
random weights, at sizes that users have. Seconds are medians of frames after a warm-up, each waited
for; GB are what torch's allocator allocated and reserved at most, weights included.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Any

from tests.gpu.shared import (
    NETWORKS,
    Part,
    Report,
    Setup,
    import_benchmark,
    measure_difference,
)

PORTRAIT, FULL_HD, SMALL = (832, 1216), (1920, 1080), (512, 704)  # (width, height)
TINY_SIZE = (64, 48)
WARM_UP, FRAMES = 2, 20
COMPLETE = 1 << 20  # rows at a time: all of an image
ROW_S = 12  # of measuring one row, the frame in progress not counted
Method = Callable[[Any], Any]  # from the planes of a frame to what is compared: a list of arrays


@dataclass(frozen=True)
class Comparison:
    """A network at some sizes: how to build our way and the plain loop."""

    name: str
    sizes: tuple[tuple[int, int], ...]
    ours: Callable[[Setup], Method]
    plain: Callable[[Setup], Method]


def list_parts() -> list[Part]:
    """Return a part for each network."""
    return [
        *(Part(f"speed {one.name}", partial(compare, one), NETWORKS, 75) for one in COMPARISONS),
        Part("speed diffvsr", compare_diffvsr, (*NETWORKS, "diffusers", "torchvision"), 120),
    ]


def compare(one: Comparison, setup: Setup, report: Report) -> None:
    """Measure both ways at each size, and how far their results are apart."""
    for size in (TINY_SIZE,) if setup.dry else one.sizes:
        outputs = dict[str, Any]()
        for way, build in (("ours", one.ours), ("plain", one.plain)):
            name = "{} {}x{} {}".format(one.name, *size, way)
            with report.check(name, "measured") as found:
                try:
                    outputs[way] = measure(build(setup), size, setup, found)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    found["out_of_memory"] = str(error).partition(". GPU")[0][:200]
            free_memory()
        if len(outputs) == 2:
            with report.check("{} {}x{}: both alike".format(one.name, *size), "measured") as found:
                found["largest"], found["mean"] = measure_difference(*outputs.values())


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that memory is out, torch's or ours."""
    from filmgate.core import chain
    from filmgate.errors import OutOfMemory

    return isinstance(error, OutOfMemory) or chain.is_out_of_memory(error)


def free_memory() -> None:
    """Return what is no longer used to the device, and start the peak again."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def measure(
    method: Method, size: tuple[int, int], setup: Setup, figures: dict[str, Any]
) -> list[tuple[Any, ...]]:
    """Add seconds and GB of frames to `figures`; return the last output of the warm-up."""
    import torch

    free_memory()
    cuda, seconds, kept = not setup.dry, list[float](), list[tuple[Any, ...]]()
    warm_up, count = (1, 2) if setup.dry else (WARM_UP, WARM_UP + FRAMES + 1)
    frames = list(islice(import_benchmark("_film").make_frames(size, count), count))
    started = perf_counter()
    for n, frame in enumerate(frames):
        if n > warm_up and perf_counter() - started > ROW_S:
            break
        start = perf_counter()
        output = method(frame)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
        if n == warm_up:
            kept = [tuple(output)]
    figures["seconds_per_frame"] = round(median(seconds[warm_up:]), 5)
    figures["frames"] = len(seconds) - warm_up
    if cuda:
        figures["gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        figures["reserved_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 3)
    assert kept, "no frame was finished in time"
    low, high = float(kept[0][0].min()), float(kept[0][0].max())
    figures["range"] = [round(low, 2), round(high, 2)]
    assert 0 < high - low < math.inf, "the output is flat, or not finite"
    return kept


def get_half(setup: Setup) -> Any:
    """Return the dtype of networks on the device."""
    import torch

    return torch.float32 if setup.dry else torch.float16


def use_pairs(interpolate: Callable[[Any, Any], Any]) -> Method:
    """Return a method of two frames as a method of one, which remembers the one before."""
    last = list[Any]()

    def method(frame: Any) -> Any:
        before = last.pop() if last else frame
        last.append(frame)
        return interpolate(before, frame).arrays

    return method


# --- ours and plain -------------------------------------------------------------------------------


def make_film(setup: Setup) -> Any:
    from tests.models.tiny import FILM

    shape = FILM if setup.dry else None
    return import_benchmark("_film").make_network(setup.device, get_half(setup), shape)


def build_film(setup: Setup, large: bool = True) -> Method:
    from filmgate.models.families.film.interpolator import HALF, FilmInterpolator

    film = FilmInterpolator(make_film(setup), setup.device, get_half(setup), large_bands=large)
    return use_pairs(lambda a, b: film(a, b, [HALF])[0])


def build_plain_film(setup: Setup) -> Method:
    bench = import_benchmark("_film")
    return use_pairs(bench.make_plain_loop(make_film(setup), setup.device, get_half(setup)))


def make_rife(setup: Setup) -> Any:
    """Return RIFE with random weights that keep activations in range, and flow of some pixels."""
    import torch

    from filmgate.models.families.rife.net import Rife

    torch.manual_seed(0)
    net = Rife().requires_grad_(False)
    for name, weights in net.named_parameters():
        if weights.ndim > 1:
            weights.normal_(0, 0.5 * weights[0].numel() ** -0.5)
        elif name.endswith("bias"):
            weights.zero_()
    return net.to(setup.device, get_half(setup)).eval()


def build_rife(setup: Setup) -> Method:
    import torch

    from filmgate.models.families.rife.interpolator import RifeInterpolator

    net = make_rife(setup).to(memory_format=torch.channels_last)
    rife = RifeInterpolator(net, setup.device, get_half(setup))
    return use_pairs(lambda a, b: rife.interpolate(a, b, [Fraction(1, 2)])[0])


def build_plain_rife(setup: Setup) -> Method:
    """Return the usual script: RGB is converted on the CPU, and copied as float32 both ways."""
    import torch

    from filmgate.media.pixels.rgb import to_planes, to_rgb
    from filmgate.models.families.rife.net import ALIGN

    net, dtype = make_rife(setup), get_half(setup)

    @torch.inference_mode()
    def interpolate(a: Any, b: Any) -> Any:
        width, height = a.size
        around = (0, -width % ALIGN, 0, -height % ALIGN)
        ends = [torch.nn.functional.pad(to_rgb(image)[None].to(setup.device, dtype), around)
                for image in (a, b)]  # fmt: skip
        result = net(*ends, 0.5)[0, :, :height, :width].float().cpu()
        return to_planes(result, a.pixels, a.colour)

    return use_pairs(interpolate)


def build_compact(scale: int, rows: int | None, setup: Setup) -> Method:
    """Return compact with the weights of the package; `rows` at a time, None: by the width."""
    from filmgate.core.instrumentation.torch_settings import fix_torch_settings
    from filmgate.models.families.compact import find_weights
    from filmgate.models.families.compact.upscaler import CompactUpscaler, open_network

    upscaler = CompactUpscaler(open_network(find_weights(scale), setup.device), setup.device, rows)

    def method(frame: Any) -> Any:
        with fix_torch_settings():
            return upscaler.upscale(frame).arrays

    return method


def build_raft(setup: Setup) -> Method:
    """Return the stage of flow, in both directions: each frame is encoded once."""
    from filmgate.core.chain import Chain
    from filmgate.core.frame import Frame, Position, StreamSpec
    from filmgate.flow.stage import Flow
    from filmgate.models.families.raft.estimator import RaftEstimator

    chain = Chain((Flow(RaftEstimator(make_raft(setup, get_half(setup)))),))
    states, count = list[Any](), 0

    def method(frame: Any) -> Any:
        nonlocal count
        width, height = frame.size
        spec = StreamSpec(width=width, height=height, rate=None, time_base=Fraction(1),
                          pixels="yuv420p")  # fmt: skip
        state = states.pop() if states else chain.start(spec, Position(0, Fraction(0)))
        state, (output,) = chain.step(
            state, [Frame(count, Fraction(count), Fraction(1), frame, {})]
        )
        states.append(state)
        count += 1
        flow: Any = output.extras.get("flow_prev")
        return [] if flow is None else [flow.cpu()]

    return method


def make_raft(setup: Setup, dtype: Any) -> Any:
    """Return the large RAFT with weights by rule, which estimates flow of some pixels."""
    from filmgate.models.families.raft import net
    from tests.models import tiny

    raft = net.Raft(net.LARGE, "cpu").requires_grad_(False)
    raft.load_state_dict(tiny.raft_tensors(net.LARGE))
    return raft.to(setup.device, dtype).eval()


def build_plain_raft(setup: Setup) -> Method:
    """Return torchvision's RAFT in float32, on each pair again, in both directions."""
    import torch
    from torch.nn import functional
    from torchvision.models.optical_flow import raft_large

    from filmgate.media.pixels.rgb import to_rgb
    from filmgate.models.families.raft.net import CELL, MIN_SIDE, UPDATES

    raft = raft_large(weights=None, progress=False).eval().requires_grad_(False)
    raft.load_state_dict(make_raft(setup, torch.float32).cpu().state_dict())
    raft.to(setup.device)
    last = list[Any]()

    @torch.inference_mode()
    def method(frame: Any) -> Any:
        width, height = frame.size
        image = to_rgb(frame, device=setup.device)[None] * 2 - 1
        across, down = (max(MIN_SIDE, -(-side // CELL) * CELL) - side for side in frame.size)
        image = functional.pad(image, (0, across, 0, down), mode="replicate")
        before = last.pop() if last else None
        last.append(image)
        if before is None:
            return []
        flow = raft(image, before, UPDATES)[-1][0, :, :height, :width]
        raft(before, image, UPDATES)
        return [flow.cpu()]

    return method


COMPARISONS = (
    Comparison("film", (PORTRAIT, FULL_HD), build_film, build_plain_film),
    Comparison("film, low memory", (PORTRAIT, FULL_HD), partial(build_film, large=False),
               build_plain_film),
    Comparison("rife", (PORTRAIT, FULL_HD), build_rife, build_plain_rife),
    Comparison("compact x2", (PORTRAIT, FULL_HD), partial(build_compact, 2, None),
               partial(build_compact, 2, COMPLETE)),
    Comparison("compact x4", (SMALL,), partial(build_compact, 4, None),
               partial(build_compact, 4, COMPLETE)),
    Comparison("raft", (PORTRAIT, FULL_HD), build_raft, build_plain_raft),
)  # fmt: skip


def compare_diffvsr(setup: Setup, report: Report) -> None:
    """Measure the rows of bench/diffvsr_speed.py: images of 512x704 four times as large."""
    bench = import_benchmark("diffvsr_speed")
    size = bench.TINY_SIZE if setup.dry else (SMALL[1], SMALL[0])
    dtype = "float32" if setup.dry else "float16"
    scales = (Fraction(1, 4),) if setup.dry else bench.SCALES
    for scale in sorted(scales):
        for way in ("ours", "plain"):
            row = bench.Row(way, size, scale, dtype)
            with report.check(f"diffvsr {row.name}", "measured") as found:
                line = bench.make_line(row, setup.dry, 1 if setup.dry else 2)
                found |= {name: value for name, value in line.items() if value not in ("", "-")}
            free_memory()
