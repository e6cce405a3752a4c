"""How long does lipsync take on the device, phase by phase, and how much memory?

LatentSync at full size with random weights, for 242 frames of 1080x1920 (9.6 seconds of speech): a
few clips of 16 frames are measured, and the seconds are those of all frames at that speed. "ours"
is the product; "plain" encodes and decodes 16 faces at once, as the published code does. Seconds
are medians, each waited for; GB are what torch's allocator allocated and reserved at most.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

from tests.gpu.shared import NETWORKS, Part, Report, Setup
from tests.gpu.speed import free_memory, is_out_of_memory

FRAMES, CLIPS, LENGTH = 242, 3, 16
SIDES = (256, 512)
STEPS, REFRESH, GUIDANCE = 20, 3, 1.5
FULL = (1080, 1920)  # (width, height)


def list_parts() -> list[Part]:
    """Return the part."""
    return [Part("speed lipsync", measure_lips, NETWORKS, 150)]


def measure_lips(setup: Setup, report: Report) -> None:
    """Measure both ways at both sizes of a face."""
    import torch

    from filmgate.core.instrumentation.torch_settings import fix_torch_settings

    with torch.inference_mode(), fix_torch_settings():
        networks: Any = None
        with report.check("lipsync: the networks are built", "measured") as found:
            networks = build_networks(setup)
            found["parameters"] = sum(p.numel() for net in networks for p in net.parameters())
        if networks is None:
            return
        for side in (64,) if setup.dry else SIDES:
            for way in ("ours", "plain"):
                with report.check(f"lipsync {side} {way}", "measured") as found:
                    try:
                        measure_phases(networks, side, way, setup, found)
                    except Exception as error:
                        if not is_out_of_memory(error):
                            raise
                        found["out_of_memory"] = str(error).partition(". GPU")[0][:200]
                free_memory()


def build_networks(setup: Setup) -> tuple[Any, Any, Any]:
    """Return UNet, Whisper and autoencoder with random weights, in half precision on a GPU."""
    import torch

    from filmgate.models.diffusion.autoencoder import Autoencoder
    from filmgate.models.families.latentsync.unet import Shape, UNet
    from filmgate.models.families.latentsync.whisper import WhisperEncoder, WhisperShape

    torch.manual_seed(0)
    if setup.dry:
        nets: tuple[Any, ...] = (UNet(Shape((32, 32), 1, 8, 16)),
                                 WhisperEncoder(WhisperShape(width=16, heads=1)),
                                 Autoencoder((32, 32, 32, 32), 1))  # fmt: skip
    else:
        with torch.device("cuda"):
            nets = UNet(), WhisperEncoder(), Autoencoder()
    dtype = torch.float32 if setup.dry else torch.float16
    unet, whisper, vae = (net.to(setup.device, dtype).eval().requires_grad_(False) for net in nets)
    return unet, whisper, vae


def measure_phases(
    networks: tuple[Any, Any, Any], side: int, way: str, setup: Setup, found: dict[str, Any]
) -> None:
    """Fill in the seconds of each phase for all frames, their sum, and the memory."""
    import torch

    from filmgate.models.families.latentsync.alignment import Crop, align
    from filmgate.models.families.latentsync.faces import find_in_box
    from filmgate.models.families.latentsync.memory import predict
    from filmgate.models.families.latentsync.pixels import extract_face, paste_face
    from filmgate.models.families.latentsync.sampler import Clip, Sampler

    unet, whisper, vae = networks
    device, cell, crop = setup.device, side // 8, Crop(side)
    width, height = (96, 128) if setup.dry else FULL
    image = make_image(width, height)
    matrix, _ = align(find_in_box((width / 3, height / 3, width / 4, width / 4)), (), crop)
    at_once = LENGTH if way == "plain" else 2
    faces = torch.rand(at_once, 3, side, side, device=device) * 2 - 1
    latents = torch.randn(LENGTH, 4, cell, cell, device=device)
    tokens = torch.randn(LENGTH, 50, unet.shape.audio, device=device)
    clip = Clip(torch.ones(1, cell, cell, device=device), latents, latents.clone(), tokens)
    steps = 2 if setup.dry else STEPS
    sampler = Sampler(unet, steps, GUIDANCE, REFRESH)
    mel = torch.zeros(1, whisper.shape.bands, 2 * whisper.shape.places, device=device)
    clips, noise = -(-FRAMES // LENGTH), latents[:1].clone()
    face = torch.rand(3, side, side)
    if not setup.dry:
        torch.cuda.reset_peak_memory_stats()
    # what is run, and how often for all frames
    phases: dict[str, tuple[Callable[[], object], float]] = {
        "audio": (lambda: whisper(mel.to(unet.dtype)), 1),
        "align": (lambda: extract_face(image, matrix, crop), 2 * FRAMES),
        "encode": (lambda: vae.encode(faces), 2 * FRAMES / at_once),
        "denoise": (lambda: sampler.denoise(clip, noise), clips),
        "decode": (lambda: vae.decode(latents[:at_once]), FRAMES / at_once),
        "paste": (lambda: paste_face(image, face, matrix, crop), FRAMES),
    }
    total = 0.0
    for name, (run, times) in phases.items():
        seconds = measure(run, setup) * times
        found[f"{name}_s"], total = round(seconds, 2), total + seconds
    found["total_s"] = round(total, 2)
    if not setup.dry:
        found["gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        found["reserved_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 3)
        rows = {row.way: row for row in predict(side, "float16", GUIDANCE)}
        found["predicted_gb"] = round(rows[way].peak / 1e9, 3)


def measure(run: Callable[[], object], setup: Setup) -> float:
    """Return the median of a few calls, after one that warms up."""
    import torch

    times = []
    for _ in range(1 if setup.dry else CLIPS + 1):
        start = perf_counter()
        run()
        if not setup.dry:
            torch.cuda.synchronize()
        times.append(perf_counter() - start)
    return median(times[1:] or times)


def make_image(width: int, height: int) -> Any:
    """Return planes of noise."""
    import numpy as np

    from filmgate.core.frame import ColorTags
    from filmgate.media.pixels.planes import Planes

    chance = np.random.default_rng(1)
    sizes = [(height, width), *[(height // 2, width // 2)] * 2]
    arrays = tuple(chance.integers(16, 235, size, np.uint8) for size in sizes)
    return Planes(arrays, "yuv420p", ColorTags(matrix="bt709", range="tv"))
