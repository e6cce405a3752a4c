"""How much faster is flow than with torchvision, and how much memory do volume and look-up take?

One run: CPU seconds per frame on one core, one way and both ways, of torchvision's RAFT called pair
by pair and of ours as a stream, with the same video, random weights, scale and steps, in turns.
Then the peaks of live tensors, counted as they are allocated and freed, over pixels; and peaks
predicted without data for the upscaled video of 2880x5120 at several scales.
"""

import argparse
import time
from collections.abc import Callable
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from _common import write_result
from torch import Tensor
from torchvision.models.optical_flow import raft_large, raft_small

from filmgate.device.tensor_memory import LiveMemory
from filmgate.models.families.raft.correlation import count_volume_bytes
from filmgate.models.families.raft.estimator import RaftEstimator
from filmgate.models.families.raft.net import LARGE, SMALL, Raft, Shape

SIZE = (192, 320)  # height, width
PEAKS = ((128, 224), (192, 320), (256, 448))
LARGE_SIZE = (2880, 5120)  # 720p, upscaled four times
SCALES = (1, 2, 4)
KINDS = {"raft_large": (raft_large, LARGE), "raft_small": (raft_small, SMALL)}


def time_torchvision(
    net: Callable[[Tensor, Tensor], list[Tensor]], video: Tensor, back: bool
) -> float:
    """Return the seconds per pair of torchvision's RAFT."""
    began = time.process_time()
    for a, b in zip(video[1:], video, strict=False):
        net(2 * a[None] - 1, 2 * b[None] - 1)
        if back:
            net(2 * b[None] - 1, 2 * a[None] - 1)
    return (time.process_time() - began) / (len(video) - 1)


def time_ours(flow: RaftEstimator, video: Tensor, back: bool) -> float:
    """Seconds per frame; the first frame, which has no flow, was seen before the clock starts."""
    last = flow.encode(video[0])
    began = time.process_time()
    for image in video[1:]:
        now = flow.encode(image)
        flow.estimate(now, last, (image.shape[1], image.shape[2]), back)
        last = now
    return (time.process_time() - began) / (len(video) - 1)


def make_texture(frames: int, size: tuple[int, int]) -> Tensor:
    """Return (frames, 3, H, W): a soft random texture that slides two pixels a frame."""
    height, width = size
    rng = torch.Generator().manual_seed(1)
    small = torch.rand(1, 3, height // 8 + 2, (width + 2 * frames) // 8 + 2, generator=rng)
    texture = torch.nn.functional.interpolate(small, scale_factor=8, mode="bicubic")[0]
    parts = [texture[:, :height, 2 * k : 2 * k + width] for k in range(frames)]
    return torch.stack(parts).clamp(0, 1)


def measure_speed(kind: str, turns: int) -> dict[str, dict[str, Any]]:
    """Time both in turns, so that other load on the machine affects both."""
    make, shape = KINDS[kind]
    torch.manual_seed(0)
    net, own, video = make().eval(), Raft(shape).eval(), make_texture(2, SIZE)
    own.load_state_dict(net.state_dict())
    methods: dict[str, tuple[Callable[[bool], float], ...]] = {
        "volume": (lambda back: time_torchvision(net, video, back),
                   lambda back: time_ours(RaftEstimator(own, volume=True), video, back)),
        "look-up": (lambda back: time_ours(RaftEstimator(own, volume=False), video, back),),
    }  # fmt: skip
    rows = {}
    for back in (False, True):
        runs = [
            [run(back) for run in (*methods["volume"], *methods["look-up"])] for _ in range(turns)
        ]
        them, us, looked = (median(column) for column in zip(*runs, strict=True))
        rows[f"{kind}, {'both ways' if back else 'one way'}"] = {
            "torchvision s": them,
            "ours s": us,
            "ratio": median(run[0] / run[1] for run in runs),
            "look-up s": looked,
            "look-up ratio": median(run[0] / run[2] for run in runs),
        }
    return rows


def measure_peaks(shape: Shape) -> dict[str, dict[str, Any]]:
    """Measure the peak MB of live tensors, both ways, without weights."""
    net, rows = Raft(shape).eval(), {}
    for height, width in PEAKS:
        video, row = make_texture(2, (height, width)), {"pixels": height * width}
        for name, volume in (("volume MB", True), ("look-up MB", False)):
            flow = RaftEstimator(net, updates=2, volume=volume)
            with LiveMemory() as live:
                a, b = map(flow.encode, video)
                flow.estimate(b, a, (height, width), True)
            row[name] = round(live.peak / 1e6, 1)
        rows[f"{width}x{height}"] = row
    return rows


def predict_peaks(dtype: torch.dtype) -> dict[str, dict[str, Any]]:
    """Predict the peak GB of live tensors, both ways, with weights and the state of two frames."""
    rows = {}
    for scale in SCALES:
        height, width = (side // scale for side in LARGE_SIZE)
        row: dict[str, Any] = {"pixels": height * width}
        for name, volume in (("look-up GB", False), ("volume GB", True)):
            with LiveMemory() as live:
                net = Raft(LARGE, "meta").to(dtype).eval().requires_grad_(False)
                live.add(*net.parameters())
                flow = RaftEstimator(net, updates=2, volume=volume)
                images = (torch.empty(3, height, width, device="meta") for _ in range(2))
                a, b = map(flow.encode, images)
                flow.estimate(b, a, (height, width), True)
            row[name] = round(live.peak / 1e9, 2)
        row["finest level alone GB"] = round(4e-9 * (height * width / 64) ** 2, 2)
        assert row["volume GB"] * 1e9 > count_volume_bytes(height // 8, width // 8)
        rows[f"1/{scale}, {str(dtype).removeprefix('torch.')}"] = row
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        result = {
            "question": "how much faster is flow, and how much memory do volume and look-up take?",
            "torch": version("torch"),
            "torchvision": version("torchvision"),
            "threads": 1,
            "size": f"{SIZE[1]}x{SIZE[0]}",
            "wanted_ratio": {"one way": 1.15, "both ways": 1.25},
            "speed": {
                **measure_speed("raft_large", options.turns),
                **measure_speed("raft_small", options.turns),
            },
            "peaks": measure_peaks(LARGE),
            "predicted": {**predict_peaks(torch.float32), **predict_peaks(torch.float16)},
        }
    print(write_result("flow", result).read_text())


if __name__ == "__main__":
    main()
