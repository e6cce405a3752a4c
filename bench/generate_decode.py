"""From latents to a video with frames between the frames: PNG files and batches, or one pass?

"png level 1" and "png level 4": diffusers decodes all frames at once; they become PNG files; pairs
of these are read in batches of 8 and frames between them written, garbage being collected after
each batch; then all files are read and encoded. "one pass": frames go from the streamed decode to
the encoder, with the frame before at hand. The mean of two frames replaces the interpolator,
which costs the same in both. Frames have their real size, weights are by rule. "rows": with the
5B's autoencoder in one channel, so only what frames themselves cost is measured. "small": with that
of the tests, whose decode takes 0.7 s of a CPU for each frame in every way; hence few frames.
Measured are memory above the start of the process, seconds of one CPU, and temporary files.
"predicted": the decode at full size in 16 bits on a GPU, from shapes. "predicted_placement": GB at
most of steps and of the decode on GPUs of 8 to 24 GB with 64 GB of RAM, and how many blocks of the
transformer stay on the GPU.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from time import process_time
from typing import Any

import av
import cv2
import numpy as np
import torch
from _common import write_result

from filmgate.core.instrumentation.memory import measure_peak
from filmgate.models.families.wan22.decode_memory import count_parked, predict_decode
from filmgate.models.families.wan22.decoder import StreamDecoder, denormalize
from filmgate.models.families.wan22.placement import predict as predict_placement
from filmgate.models.families.wan22.published import VARIANTS, Variant
from filmgate.models.families.wan22.request import split_windows

Image = Any  # an array (H, W, 3) of bytes
ROOT = Path(__file__).parents[1]
WIDTH, HEIGHT, BATCH, FPS, LATENTS = 832, 1216, 8, 16, 4
FRAMES, FEW = (25, 81, 161), 25
LEVELS = {"png level 1": 1, "png level 4": 4}
WAYS = ("files", "one pass")
SIZES = ((832, 480), (832, 1216), (1280, 704))
LENGTHS, GPUS, RAM = (25, 81, 121, 161), (8, 12, 16, 24), 64 * 10**9
CHOICES = ((1, False), (4, True), (8, True))  # bands, and whether caches wait on the CPU


def build_vae(kind: str) -> Any:
    """Return the autoencoder of the 5B in 16 bits: "rows" with one channel, "small" as in tests."""
    from diffusers import AutoencoderKLWan

    if kind == "small":
        sys.path.append(str(ROOT))
        from tests.models import tiny_wan22

        return torch.nn.Module.to(tiny_wan22.build_vae("ti2v-5b"), torch.bfloat16)
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=1, decoder_base_dim=1, dim_mult=[1] * 4, num_res_blocks=0, z_dim=LATENTS,
        is_residual=True, in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16,
        latents_mean=[0.0] * LATENTS, latents_std=[1.0] * LATENTS,
    )  # fmt: skip
    torch.nn.Module.to(vae, torch.bfloat16)
    return vae.eval().requires_grad_(False)


def make_latents(frames: int, width: int, height: int) -> torch.Tensor:
    """Return latents of a drawing that moves a little from frame to frame."""
    y, x = torch.meshgrid(*(torch.arange(side // 16) / 9 for side in (height, width)),
                          indexing="ij")  # fmt: skip
    shifts = torch.arange((frames - 1) // 4 + 1) / 5
    moving = [torch.sin(x + k + shift) * torch.cos(y - shift)
              for k in range(LATENTS) for shift in shifts]  # fmt: skip
    return torch.stack(moving).view(1, LATENTS, len(shifts), *y.shape)


def to_bytes(frames: torch.Tensor) -> Iterator[Image]:
    """Yield images of frames (N, 3, H, W) in [0, 1]."""
    for frame in frames:
        yield (frame.float() * 255).round().byte().permute(1, 2, 0).numpy()


def average(a: Image, b: Image) -> Image:
    return ((a.astype(np.uint16) + b + 1) // 2).astype(np.uint8)


def encode(path: Path, images: Iterable[Image], size: tuple[int, int]) -> int:
    """Write a video and return its number of frames."""
    count = 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=2 * FPS, options={"preset": "ultrafast"})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for image in images:
            count += 1
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return count


def decode_all(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return all frames (N, 3, H, W), by the library."""
    with torch.inference_mode():
        video = vae.decode(denormalize(vae, latents), return_dict=False)[0]
        frames: torch.Tensor = (video[0].transpose(0, 1) * 0.5 + 0.5).clamp(0, 1)
        return frames


def run_files(video: torch.Tensor, folder: Path, level: int) -> tuple[int, int]:
    """Write PNG files, double them in batches, encode; return frames and bytes."""
    settings = [cv2.IMWRITE_PNG_COMPRESSION, level]
    for at, image in enumerate(to_bytes(video)):
        cv2.imwrite(str(folder / f"{2 * at:06d}.png"), image[..., ::-1], settings)
    count = len(video)
    for start in range(0, count - 1, BATCH):
        numbers = range(start, min(start + BATCH, count - 1) + 1)
        images = [cv2.imread(str(folder / f"{2 * at:06d}.png")) for at in numbers]
        for at, (a, b) in enumerate(pairwise(images), start):
            cv2.imwrite(str(folder / f"{2 * at + 1:06d}.png"), average(a, b), settings)
        del images
        gc.collect()
    files = sorted(folder.glob("*.png"))
    read = (image[..., ::-1] for path in files if (image := cv2.imread(str(path))) is not None)
    size = (video.shape[3], video.shape[2])
    encoded = encode(folder / "out.mp4", read, size)
    return encoded, sum(path.stat().st_size for path in files)


