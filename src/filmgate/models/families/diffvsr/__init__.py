"""The family `diffvsr`: films made four times as large by Stream-DiffVSR, frame after frame.

Shiu et al., "Stream-DiffVSR: Low-Latency Streamable Video Super-Resolution via Auto-Regressive
Diffusion", arXiv 2512.23709. UNPROVEN with published weights: none could be fetched where this was
written. Numbers recorded from the published code, with weights made by rule, are matched.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from importlib.util import find_spec

import torch

from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting
from filmgate.media.pixels import rgb
from filmgate.models.contracts import Knobs, MemoryPrediction
from filmgate.models.families.diffvsr.loading import EXTRA, FOLDER, opened, parts
from filmgate.models.families.diffvsr.schedule import Schedule
from filmgate.models.families.diffvsr.stage import SCALE, DiffVsr
from filmgate.models.flow_model import Guide
from filmgate.weights.definitions import WeightsRepository
from filmgate.weights.store import WeightsStore

__all__ = ["folders", "foreseen", "parts", "upscaler"]
KNOBS = ("weights", "dtype", "steps", "flow", "flow_weights", "flow_scale")
STEPS, FLOW = 4, "raft_large"


def folders() -> tuple[WeightsRepository, ...]:
    """The published folder; sizes and hashes of what lies in it are the hub's to tell."""
    return (FOLDER,)


def upscaler(spec: StreamSpec, scale: int, knobs: Knobs) -> AnyStage:
    """See `filmgate.models.upscaler`: a stage; weights are a folder in the published layout.

    Numbers are float16 on a GPU and float32 elsewhere. Motion is found as the network was trained,
    by RAFT on pictures of the result's size, unless the knobs say otherwise.
    """
    _can(spec, scale)
    found_on = SCALE * Fraction(knobs.flow_scale or 1)
    guide = Guide(model=knobs.flow or FLOW, scale=found_on, occlusion=False,
                  weights=knobs.flow_weights)  # fmt: skip
    steps = STEPS if knobs.steps is None else knobs.steps
    # what costs little to mend is told first, and the gigabytes last
    Schedule().levels(steps)
    if find_spec("diffusers") is None:
        raise BadSetting(f"the model diffvsr wants diffusers: {EXTRA}")
    led = guide.stages(spec)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, knobs.dtype or ("float16" if device == "cuda" else "float32"))
    nets, schedule = opened(knobs.weights or WeightsStore.here().path / "diffvsr", dtype, device)
    loop = DiffVsr(nets, schedule, steps, spec.seed)
    return Chain((
        *led, rgb.rgb(device=device), loop, rgb.planes(spec.pixels, spec.colour),
    ))  # fmt: skip


def foreseen(spec: StreamSpec, scale: int, knobs: Knobs) -> Iterator[MemoryPrediction]:
    """See `filmgate.models.foreseen`: ours and the plain way, by dtype, flow scale and batch."""
    from filmgate.models.families.diffvsr import memory

    _can(spec, scale)
    said = {Fraction(knobs.flow_scale or 1)}
    scales = sorted({*said, *(Fraction(1, 1 << k) for k in range(4))}, reverse=True)
    for name in (knobs.dtype,) if knobs.dtype else ("float16", "float32"):
        dtype, size = getattr(torch, name), (spec.height, spec.width)
        yield from memory.ours(size, dtype, knobs.flow or FLOW, scales)
        yield from memory.plain(size, dtype, scales, (1, 2, 4))


def _can(spec: StreamSpec, scale: int) -> None:
    if scale != SCALE:
        raise BadSetting(f"scale is {scale}, and the model diffvsr has {SCALE} and no other: pass "
                         f"--scale {SCALE}")  # fmt: skip
    rgb.rgb().output(spec)  # alpha, HDR: refused with words before the first frame
