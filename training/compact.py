"""Train a network of `filmgate/models/families/compact` from scratch: compact.py --scale 2.

Luma only. Images are drawn here (leaves, gratings, noise, gradients, text; they slide), and taken
from three videos whose licence allows it; the videos are not in the project, their sha256 are
below. Two in five videos are blurred; each is downscaled in one of several ways; two in five are
encoded and decoded. The seed is fixed; the same torch on the same kind of machine gives the same
file.
"""

import argparse
import hashlib
import io
from collections.abc import Iterator
from math import cos, pi, sqrt
from pathlib import Path
from time import perf_counter
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save_file
from torch import Tensor, nn

from filmgate.models.families.compact.net import Compact, Shape, enlarge_by_lanczos

# name: sha256, licence. Frames are taken from all over each.
CLIPS = {
    "intel_car": (
        "d31e0ebf194cc16e50eea784e7c3b0b1bb7976a4fb9b3fec26cb92a6704cca34",
        "CC BY 4.0, intel-iot-devkit/sample-videos car-detection.mp4",
    ),
    "intel_person": (
        "a5964aa259099a482a8b360ffc2c57b5a30f84d5919236a4dad01f8e929ac07c",
        "CC BY 4.0, intel-iot-devkit/sample-videos one-by-one-person-detection.mp4",
    ),
    "nasa_13013": (
        "53705221cac65086253367787e964e5d7d37beeba007646106a2c780d087c9e1",
        "public domain, footage of NASA, by meta-pytorch/torchcodec",
    ),
}
SEED = 6
LONG = 4  # frames of a video
DRAWN_COUNT, CLIP_COUNT = 120, 20  # drawn videos, and videos from each clip
SIDE = 256  # pixels of a drawn frame
MIN_SIDE = 200  # pixels of a frame from a clip
BATCH, PATCH = 16, 36  # pairs of a step, samples of a small patch that count
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.LANCZOS)
FILTER_SHARES = (0.5, 0.25, 0.25)
ENCODED = 0.4
BLURRED = 0.4  # real videos often have less detail than their size allows
TEXT = "The gate is one frame wide 0123456789 FILM gate, ABC xyz & so on: 24/25 fps! Qq Ww @#%"

Luma = npt.NDArray[np.uint8]  # (H, W), codes 16 to 235
VideoSpec = list[Luma]
Pair = tuple[Tensor, Tensor]  # small and large, (H, W) uint8
Rng = np.random.Generator


# --- images -------------------------------------------------------------------------------------


def make_texture(rng: Rng, side: int) -> npt.NDArray[np.float32]:
    """Return noise with a spectrum of 1/f^a, a grating or a gradient, in 0 to 1."""
    kind = rng.integers(4)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    if kind == 0:
        turn = rng.uniform(0, pi)
        along = x * cos(turn) + y * np.sin(turn)
        wave = np.sin(along * rng.uniform(20, 400))
        return np.asarray(0.5 + 0.5 * (np.sign(wave) if rng.random() < 0.3 else wave), np.float32)
    if kind == 1:
        across, down = rng.uniform(-1, 1, 2)
        found = x * across + y * down
    else:
        f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
        f[0, 0] = 1
        noise = np.fft.rfft2(rng.standard_normal((side, side)))
        found = np.fft.irfft2(noise / f ** rng.uniform(0.6, 2.0), (side, side))
    low, high = np.percentile(found, (1, 99))
    return np.asarray(((found - low) / (high - low + 1e-6)).clip(0, 1), np.float32)


def draw_scene(rng: Rng) -> npt.NDArray[np.float32]:
    """Return overlapping leaves, each textured or flat, with text, at twice the video's size."""
    side = 2 * SIDE + 64
    textures = [make_texture(rng, side) for _ in range(5)]
    canvas = 30 + textures[0] * rng.uniform(10, 189)
    for _ in range(int(rng.integers(40, 220))):
        radius = 14 / sqrt(rng.uniform(0.003, 1.0))
        corners = int(rng.choice([3, 4, 5, 6, 24]))
        turn = np.sort(rng.uniform(0, 2 * pi, corners))
        turn = turn if corners < 24 else np.linspace(0, 2 * pi, corners)
        stretch = radius * rng.uniform(0.3, 1, 2)
        place = rng.uniform(0, side, 2)
        points = place + np.stack([np.cos(turn), np.sin(turn)], -1) * stretch
        mask = np.zeros((side, side), np.uint8)
        cv2.fillPoly(mask, [points.astype(np.int32)], 1)
        flat = rng.uniform(0, 219)
        inside = mask.astype(bool)
        if rng.random() < 0.5:
            canvas[inside] = flat
        else:
            rich = textures[int(rng.integers(1, 5))][inside] - 0.5
            canvas[inside] = (flat + rich * rng.uniform(10, 150)).clip(0, 219)
    return draw_text(rng, canvas)


