"""How much sooner is flow here than pairwise torchvision, and what do volume and look-up hold?

One run: seconds per frame, one way and both ways, of torchvision's RAFT called pair by pair and of
ours going through the same film, same weights (random), scale and steps, in turns, in seconds of
one core's own time, which others on the machine disturb least. Then
the peaks of live tensors, counted as they come and go, over pixels; and predicted on no data at all
for the enlarged film of 2880x5120 at several scales.
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from _film import write_result
from torch import Tensor
from torchvision.models.optical_flow import raft_large, raft_small

from filmgate.device.tensor_memory import Live
from filmgate.models.families.raft import RaftFlow
from filmgate.models.families.raft.correlation import volume_bytes
from filmgate.models.families.raft.net import LARGE, SMALL, Raft, Shape

SIZE = (192, 320)  # height, width
PEAKS = ((128, 224), (192, 320), (256, 448))
WIDE = (2880, 5120)  # 720p, four times
SCALES = (1, 2, 4)
KINDS = {"raft_large": (raft_large, LARGE), "raft_small": (raft_small, SMALL)}


def theirs(net: Callable[[Tensor, Tensor], list[Tensor]], video: Tensor, back: bool) -> float:
    """Seconds per pair."""
    began = time.process_time()
    for a, b in zip(video[1:], video, strict=False):
        net(2 * a[None] - 1, 2 * b[None] - 1)
        if back:
            net(2 * b[None] - 1, 2 * a[None] - 1)
    return (time.process_time() - began) / (len(video) - 1)


def ours(flow: RaftFlow, video: Tensor, back: bool) -> float:
    """Seconds per frame; the first frame, which has no flow, was seen before the clock starts."""
    last = flow.seen(video[0])
    began = time.process_time()
    for picture in video[1:]:
        now = flow.seen(picture)
        flow.flows(now, last, (picture.shape[1], picture.shape[2]), back)
        last = now
    return (time.process_time() - began) / (len(video) - 1)


def sliding(frames: int, size: tuple[int, int]) -> Tensor:
    """(frames, 3, H, W): a soft random texture that slides two pixels a frame."""
    height, width = size
    chance = torch.Generator().manual_seed(1)
    small = torch.rand(1, 3, height // 8 + 2, (width + 2 * frames) // 8 + 2, generator=chance)
    texture = torch.nn.functional.interpolate(small, scale_factor=8, mode="bicubic")[0]
    parts = [texture[:, :height, 2 * k : 2 * k + width] for k in range(frames)]
    return torch.stack(parts).clamp(0, 1)


def speed(kind: str, turns: int) -> dict[str, dict[str, Any]]:
    """Both of them in turns, so that what else this machine does falls on both."""
    make, shape = KINDS[kind]
    torch.manual_seed(0)
    net, own, video = make().eval(), Raft(shape).eval(), sliding(2, SIZE)
    own.load_state_dict(net.state_dict())
    ways: dict[str, tuple[Callable[[bool], float], ...]] = {
        "volume": (lambda back: theirs(net, video, back),
                   lambda back: ours(RaftFlow(own, volume=True), video, back)),
        "look-up": (lambda back: ours(RaftFlow(own, volume=False), video, back),),
    }  # fmt: skip
    rows = {}
    for back in (False, True):
        runs = [[run(back) for run in (*ways["volume"], *ways["look-up"])] for _ in range(turns)]
        them, us, looked = (median(column) for column in zip(*runs, strict=True))
        rows[f"{kind}, {'both ways' if back else 'one way'}"] = {
            "torchvision s": them,
            "ours s": us,
            "ratio": median(run[0] / run[1] for run in runs),
            "look-up s": looked,
            "look-up ratio": median(run[0] / run[2] for run in runs),
        }
    return rows


def peaks(shape: Shape) -> dict[str, dict[str, Any]]:
    """Measured: MB of live tensors at most, both ways, weights left out."""
    net, rows = Raft(shape).eval(), {}
    for height, width in PEAKS:
        video, row = sliding(2, (height, width)), {"pixels": height * width}
        for name, volume in (("volume MB", True), ("look-up MB", False)):
            flow = RaftFlow(net, updates=2, volume=volume)
            with Live() as live:
                a, b = map(flow.seen, video)
                flow.flows(b, a, (height, width), True)
            row[name] = round(live.peak / 1e6, 1)
        rows[f"{width}x{height}"] = row
    return rows


def predicted(dtype: torch.dtype) -> dict[str, dict[str, Any]]:
    """GB of live tensors at most, both ways, weights and what is kept of two frames included."""
    rows = {}
    for scale in SCALES:
        height, width = (side // scale for side in WIDE)
        row: dict[str, Any] = {"pixels": height * width}
        for name, volume in (("look-up GB", False), ("volume GB", True)):
            with Live() as live:
                net = Raft(LARGE, "meta").to(dtype).eval().requires_grad_(False)
                live.hold(*net.parameters())
                flow = RaftFlow(net, updates=2, volume=volume)
                pictures = (torch.empty(3, height, width, device="meta") for _ in range(2))
                a, b = map(flow.seen, pictures)
                flow.flows(b, a, (height, width), True)
            row[name] = round(live.peak / 1e9, 2)
        row["finest level alone GB"] = round(4e-9 * (height * width / 64) ** 2, 2)
        assert row["volume GB"] * 1e9 > volume_bytes(height // 8, width // 8)
        rows[f"1/{scale}, {str(dtype).removeprefix('torch.')}"] = row
    return rows


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--turns", type=int, default=2)
    options = wanted.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        result = {
            "question": "how much sooner is flow, and what do volume and look-up hold?",
            "torch": version("torch"),
            "torchvision": version("torchvision"),
            "threads": 1,
            "size": f"{SIZE[1]}x{SIZE[0]}",
            "wanted_ratio": {"one way": 1.15, "both ways": 1.25},
            "speed": {**speed("raft_large", options.turns), **speed("raft_small", options.turns)},
            "peaks": peaks(LARGE),
            "predicted": {**predicted(torch.float32), **predicted(torch.float16)},
        }
    print(write_result("flow", result).read_text())


if __name__ == "__main__":
    main()
