"""How fast is animate on the device, when does its first frame come, how much memory does it take?

PersonaLive at full size with random weights, in half precision, at 512x512: the stage as it runs,
frame by frame, with 0 and 3 keyframes; the part `compile animate` measures its UNet compiled.
Seconds are medians of windows of 4 frames, each waited for; GB are what torch's allocator allocated
and reserved at most, weights included. For comparison: 15.8 frames a second on an H100 are the
authors' figure, 5 on an RTX 4090 that of users.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from statistics import median
from time import perf_counter
from typing import Any

from tests.gpu.shared import NETWORKS, Part, Report, Setup
from tests.gpu.speed import free_memory, is_out_of_memory

WARM_UP, WINDOWS = 5, 12
ROW_S = 25  # of measuring one row


def list_parts() -> list[Part]:
    """Return the part."""
    return [Part("speed animate", measure_portraits, NETWORKS, 100)]


def measure_portraits(setup: Setup, report: Report) -> None:
    """Measure the stage with 0 and 3 keyframes."""
    import torch

    from filmgate.core.instrumentation.torch_settings import fix_torch_settings

    with torch.inference_mode(), fix_torch_settings():
        nets = None
        with report.check("animate: the networks are built", "measured") as found:
            nets = build_networks(setup)
            held = (nets.unet, nets.motion, nets.heads, nets.guider, nets.decoder, nets.encoder,
                    nets.reference)  # fmt: skip
            found["parameters"] = sum(p.numel() for net in held for p in net.parameters())
        if nets is None:
            return
        for keyframes in (0, 3):
            with report.check(f"animate, {keyframes} keyframes", "measured") as found:
                try:
                    measure_stage(nets, keyframes, setup, found)
                except Exception as error:
                    if not is_out_of_memory(error):
                        raise
                    found["out_of_memory"] = str(error).partition(". GPU")[0][:200]
            free_memory()


def build_networks(setup: Setup) -> Any:
    """Return the networks with random weights, in half precision on a GPU; CLIP sees nothing."""
    import torch
    from torch import nn

    from filmgate.models.diffusion.autoencoder import Autoencoder
    from filmgate.models.families.personalive.extractor import HeadExtractor, PoseGuider
    from filmgate.models.families.personalive.motion import MotionEncoder
    from filmgate.models.families.personalive.networks import (
        LatentDecoder,
        LatentEncoder,
        Networks,
    )
    from filmgate.models.families.personalive.unet import DenoisingUnet, ReferenceUnet, Shape
    from tests.models.tiny_personalive import SHAPE

    dry, device = setup.dry, setup.device
    shape = SHAPE if dry else Shape()
    dtype = torch.float32 if dry else torch.float16

    class Clip(nn.Module):
        """The token of nothing."""

        def forward(self, images: Any) -> Any:
            return images.new_zeros(1, 1, shape.context)

    torch.manual_seed(0)
    vae = Autoencoder((32, 32, 32, 32), 1) if dry else Autoencoder()
    parts: dict[str, Any] = {
        "unet": DenoisingUnet(shape, device),
        "motion": MotionEncoder(64, 32, device) if dry else MotionEncoder(device=device),
        "heads": HeadExtractor((1, 1, 1, 1), (8, 8, 8, 8), device) if dry
        else HeadExtractor(device=device),
        "guider": PoseGuider(32, (4, 4, 8, 8), device) if dry else PoseGuider(device=device),
        "decoder": LatentDecoder(vae).to(device), "clip": Clip(),
        "encoder": LatentEncoder(vae).to("cpu"), "reference": ReferenceUnet(shape),
    }  # fmt: skip
    for net in parts.values():
        net.to(dtype).eval().requires_grad_(False)
    return Networks(**parts, device=device)


def measure_stage(nets: Any, keyframes: int, setup: Setup, figures: dict[str, Any]) -> None:
    """Add the figures of the stage on a driver of noise to `figures`."""
    import torch

    from filmgate.models.families.personalive.memory import predict_ours

    size = 64 if setup.dry else 512
    stage, spec, frames = make_stage(nets, size, keyframes)
    free_memory()
    start, seconds, count = perf_counter(), list[float](), 0
    state = put_keyframes(stage.start(spec, frames[0].position), size // 8, keyframes)
    while len(seconds) < (2 if setup.dry else WARM_UP + WINDOWS):
        before = perf_counter()
        some = [replace(frame, index=count + k, time=Fraction(count + k, 25))
                for k, frame in enumerate(frames)]  # fmt: skip
        state, outputs = stage.step(state, some)
        if not setup.dry:
            torch.cuda.synchronize()
        count += len(frames)
        if outputs and "first_frame_s" not in figures:
            figures["first_frame_s"] = round(perf_counter() - start, 2)
        seconds.append(perf_counter() - before)
        if perf_counter() - start > ROW_S and len(seconds) > WARM_UP:
            break
    took = median(seconds[WARM_UP:] or seconds)
    figures["s_per_window"] = round(took, 4)
    figures["frames_per_second"] = round(len(frames) / took, 2)
    if not setup.dry:
        figures["gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        figures["reserved_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 3)
        predicted = predict_ours(size, torch.float16, keyframes).peak
        figures["predicted_gb"] = round(predicted / 1e9, 3)


def make_stage(nets: Any, size: int, keyframes: int) -> tuple[Any, Any, list[Any]]:
    """Return the stage, its stream, and a window of frames."""
    import numpy as np

    from filmgate.core.frame import ColorTags, Frame, StreamSpec
    from filmgate.media.pixels.planes import Planes
    from filmgate.models.contracts import AnimationRequest
    from filmgate.models.families.personalive.stage import build_stage

    chance = np.random.default_rng(0)
    tags = ColorTags(matrix="bt709", range="tv")

    def make_image() -> Planes:
        sides = (512, 512), (256, 256), (256, 256)
        return Planes(tuple(chance.integers(16, 235, side, np.uint8) for side in sides),
                      "yuv420p", tags)  # fmt: skip

    spec = StreamSpec(width=512, height=512, rate=Fraction(25), time_base=Fraction(1, 25),
                      pixels="yuv420p", colour=tags)  # fmt: skip
    request = AnimationRequest(portrait=make_image(), size=size, keyframes=keyframes)
    stage, *_ = build_stage(nets, spec, request).stages
    frames = [Frame(k, Fraction(k, 25), Fraction(1, 25), make_image()) for k in range(4)]
    return stage, spec, frames


def put_keyframes(state: Any, side: int, count: int) -> Any:
    """Return the state of a stage that has found so many keyframes; here they are noise."""
    import torch

    chance = torch.Generator().manual_seed(2)
    found = tuple(torch.randn(1, 4, side, side, generator=chance) for _ in range(count))
    return replace(state, progress=replace(state.progress, keyframes=found))