def draw_text(rng: Rng, canvas: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Draw some lines of text, in Pillow's own font, which is the same on every machine."""
    image = Image.fromarray(canvas)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(0, 7))):
        begin = int(rng.integers(0, len(TEXT) - 12))
        words = TEXT[begin : begin + int(rng.integers(4, 30))]
        font = ImageFont.load_default(float(rng.uniform(16, 72)))
        place = tuple(rng.uniform(0, canvas.shape[0] - 80, 2))
        edge = int(rng.integers(0, 4))
        ink = float(rng.choice([0, 219, rng.uniform(0, 219)]))
        draw.text(place, words, fill=ink, font=font, stroke_width=edge, stroke_fill=219 - ink)
    return np.asarray(image, np.float32)


def draw_video(rng: Rng) -> VideoSpec:
    """Return a scene that slides by half pixels under a little grain."""
    full, (right, down) = draw_scene(rng), rng.integers(-8, 9, 2)
    grain = rng.choice([0, 0, 1.5])
    video = []
    for k in range(LONG):
        top, left = 32 + k * down, 32 + k * right
        view = full[top : top + 2 * SIDE, left : left + 2 * SIDE]
        shown = cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        shown = shown + grain * rng.standard_normal(shown.shape)
        video.append((16 + shown).round().clip(16, 235).astype(np.uint8))
    return video


def read_clip(clip: Path, rng: Rng) -> Iterator[VideoSpec]:
    """Yield videos of a few frames from all over a clip, mostly downscaled, so sharper."""
    with av.open(str(clip)) as container:
        frames = read_lumas(container, container.streams.best("video"))
    for start in np.linspace(0, len(frames) - LONG, CLIP_COUNT).astype(int):
        height, width = frames[0].shape
        scale = max(rng.choice([1.0, 0.75, 0.6, 0.5]), MIN_SIDE / height)
        size, bicubic = (int(width * scale), int(height * scale)), Image.Resampling.BICUBIC
        some = frames[start : start + LONG]
        yield [np.asarray(Image.fromarray(luma).resize(size, bicubic)) for luma in some]


