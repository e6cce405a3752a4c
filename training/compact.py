"""Trains a network of `filmgate/models/compact` from nothing: training/compact.py --scale 2.

Luma only. Pictures are drawn here (leaves, gratings, noise, gradients, text; they slide), and taken
from three films whose licence allows it; the films are not in the project, their sha256 are below.
Each film, two times in five blurred, is made small in one of several ways and, two times in five,
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

from filmgate.models.families.compact.net import Compact, Shape, enlarged

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
LONG = 4  # frames of a film
DRAWN, TAKEN = 120, 20  # films that are drawn, and taken from each clip
SIDE = 256  # of what is drawn
SMALLEST = 200  # of what is taken
BATCH, PATCH = 16, 36  # pairs of a step, samples of a small patch that count
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BOX, Image.Resampling.LANCZOS)
HOW_OFTEN = (0.5, 0.25, 0.25)
ENCODED = 0.4
SOFT = 0.4  # real films often have less detail than their size has room for
WORDS = "The gate is one frame wide 0123456789 FILM gate, ABC xyz & so on: 24/25 fps! Qq Ww @#%"

Picture = npt.NDArray[np.uint8]  # (H, W), codes 16 to 235
VideoSpec = list[Picture]
Pair = tuple[Tensor, Tensor]  # small and large, (H, W) uint8
Chance = np.random.Generator


# --- pictures -------------------------------------------------------------------------------------


def texture(chance: Chance, side: int) -> npt.NDArray[np.float32]:
    """Noise with a spectrum of 1/f^a, a grating or a gradient, in 0 to 1."""
    kind = chance.integers(4)
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    if kind == 0:
        turn = chance.uniform(0, pi)
        along = x * cos(turn) + y * np.sin(turn)
        wave = np.sin(along * chance.uniform(20, 400))
        return np.asarray(
            0.5 + 0.5 * (np.sign(wave) if chance.random() < 0.3 else wave), np.float32
        )
    if kind == 1:
        across, down = chance.uniform(-1, 1, 2)
        found = x * across + y * down
    else:
        f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
        f[0, 0] = 1
        noise = np.fft.rfft2(chance.standard_normal((side, side)))
        found = np.fft.irfft2(noise / f ** chance.uniform(0.6, 2.0), (side, side))
    low, high = np.percentile(found, (1, 99))
    return np.asarray(((found - low) / (high - low + 1e-6)).clip(0, 1), np.float32)


def scene(chance: Chance) -> npt.NDArray[np.float32]:
    """Leaves over leaves, each of a texture or flat, with text; twice as large as it is shown."""
    side = 2 * SIDE + 64
    textures = [texture(chance, side) for _ in range(5)]
    canvas = 30 + textures[0] * chance.uniform(10, 189)
    for _ in range(int(chance.integers(40, 220))):
        radius = 14 / sqrt(chance.uniform(0.003, 1.0))
        corners = int(chance.choice([3, 4, 5, 6, 24]))
        turn = np.sort(chance.uniform(0, 2 * pi, corners))
        turn = turn if corners < 24 else np.linspace(0, 2 * pi, corners)
        stretch = radius * chance.uniform(0.3, 1, 2)
        place = chance.uniform(0, side, 2)
        points = place + np.stack([np.cos(turn), np.sin(turn)], -1) * stretch
        mask = np.zeros((side, side), np.uint8)
        cv2.fillPoly(mask, [points.astype(np.int32)], 1)
        flat = chance.uniform(0, 219)
        inside = mask.astype(bool)
        if chance.random() < 0.5:
            canvas[inside] = flat
        else:
            rich = textures[int(chance.integers(1, 5))][inside] - 0.5
            canvas[inside] = (flat + rich * chance.uniform(10, 150)).clip(0, 219)
    return written(chance, canvas)


def written(chance: Chance, canvas: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The picture with some lines of text, in Pillow's own font, which is the same everywhere."""
    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    for _ in range(int(chance.integers(0, 7))):
        begin = int(chance.integers(0, len(WORDS) - 12))
        words = WORDS[begin : begin + int(chance.integers(4, 30))]
        font = ImageFont.load_default(float(chance.uniform(16, 72)))
        place = tuple(chance.uniform(0, canvas.shape[0] - 80, 2))
        edge = int(chance.integers(0, 4))
        ink = float(chance.choice([0, 219, chance.uniform(0, 219)]))
        draw.text(place, words, fill=ink, font=font, stroke_width=edge, stroke_fill=219 - ink)
    return np.asarray(picture, np.float32)


