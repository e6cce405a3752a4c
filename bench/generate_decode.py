"""From latents to a video with frames between the frames: PNG files and batches, or one pass?

"png level 1" and "png level 4": diffusers decodes all frames at once; they become PNG files; pairs
of these are read in batches of 8 and frames between them written, garbage being collected after
each batch; then all files are read and encoded. "one pass": frames go from the streamed decode to
the encoder, with the frame before at hand. The mean of two frames replaces the interpolator,
which costs the same in both. Frames have their real size; the autoencoder is the 5B's in one
channel, with weights by rule, so only what frames themselves cost is measured: memory above the
start of the process, seconds of one CPU, and temporary files. "predicted": the decode at
full size in 16 bits on a GPU, from shapes.
"""

import argparse
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
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
from filmgate.models.families.wan22.published import VARIANTS

Image = Any  # an array (H, W, 3) of bytes
WIDTH, HEIGHT, BATCH, FPS, LATENTS = 832, 1216, 8, 16, 4
FRAMES = (25, 81, 161)
LEVELS = {"png level 1": 1, "png level 4": 4}
WAYS = (*LEVELS, "one pass")
SIZES = ((832, 480), (832, 1216), (1280, 704))
CHOICES = ((1, False), (4, True), (8, True))  # bands, and whether caches wait on the CPU


def build_vae() -> Any:
    """Return the autoencoder of the 5B with one channel, in 16 bits."""
    from diffusers import AutoencoderKLWan

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


def run_files(vae: Any, latents: torch.Tensor, folder: Path, level: int) -> tuple[int, int]:
    """Decode all, write PNG files, double them in batches, encode; return frames and bytes."""
    settings = [cv2.IMWRITE_PNG_COMPRESSION, level]
    with torch.inference_mode():
        video = vae.decode(denormalize(vae, latents), return_dict=False)[0]
        video = (video[0].transpose(0, 1) * 0.5 + 0.5).clamp(0, 1)
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


def measure(way: str, frames: int, width: int, height: int) -> dict[str, Any]:
    """Return the figures of one way in this process."""
    torch.set_num_threads(1)
    vae, latents = build_vae(), make_latents(frames, width, height)
    list(StreamDecoder(vae).stream(latents[:, :, :1, :2, :2]))  # libraries are loaded
    with tempfile.TemporaryDirectory() as folder, measure_peak() as peak:
        start = process_time()
        run = run_stream if way == "one pass" else run_files
        rest = () if way == "one pass" else (LEVELS[way],)
        count, size = run(vae, latents, Path(folder), *rest)
        seconds = process_time() - start
    return {"frames_out": count, "cpu_seconds": round(seconds, 1), "disk_mb": round(size / 1e6, 1),
            "memory_mb": round(peak.bytes / 1e6, 1)}  # fmt: skip


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)  # a way, and frames
    parser.add_argument("--frames", type=int, action="append")
    parser.add_argument("--size", type=int, nargs=2, default=(WIDTH, HEIGHT))
    options = parser.parse_args()
    if options.row:
        way, frames = options.row
        print(json.dumps(measure(way, int(frames), *options.size)))
        return
    rows = {}
    for frames in options.frames or FRAMES:
        for way in WAYS:
            words = ["--row", way, str(frames), "--size", *map(str, options.size)]
            done = subprocess.run([sys.executable, __file__, *words], check=True, text=True,
                                  stdout=subprocess.PIPE)  # fmt: skip
            rows[f"{frames} frames, {way}"] = row = json.loads(done.stdout.splitlines()[-1])
            print(f"{frames} frames, {way}: {row}", flush=True)
    if not options.frames:
        write_result("generate_decode", {"rows": rows, "predicted": predict()},
                     torch=torch.__version__)  # fmt: skip


if __name__ == "__main__":
    main()