def read_lumas(container: Any, stream: Any) -> VideoSpec:
    """Return the luma of every frame."""
    frames = (frame.to_ndarray(format="yuv420p") for frame in container.decode(stream))
    return [frame[: len(frame) * 2 // 3] for frame in frames]


# --- pairs ----------------------------------------------------------------------------------------


def degrade(video: VideoSpec, scale: int, rng: Rng) -> list[Pair]:
    """Return each image with its downscaled version."""
    step = 2 * scale  # encoders want even sides
    height, width = (n // step * step for n in video[0].shape)
    large = [image[:height, :width] for image in video]
    if rng.random() < BLURRED:
        sigma = rng.uniform(0.2, 0.8) * scale
        large = [np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8) for image in large]
    how = FILTERS[int(rng.choice(len(FILTERS), p=FILTER_SHARES))]
    size = (width // scale, height // scale)
    small = [np.asarray(Image.fromarray(image).resize(size, how)) for image in large]
    if rng.random() < ENCODED:
        small = encode(small, int(rng.integers(12, 25)))
    return [
        (torch.from_numpy(a.copy()), torch.from_numpy(b.copy()))
        for a, b in zip(small, large, strict=True)
    ]


def encode(video: VideoSpec, crf: int) -> VideoSpec:
    """Return the video after encoding by h264."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        # without AVX-512, whose code is not deterministic
        options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": "asm=0"}
        stream: Any = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *video[0].shape, "yuv420p"
        for image in video:
            grey = np.full((image.shape[0] // 2, image.shape[1]), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.vstack([image, grey]), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    buffer.seek(0)
    with av.open(buffer) as container:
        return read_lumas(container, container.streams.video[0])


def make_pairs(clips: Path, scale: int) -> tuple[list[Pair], list[Pair]]:
    """Return pairs from drawn videos and from clips; each is downscaled twice."""
    rng = np.random.default_rng(SEED)
    videos = [draw_video(rng) for _ in range(DRAWN_COUNT)]
    real: list[VideoSpec] = []
    for name, (sha256, licence) in CLIPS.items():
        path = clips / f"{name}.mp4"
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise SystemExit(
                f"{path} is missing or differs: put {licence} there, with sha256 {sha256}"
            )
        real += read_clip(path, rng)
    one, other = (
        [pair for video in kind for _ in range(2) for pair in degrade(video, scale, rng)]
        for kind in (videos, real)
    )
    return one, other


def cut_patch(pair: Pair, scale: int, reach: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """Return a small patch with its receptive field and the large one, in [0, 1], augmented."""
    small, large = pair
    side = PATCH + 2 * reach
    top, left = (int(rng.integers(0, n - side + 1)) for n in small.shape)
    a = small[top : top + side, left : left + side]
    b = large[
        (top + reach) * scale : (top + reach + PATCH) * scale,
        (left + reach) * scale : (left + reach + PATCH) * scale,
    ]
    turns, flip, negative = rng.integers(4), rng.random() < 0.5, rng.random() < 0.25
    both = []
    for x in (a, b):
        x = torch.rot90(x.float().sub(16).div(219), int(turns), (0, 1))
        x = x.flip(0) if flip else x
        both.append((1 - x if negative else x)[None])
    return both[0], both[1]


# --- training -------------------------------------------------------------------------------------


def train(scale: int, clips: Path, steps: int) -> Compact:
    """Return the trained network; its weights are the running mean over the last steps."""
    torch.manual_seed(SEED)
    net = Compact(Shape(scale))
    for conv in list(net.convs)[:-1]:
        nn.init.kaiming_normal_(conv.weight, 0.1)  # type: ignore[arg-type]
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    mean = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rng = np.random.default_rng(SEED + scale)
    pools = make_pairs(clips, scale)
    samples = [[pool[k] for k in range(3, len(pool), len(pool) // 12)] for pool in pools]
    optimizer = torch.optim.Adam(net.parameters(), 1.5e-3)
    begin = perf_counter()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * cos(pi * step / steps))
        optimizer.param_groups[0]["lr"] = 1.5e-3 * max(rate, 0.01)
        chosen = [pools[int(rng.random() < 0.6)] for _ in range(BATCH)]
        patches = [cut_patch(pool[int(rng.integers(len(pool)))], scale, net.reach, rng)
               for pool in chosen]  # fmt: skip
        small, large = (torch.stack(side) for side in zip(*patches, strict=True))
        loss = ((net.forward_padded(small) - large).square() + 25e-6).sqrt().mean()  # Charbonnier
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
        share = min(0.998, step / (step + 10))
        for name, tensor in net.state_dict().items():
            mean[name].lerp_(tensor, 1 - share)
        if step % 250 == 249 or step + 1 == steps:
            current = Compact(Shape(scale))
            current.load_state_dict(mean)
            gains = ", ".join(f"{measure_gain(current, pool):+.3f} dB" for pool in samples)
            print(f"{step + 1:6} {loss.item():.5f} over Lanczos: {gains} (drawn, clips) "
                  f"{perf_counter() - begin:.0f} s", flush=True)  # fmt: skip
    net.load_state_dict(mean)
    return net


@torch.inference_mode()
def measure_gain(net: Compact, pairs: list[Pair]) -> float:
    """Return the gain over Lanczos in dB, on some of the training pairs."""
    gains = []
    for small, large in pairs:
        plane, truth = (x.float().sub(16).div(219)[None, None] for x in (small, large))
        outputs = net(plane), enlarge_by_lanczos(plane, net.shape.scale)
        errors = [float((x.clamp(0, 1) - truth).square().mean()) + 1e-9 for x in outputs]
        gains.append(10 * np.log10(errors[1] / errors[0]))
    return float(np.mean(gains))


def main() -> None:
    here = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, choices=(2, 4), required=True)
    parser.add_argument("--clips", type=Path, default=here.parent / "shared" / "clips")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--out", type=Path, help="Default: its place in the package")
    options = parser.parse_args()
    torch.set_num_threads(1)
    net = train(options.scale, options.clips, options.steps)
    place = here / "src/filmgate/models/families/compact" / f"x{options.scale}.safetensors"
    halves = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    save_file(halves, options.out or place)
    print(options.out or place)


if __name__ == "__main__":
    main()
