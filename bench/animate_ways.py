"""Five ways to animate a portrait by a video that does not fit: memory, time and seams.

"all at once": each network gets all frames in one batch, and all results are kept. "batches": 32
frames at a time, each a video of its own. "overlap": the same, of which the first 12 frames are
dropped. "precompute": motion of all frames first, then windows that slide over them, then images.
"stream" is `filmgate animate`. Memory (of live tensors, weights included) and seconds are those of
small networks with weights by rule on a real driver. Such networks cannot take noise away, so seams
are those of a pretended network that can: it knows the noise, and what it aims at is the mean pose
of the frames around, as attention over time does; its driver sways. The seam score is how much
larger the change between two frames is where batches meet than around it, in the median.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from _common import CLIPS, write_result
from torch import Tensor

from filmgate.core.frame import ColorTags, Frame
from filmgate.device.tensor_memory import LiveMemory
from filmgate.media.images.image_file import ImageFile
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from filmgate.models.contracts import AnimationRequest
from filmgate.models.families.personalive.animator import Animator, Motion, Progress
from filmgate.models.families.personalive.extractor import Head
from filmgate.models.families.personalive.keypoints import GRID, Box
from filmgate.models.families.personalive.layers import Portrait
from filmgate.models.families.personalive.loading import open_networks
from filmgate.models.families.personalive.networks import Networks, square
from filmgate.models.families.personalive.schedule import compute_signal
from filmgate.models.families.personalive.stage import PersonaLive, build_stage

ROOT = Path(__file__).parents[1]
SIZE, BATCH, OVERLAP, WINDOW = 64, 32, 12, 4
PLOT = ROOT / "docs" / "img" / "animate_ways.webp"


@dataclass
class Setting:
    """The stage, and the driving frames."""

    stage: PersonaLive
    spec: Any
    frames: list[Frame]

    @property
    def animator(self) -> Animator:
        return self.stage.animator


def run_stream(setting: Setting, frames: Sequence[Frame]) -> list[Tensor]:
    """Return the images of some frames as one video."""
    stage, images = setting.stage, list[Any]()
    state: Any = stage.start(setting.spec, frames[0].position)
    for frame in frames:
        state, outputs = stage.step(state, (frame,))
        images += [keep(output.image) for output in outputs]
    while state is not None:
        state, outputs = stage.finish(state)
        images += [keep(output.image) for output in outputs]
    return images


def keep(image: Any) -> Any:
    """Return a result as the encoder gets it: 8 bits."""
    return (image * 255).round().byte().numpy()


def run_batches(setting: Setting, frames: Sequence[Frame], overlap: int) -> list[Tensor]:
    images, at = run_stream(setting, frames[:BATCH]), BATCH
    while at < len(frames):
        some = frames[at - overlap : at - overlap + BATCH]
        images += run_stream(setting, some)[overlap:]
        at += BATCH - overlap
    return images[: len(frames)]


def run_held(setting: Setting, frames: Sequence[Frame], together: bool) -> list[Tensor]:
    """Compute all motion, then all windows, then all images; keep everything."""
    animator, progress, motions = setting.animator, Progress(), []
    inputs = torch.stack([square(frame.image.to_rgb()) * 2 - 1 for frame in frames])  # type: ignore[attr-defined]
    if together:  # the networks see all frames in one batch
        animator.nets.read_heads(inputs)
        animator.nets.read_motion(list(inputs), [Box(0, 0, GRID, GRID)] * len(inputs))
    for image in inputs:
        progress, found = animator.watch(progress, image, None)
        progress = progress if found else animator.hold(progress)
        motions.append(progress.last)
    held = [one for one in motions if one is not None]
    held += held[-1:] * (WINDOW * 3 + -len(held) % WINDOW)
    latents = list[Tensor]()
    for at in range(0, len(held), WINDOW):
        some = held[at : at + WINDOW]
        motion = Motion(torch.cat([one.points for one in some]),
                        torch.cat([one.tokens for one in some]))  # fmt: skip
        progress, window = animator.push(progress, motion)
        latents += list(window.latents) if window.number >= 0 else []
    latents = latents[: len(frames)]
    if together and not isinstance(animator.nets, Pretended):
        images = animator.nets.decoder(torch.stack(latents)) / 2 + 0.5
        return [keep(image.clamp(0, 1)) for image in images]
    decoded = [animator.nets.decode(latent) for latent in latents]
    return [keep(image) for image in decoded]


WAYS: dict[str, Callable[[Setting, Sequence[Frame]], list[Any]]] = {
    "all at once": lambda setting, frames: run_held(setting, frames, True),
    "batches": lambda setting, frames: run_batches(setting, frames, 0),
    "overlap": lambda setting, frames: run_batches(setting, frames, OVERLAP),
    "precompute": lambda setting, frames: run_held(setting, frames, False),
    "stream": run_stream,
}


def measure(run: Callable[[], list[Any]], weights: int) -> tuple[dict[str, Any], list[float]]:
    """Return the figures of a way, and the change from each frame to the next, 0 to 255."""
    live = LiveMemory()
    start = perf_counter()
    with torch.inference_mode(), live:
        images = run()
    changes = [float(np.abs(b.astype(float) - a).mean()) for a, b in pairwise(images)]
    return {"frames": len(images), "seconds": round(perf_counter() - start, 1),
            "peak_mb": round((live.peak + weights) / 1e6, 1)}, changes  # fmt: skip


def score(changes: Sequence[float], places: Sequence[int]) -> float:
    """Return the change where batches meet, times that of the 4 frames before and after."""
    shares = []
    for place in places:
        before, after = changes[place - 5 : place - 1], changes[place : place + 4]
        shares.append(changes[place - 1] / float(np.mean([*before, *after])))
    return round(float(np.median(shares)), 2)


class Pretended(Networks):
    """Sees where the bright spot of a driver is, and knows which noise was added."""

    def read_heads(self, images: Tensor) -> Head:
        weight = (images.mean(1) + 1).clamp(min=0) ** 4
        places = torch.linspace(-1, 1, images.shape[-1])
        across = (weight.sum(1) * places).sum(1) / weight.sum((1, 2))
        down = (weight.sum(2) * places).sum(1) / weight.sum((1, 2))
        zero = torch.zeros(len(images), 3)
        points = torch.linspace(-0.2, 0.2, 63).reshape(1, 21, 3).expand(len(images), -1, -1)
        return Head(points, zero, torch.stack([across, down, zero[:, 0]], 1), zero[:, :1] + 1)

    def read_motion(self, images: Sequence[Tensor], boxes: Sequence[Box]) -> Tensor:
        return self.read_heads(torch.stack(list(images))).shift[:, :1, None].expand(-1, 32, 16)

    def guide(self, points: Tensor, size: int, radius: float | None = None) -> Tensor:
        return points.mean(1)[:, :2, None, None]

    def see(self, image: Tensor) -> Tensor:
        return torch.zeros(1, 1, 1)

    def encode(self, image: Tensor) -> Tensor:
        return torch.zeros(1, 4, SIZE // 8, SIZE // 8)

    def show(self, token: Tensor, references: Sequence[Tensor]) -> Portrait:
        return Portrait(())

    def predict_noise(
        self, latents: Tensor, levels: Tensor, portrait: Portrait, motion: Tensor, pose: Tensor
    ) -> Tensor:
        kernel = torch.exp(-((torch.arange(len(pose))[:, None] - torch.arange(len(pose))) ** 2) / 8)
        aim = torch.einsum("fg,gcyx->fcyx", kernel / kernel.sum(1, keepdim=True), pose)
        aim = torch.cat([aim, aim], 1).expand_as(latents)
        signal = compute_signal()[levels.cpu()].reshape(-1, 1, 1, 1)
        return (latents - signal**0.5 * aim) / (1 - signal) ** 0.5

    def decode(self, latent: Tensor) -> Tensor:
        y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
        moved = (x - latent[0].mean()) ** 2 + (y - latent[1].mean()) ** 2
        return torch.exp(-6 * moved).expand(3, -1, -1)


def sway(setting: Setting, count: int) -> Setting:
    """Return a setting with the pretended network, and a driver whose head sways."""
    y, x = np.mgrid[:64, :64] / 32 - 1
    frames = []
    for n in range(count):
        place = 0.5 * np.sin(n / 13), 0.3 * np.sin(n / 19)
        spot = 20 + 200 * np.exp(-8 * ((x - place[0]) ** 2 + (y - place[1]) ** 2))
        grey = np.full((32, 32), 128, np.uint8)
        image = Planes((spot.astype(np.uint8), grey, grey), "yuv420p", ColorTags(matrix="bt709"))
        frames.append(Frame(n, Fraction(n, 25), Fraction(1, 25), image))
    missing: Any = torch.nn.Identity()
    animator = replace(setting.animator, nets=Pretended(*[missing] * 8))
    spec = replace(setting.spec, width=64, height=64)
    return Setting(replace(setting.stage, animator=animator), spec, frames)


def build(portrait: Path, driving: Path, count: int) -> tuple[Setting, int]:
    """Return the setting with small networks, and the bytes of their weights."""
    sys.path.append(str(ROOT))
    from tests.models.tiny_personalive import folder

    nets = open_networks(folder(), torch.float32, "cpu")
    with VideoFile(driving, max_frames=count).open() as source:
        spec, frames = source.spec, [f for some, _ in source.read(None, 8) for f in some]
    request = AnimationRequest(portrait=ImageFile(portrait).read(), size=SIZE, keyframes=3)
    stage, *_ = build_stage(nets, spec, request).stages
    assert isinstance(stage, PersonaLive)
    held = (nets.unet, nets.reference, nets.motion, nets.heads, nets.guider, nets.clip,
            nets.decoder, nets.encoder)  # fmt: skip
    weights = sum(tensor.nbytes for net in held for tensor in net.parameters())
    return Setting(stage, spec, frames), weights


def draw(curves: dict[str, list[float]]) -> None:
    """Draw the change from frame to frame of each way."""
    from filmgate.quality.report.plot import Curve, draw_plot

    longest = max(map(len, curves.values()))
    drawn = [Curve(name, np.arange(1.0, longest + 1), np.array(changes))
             for name, changes in curves.items()]  # fmt: skip
    plot = draw_plot(drawn, title="Change from frame to frame", x_name="frame", y_name="levels",
                     low=0, size=(960, 260))  # fmt: skip
    plot.save(PLOT, quality=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portrait", type=Path, default=CLIPS / "pl_ref.png")
    parser.add_argument("--driving", type=Path, default=CLIPS / "pl_driving.mp4")
    parser.add_argument("--frames", type=int, default=92)
    args = parser.parse_args()
    torch.set_num_threads(1)
    setting, weights = build(args.portrait, args.driving, args.frames)
    swaying, rows, curves = sway(setting, 2 * args.frames), dict[str, Any](), {}
    for name, run in WAYS.items():
        rows[name], _ = measure(lambda run=run: run(setting, setting.frames), weights)  # type: ignore[misc]
        _, changes = measure(lambda run=run: run(swaying, swaying.frames), 0)  # type: ignore[misc]
        step = BATCH - (OVERLAP if name == "overlap" else 0)
        rows[name]["seam"] = score(changes, range(BATCH, len(swaying.frames), step))
        if name in ("batches", "overlap", "stream"):  # the others are as smooth as the last
            curves[name] = [round(change, 3) for change in changes]
        print(name, rows[name], flush=True)
    draw(curves)
    result = {"frames": args.frames, "rows": rows, "changes": curves}
    write_result("animate_ways", result, torch=torch.__version__)


if __name__ == "__main__":
    main()