def drawn(chance: Chance) -> VideoSpec:
    """A scene that slides by half pixels under a little grain."""
    whole, (right, down) = scene(chance), chance.integers(-8, 9, 2)
    grain = chance.choice([0, 0, 1.5])
    film = []
    for k in range(LONG):
        top, left = 32 + k * down, 32 + k * right
        view = whole[top : top + 2 * SIDE, left : left + 2 * SIDE]
        shown = cv2.resize(view, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        shown = shown + grain * chance.standard_normal(shown.shape)
        film.append((16 + shown).round().clip(16, 235).astype(np.uint8))
    return film


def taken(clip: Path, chance: Chance) -> Iterator[VideoSpec]:
    """Films of a few frames from all over a clip, at most times made smaller, so sharper."""
    with av.open(str(clip)) as container:
        frames = lumas(container, container.streams.best("video"))
    for start in np.linspace(0, len(frames) - LONG, TAKEN).astype(int):
        height, width = frames[0].shape
        scale = max(chance.choice([1.0, 0.75, 0.6, 0.5]), SMALLEST / height)
        size, bicubic = (int(width * scale), int(height * scale)), Image.Resampling.BICUBIC
        some = frames[start : start + LONG]
        yield [np.asarray(Image.fromarray(luma).resize(size, bicubic)) for luma in some]


def lumas(container: Any, stream: Any) -> VideoSpec:
    """The luma of every frame."""
    frames = (frame.to_ndarray(format="yuv420p") for frame in container.decode(stream))
    return [frame[: len(frame) * 2 // 3] for frame in frames]


# --- pairs ----------------------------------------------------------------------------------------


def degraded(film: VideoSpec, scale: int, chance: Chance) -> list[Pair]:
    """Each picture with its small one."""
    step = 2 * scale  # encoders want even sides
    height, width = (n // step * step for n in film[0].shape)
    large = [picture[:height, :width] for picture in film]
    if chance.random() < SOFT:
        sigma = chance.uniform(0.2, 0.8) * scale
        large = [
            np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) for picture in large
        ]
    how = FILTERS[int(chance.choice(len(FILTERS), p=HOW_OFTEN))]
    size = (width // scale, height // scale)
    small = [np.asarray(Image.fromarray(picture).resize(size, how)) for picture in large]
    if chance.random() < ENCODED:
        small = encoded(small, int(chance.integers(12, 25)))
    return [
        (torch.from_numpy(a.copy()), torch.from_numpy(b.copy()))
        for a, b in zip(small, large, strict=True)
    ]


def encoded(film: VideoSpec, crf: int) -> VideoSpec:
    """What h264 leaves of it."""
    held = io.BytesIO()
    with av.open(held, "w", format="matroska") as container:
        # plain code: that for AVX-512 does not repeat itself
        options = {"crf": str(crf), "preset": "veryfast", "threads": "1", "x264-params": "asm=0"}
        stream: Any = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *film[0].shape, "yuv420p"
        for picture in film:
            grey = np.full((picture.shape[0] // 2, picture.shape[1]), 128, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.vstack([picture, grey]), format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    held.seek(0)
    with av.open(held) as made:
        return lumas(made, made.streams.video[0])


def pairs(clips: Path, scale: int) -> tuple[list[Pair], list[Pair]]:
    """From drawn films and from taken ones, each made small in two ways."""
    chance = np.random.default_rng(SEED)
    videos = [drawn(chance) for _ in range(DRAWN)]
    real: list[VideoSpec] = []
    for name, (sha256, licence) in CLIPS.items():
        path = clips / f"{name}.mp4"
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise SystemExit(f"{path} is wanted, {licence}, with sha256 {sha256}")
        real += taken(path, chance)
    one, other = (
        [pair for film in kind for _ in range(2) for pair in degraded(film, scale, chance)]
        for kind in (videos, real)
    )
    return one, other


def patch(pair: Pair, scale: int, reach: int, chance: Chance) -> tuple[Tensor, Tensor]:
    """A small patch with what is seen around it, and the large one, in [0, 1], turned by chance."""
    small, large = pair
    side = PATCH + 2 * reach
    top, left = (int(chance.integers(0, n - side + 1)) for n in small.shape)
    a = small[top : top + side, left : left + side]
    b = large[
        (top + reach) * scale : (top + reach + PATCH) * scale,
        (left + reach) * scale : (left + reach + PATCH) * scale,
    ]
    turns, flip, negative = chance.integers(4), chance.random() < 0.5, chance.random() < 0.25
    both = []
    for x in (a, b):
        x = torch.rot90(x.float().sub(16).div(219), int(turns), (0, 1))
        x = x.flip(0) if flip else x
        both.append((1 - x if negative else x)[None])
    return both[0], both[1]


# --- training -------------------------------------------------------------------------------------


def trained(scale: int, clips: Path, steps: int) -> Compact:
    """The network, its weights the running mean of those of the last steps."""
    torch.manual_seed(SEED)
    net = Compact(Shape(scale))
    for conv in list(net.convs)[:-1]:
        nn.init.kaiming_normal_(conv.weight, 0.1)  # type: ignore[arg-type]
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    mean = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    chance = np.random.default_rng(SEED + scale)
    pools = pairs(clips, scale)
    tried = [[pool[k] for k in range(3, len(pool), len(pool) // 12)] for pool in pools]
    optimizer = torch.optim.Adam(net.parameters(), 1.5e-3)
    begin = perf_counter()
    for step in range(steps):
        rate = min(1.0, (step + 1) / 100) * (0.5 + 0.5 * cos(pi * step / steps))
        optimizer.param_groups[0]["lr"] = 1.5e-3 * max(rate, 0.01)
        chosen = [pools[int(chance.random() < 0.6)] for _ in range(BATCH)]
        cut = [patch(pool[int(chance.integers(len(pool)))], scale, net.reach, chance)
               for pool in chosen]  # fmt: skip
        small, large = (torch.stack(side) for side in zip(*cut, strict=True))
        loss = ((net.inner(small) - large).square() + 25e-6).sqrt().mean()  # Charbonnier
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
        share = min(0.998, step / (step + 10))
        for name, tensor in net.state_dict().items():
            mean[name].lerp_(tensor, 1 - share)
        if step % 250 == 249 or step + 1 == steps:
            now = Compact(Shape(scale))
            now.load_state_dict(mean)
            told = ", ".join(f"{gain(now, pool):+.3f} dB" for pool in tried)
            print(f"{step + 1:6} {loss.item():.5f} over Lanczos: {told} (drawn, taken) "
                  f"{perf_counter() - begin:.0f} s", flush=True)  # fmt: skip
    net.load_state_dict(mean)
    return net


@torch.inference_mode()
def gain(net: Compact, some: list[Pair]) -> float:
    """dB over Lanczos, on some of the pairs that it learns from."""
    gains = []
    for small, large in some:
        plane, wanted = (x.float().sub(16).div(219)[None, None] for x in (small, large))
        made = net(plane), enlarged(plane, net.shape.scale)
        errors = [float((x.clamp(0, 1) - wanted).square().mean()) + 1e-9 for x in made]
        gains.append(10 * np.log10(errors[1] / errors[0]))
    return float(np.mean(gains))


def main() -> None:
    here = Path(__file__).parents[1]
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--scale", type=int, choices=(2, 4), required=True)
    wanted.add_argument("--clips", type=Path, default=here.parent / "shared" / "clips")
    wanted.add_argument("--steps", type=int, default=5000)
    wanted.add_argument("--out", type=Path, help="without: where the package has it")
    options = wanted.parse_args()
    torch.set_num_threads(1)
    net = trained(options.scale, options.clips, options.steps)
    place = here / "src/filmgate/models/families/compact" / f"x{options.scale}.safetensors"
    halves = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    save_file(halves, options.out or place)
    print(options.out or place)


if __name__ == "__main__":
    main()