def run_stream(vae: Any, latents: torch.Tensor, folder: Path) -> tuple[int, int]:
    """Decode, double and encode frame by frame; return frames and bytes of temporary files."""

    def double() -> Iterator[Image]:
        before = None
        for frames in StreamDecoder(vae).stream(latents):
            for image in to_bytes(frames):
                if before is not None:
                    yield average(before, image)
                yield image
                before = image

    size = (latents.shape[4] * 16, latents.shape[3] * 16)
    return encode(folder / "out.mp4", double(), size), 0


def measure(kind: str, way: str, frames: int, width: int, height: int) -> dict[str, dict[str, Any]]:
    """Return the figures of one way in this process; both levels of files share their decode."""
    torch.set_num_threads(1)
    vae, latents = build_vae(kind), make_latents(frames, width, height)
    list(StreamDecoder(vae).stream(latents[:, :, :1, :2, :2]))  # libraries are loaded
    rows, decode_s = {}, 0.0
    with measure_peak() as peak:
        start = process_time()
        video = decode_all(vae, latents) if way == "files" else None
        decode_s = process_time() - start
        for name in LEVELS if video is not None else ("one pass",):
            with tempfile.TemporaryDirectory() as place:
                start, folder = process_time(), Path(place)
                count, size = (run_stream(vae, latents, folder) if video is None
                               else run_files(video, folder, LEVELS[name]))  # fmt: skip
            seconds = decode_s + process_time() - start
            rows[name] = {"frames_out": count, "cpu_seconds": round(seconds, 1),
                          "disk_mb": round(size / 1e6, 1)}  # fmt: skip
    return {name: {**row, "memory_mb": round(peak.bytes / 1e6, 1)} for name, row in rows.items()}


def predict() -> dict[str, dict[str, Any]]:
    """Return the predicted peaks of the full models, the same for any number of frames."""
    rows = {}
    for variant in VARIANTS.values():
        for size in SIZES:
            row: dict[str, Any] = {}
            for bands, park in CHOICES:
                name = f"{bands} bands, parked (GB)" if park else "at once (GB)"
                row[name] = round(predict_decode(variant, size, "bfloat16", bands, park) / 1e9, 2)
            row["parked in RAM (GB)"] = round(count_parked(variant, size, "bfloat16") / 1e9, 2)
            rows[f"{variant.name}, {size[0]}x{size[1]}"] = row
    return rows


def place() -> dict[str, dict[str, str]]:
    """Return the predicted peaks on usual GPUs of both models, by size and number of frames."""
    rows: dict[str, dict[str, str]] = {}
    for variant in VARIANTS.values():
        for size in SIZES:
            for frames in LENGTHS:
                row = {f"{budget} GB": describe(variant, size, frames, budget) for budget in GPUS}
                rows[f"{variant.name}, {size[0]}x{size[1]}, {frames} frames"] = row
    return rows


def describe(variant: Variant, size: tuple[int, int], frames: int, budget: int) -> str:
    """Return the peaks of steps and decode in GB, and how many blocks stay on the GPU."""
    windows = split_windows(frames, variant.window, variant.temporal)
    made = predict_placement(
        variant, size=size, frames=max(one.frames for one in windows), steps=variant.steps,
        passes=2, budget=budget * 10**9, ram=RAM, device="cuda",
    )  # fmt: skip
    steps, decode = (made.parts[part] / 1e9 for part in ("steps", "decode"))
    layers, kept = variant.transformer["num_layers"], made.placement.resident_blocks
    blocks = "all" if made.placement.keep == "resident" else f"{kept} of {layers}"
    return f"{steps:.1f}, {decode:.1f}; {blocks}{', slices' if made.placement.sliced else ''}"


def measure_all(kind: str, lengths: Sequence[int], size: Sequence[int]) -> dict[str, Any]:
    """Return the rows of an autoencoder, each way in a process of its own."""
    rows: dict[str, Any] = {}
    for frames in lengths:
        for way in WAYS:
            words = ["--row", kind, way, str(frames), "--size", *map(str, size)]
            done = subprocess.run([sys.executable, __file__, *words], check=True, text=True,
                                  stdout=subprocess.PIPE)  # fmt: skip
            for name, row in json.loads(done.stdout.splitlines()[-1]).items():
                rows[f"{frames} frames, {name}"] = row
                print(f"{kind}: {frames} frames, {name}: {row}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)  # autoencoder, way, frames
    parser.add_argument("--frames", type=int, action="append")
    parser.add_argument("--size", type=int, nargs=2, default=(WIDTH, HEIGHT))
    options = parser.parse_args()
    if options.row:
        kind, way, frames = options.row
        print(json.dumps(measure(kind, way, int(frames), *options.size)))
        return
    rows = measure_all("rows", options.frames or FRAMES, options.size)
    if options.frames:
        return
    measured = {"rows": rows, "small": measure_all("small", [FEW], options.size)}
    predicted = {"predicted": predict(), "predicted_placement": place()}
    write_result("generate_decode", measured | predicted, torch=torch.__version__)


if __name__ == "__main__":
    main()
