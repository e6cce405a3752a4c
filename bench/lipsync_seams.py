"""How much do the clips of lipsync show, by the frames that neighbours share, and at what cost?

A small network of LatentSync's kind with random weights; latents and audio change smoothly, so that
only the boundaries of clips can make a jump. Decoded is what the latents are, without a network.
Scores at boundaries are those of the seam check. The jump is the mean change of generated luma from
one frame to the next: the largest where two clips meet, and elsewhere. The cost is frames denoised
for each that comes out. What published weights make is another question: they were not available.
"""

import argparse
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import write_result
from torch import Tensor, nn

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.media.pixels.planes import Planes
from filmgate.models.diffusion.autoencoder import SCALE, Autoencoder
from filmgate.models.families.latentsync.alignment import Crop
from filmgate.models.families.latentsync.sampler import Clip, Sampler, Trajectory
from filmgate.models.families.latentsync.speech import TOKENS
from filmgate.models.families.latentsync.stages import FACE, LENGTH, PreparedFace, SyncLips
from filmgate.models.families.latentsync.unet import Shape, UNet
from filmgate.quality.report.plot import Curve, Marks, draw_plot, stack_vertically
from filmgate.quality.seams.score import judge_signals, measure_signals

PLOT = Path(__file__).parents[1] / "docs" / "img" / "lipsync_seams.webp"
OVERLAPS = (0, 4, 8)
SHAPE = Shape(channels=(32, 64), layers=1, heads=8, audio=16)
SIDE, IMAGE = 128, 192  # pixels of a face, and of the frames
RATE = Fraction(25)
SPEC = StreamSpec(width=IMAGE, height=IMAGE, rate=RATE, time_base=1 / RATE, pixels="yuv420p",
                  colour=ColorTags(matrix="bt709", range="tv"))  # fmt: skip


class ShownLatents(Autoencoder):
    """In place of a decoder: the latents themselves, enlarged."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def decode(self, latents: Tensor) -> Tensor:
        shown = torch.tanh(latents[:, :3] * SCALE)
        return nn.functional.interpolate(shown, scale_factor=8.0, mode="bilinear")


class CountingSampler(Sampler):
    """Counts the frames that it denoises."""

    counted: list[int]

    def denoise(
        self, clip: Clip, noise: Tensor, before: Trajectory = (), at: int = 0, keep: int = 0
    ) -> tuple[Tensor, Trajectory]:
        self.counted.append(clip.frames)
        return super().denoise(clip, noise, before, at, keep)


def build_network() -> UNet:
    """Return a network whose layers keep the variance of what they get."""
    torch.manual_seed(1)
    net = UNet(SHAPE).eval().requires_grad_(False)
    for weights in net.parameters():
        if weights.ndim > 1:
            weights.normal_(0, weights[0].numel() ** -0.5)
    return net


def make_frames(count: int) -> list[Frame]:
    """Return frames whose faces and audio move along smooth curves."""
    generator = torch.Generator().manual_seed(2)
    ends = [torch.randn(8, SIDE // 8, SIDE // 8, generator=generator) for _ in range(4)]
    sounds = [torch.randn(50, SHAPE.audio, generator=generator) for _ in range(4)]
    grey = np.full((IMAGE, IMAGE), 120, np.uint8)
    small = np.full((IMAGE // 2, IMAGE // 2), 128, np.uint8)
    frames = []
    for k in range(count):
        turns = [np.cos(k / 25 * speed + n) for n, speed in enumerate((1.0, 1.7, 2.3, 3.1))]
        latents = sum(turn * end for turn, end in zip(turns, ends, strict=True)) / 2
        tokens = sum(turn * sound for turn, sound in zip(turns, sounds, strict=True)) / 2
        face = PreparedFace((1.0, 0.0, -40.0, 0.0, 1.0, -25.0), 1.0, latents)
        image = Planes((grey, small, small), "yuv420p", SPEC.colour)
        frames.append(Frame(k, k / RATE, 1 / RATE, image, {FACE: face, TOKENS: tokens}))
    return frames


def run(net: UNet, frames: Sequence[Frame], overlap: int, steps: int) -> tuple[list[Frame], float]:
    """Return the result, and frames denoised for each frame."""
    sampler = CountingSampler(net, steps)
    object.__setattr__(sampler, "counted", [])
    stage = SyncLips(sampler, ShownLatents(), Crop(SIDE), overlap)
    state, outputs = stage.step(stage.start(SPEC, frames[0].position), frames)
    outputs += stage.finish(state)[1]
    return outputs, sum(sampler.counted) / len(frames)


def measure_jumps(frames: Sequence[Frame]) -> Any:
    """Return the mean change of luma from each frame to the next, in levels."""
    luma: list[Any] = [frame.image.arrays[0].astype(np.float32) for frame in frames]  # type: ignore[attr-defined]
    seen = np.any([one != 120 for one in luma], axis=0)
    changes = [np.abs(b - a)[seen].mean() for a, b in pairwise(luma)]
    return np.array([np.nan, *changes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16 * 12)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--no-result", action="store_true", help="write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    net, frames = build_network(), make_frames(options.frames)
    rows, panels = dict[str, dict[str, Any]](), []
    for overlap in OVERLAPS:
        result, cost = run(net, frames, overlap, options.steps)
        stride, jumps = LENGTH - overlap, measure_jumps(result)
        # frames that two clips share, and the first that only the later one has
        first = list(range(stride, options.frames - LENGTH, stride))
        near = {n + k for n in first for k in range(overlap + 1)}
        rest = [n for n in range(1, options.frames - LENGTH) if n not in near]
        largest = [jumps[n : n + overlap + 1].max() for n in first]
        signals = measure_signals(SPEC, [result])
        given = judge_signals(Path("lipsync"), signals, [stride]).given[0]
        rows[f"overlap {overlap}"] = {
            "score at boundaries": round(given.score, 1),
            "largest jump at a boundary": round(float(np.mean(largest)), 2),
            "jump elsewhere": round(float(np.median(jumps[rest])), 2),
            "ratio": round(float(np.mean(largest) / np.median(jumps[rest])), 2),
            "frames denoised": round(cost, 2),
        }
        print(f"overlap {overlap}", rows[f"overlap {overlap}"], flush=True)
        marks = Marks("a clip starts", [float(n) for n in first])
        curve = Curve("change from the frame before", np.arange(len(jumps), dtype=float), jumps)
        panels.append(draw_plot([curve], title=f"overlap {overlap}", x_name="frame",
                                y_name="levels", low=0, high=float(np.nanmax(jumps)) * 1.1,
                                limits=[], marks=marks, size=(1000, 160)))  # fmt: skip
    if options.no_result:
        return
    stack_vertically(panels).save(PLOT, quality=80)
    found = {"question": "how much do the clips of lipsync show?", "length": LENGTH, "rows": rows}
    print(write_result("lipsync_seams", found, torch=torch.__version__))


if __name__ == "__main__":
    main()
