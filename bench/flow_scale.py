"""How much quality is lost if flow is estimated on smaller images, or by a cheaper guide?

Measured on clips downscaled four times by Pillow's bicubic filter, in CPU seconds:
  steady: `compact` x4 and `--steady`, with flow estimated at 1/1 to 1/16 of the large image;
      flicker as in bench/upscale_quality.py
  guide: the previous true frame, moved by flow from the upscaled small video (as Stream-DiffVSR
      gets it), compared with the true frame; RAFT only if its weights are here
  loop: Stream-DiffVSR's loop with tiny networks of random weights: the distance of its result from
      that with flow at 1/1. It shows how an error of flow propagates, and not how it looks
  seconds: of flow alone; the cost of RAFT does not depend on its weights
Predicted from shapes, without weights: bytes and operations of the full networks at 704x512.
"""

import argparse
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import log10
from pathlib import Path
from statistics import mean, median
from time import process_time
from typing import Any

import cv2
import numpy as np
import torch
from _common import CLIPS, average_tables, mean_or_text, write_result
from interpolate_quality import make_empty_row
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from upscale_quality import (
    HELD_OUT,
    WEIGHTS,
    Video,
    apply_steady,
    downscale,
    measure_flicker,
    measure_quality,
    read_frames,
    upscale,
)

from filmgate.core.frame import Frame
from filmgate.device.placement import choose_device
from filmgate.device.tensor_memory import LiveMemory
from filmgate.flow import stage
from filmgate.flow.estimator import DisEstimator
from filmgate.flow.warp_torch import warp
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb
from filmgate.models.families import raft
from filmgate.models.families.compact.upscaler import CompactUpscaler, open_network
from filmgate.models.families.diffvsr import memory
from filmgate.models.families.diffvsr.loading import get_network_builders
from filmgate.models.families.diffvsr.stage import PROMPT_TOKENS, SCALE, DiffVsr, Networks
from filmgate.models.families.diffvsr.vae import TinyVae
from filmgate.models.families.raft.estimator import RaftEstimator
from filmgate.models.families.raft.net import LARGE, SMALL, UPDATES, Raft
from filmgate.models.flow_model import Guide
from filmgate.quality.metrics.motion_residual import get_luma
from filmgate.quality.metrics.psnr_ssim import psnr
from filmgate.weights.store import WeightsStore

FULL, *FRACTIONS = SCALES = [Fraction(1, 1 << k) for k in range(5)]
STILL = "no motion"  # the row of the previous frame, unchanged
LOOPED = ("io_cockatoo", "sk_bikes")
NETS = 2  # with random weights
SIZE = (512, 704)  # (height, width), of the predicted and the timed video
NEAR, FAR = Fraction(1, 4), Fraction(1, 8)
CLAIMED = {"time": 17, "memory": 75}  # per cent less at FAR than at NEAR, as a user reports
Rows = dict[str, dict[str, Any]]
Fields = list[Tensor | None]  # of each frame, None at the start of a shot


def measure_steady(truth: Video, small: Video) -> Rows:
    """Return rows by scale of the flow; `flicker` is beyond that of the true video."""
    made, _ = upscale(small, CompactUpscaler(open_network(WEIGHTS / f"x{SCALE}.safetensors")))
    own, rows = measure_flicker(truth, truth), dict[str, dict[str, Any]]()
    for scale in (None, *SCALES):
        began = process_time()
        video = apply_steady(made, scale.denominator)[0] if scale else made
        seconds = (process_time() - began) / (len(video) - 1)
        decibels, similar = measure_quality(video, truth)
        rows[_format_scale(scale) if scale else "not steady"] = {
            "psnr_db": decibels, "ssim": similar, "flicker": measure_flicker(video, truth) - own,
            "cpu_seconds": seconds if scale else "",
        }  # fmt: skip
    return rows


def measure_guide(truth: Video, small: Video) -> Rows:
    """Return rows by model and scale of the flow; areas occluded in the true video are excluded."""
    known = Guide(model="dis").build_stage(choose_device()).step((), truth)[1]
    found: dict[str, Fields] = {
        STILL: [None] * len(truth), "dis, true video": _get_fields(known)
    }  # fmt: skip
    spent = dict[str, float]()
    for model in ("dis", *filter(has_weights, raft.FAMILY.flow_models)):
        for scale in SCALES if model == "dis" or torch.cuda.is_available() else FRACTIONS:
            flow = Guide(model=model, scale=SCALE * scale, occlusion=False).build_stage(
                choose_device()
            )
            name, began = f"{model} {_format_scale(scale)}", process_time()
            frames = flow.step((), small)[1]
            spent[name] = (process_time() - began) / (len(small) - 1)
            found[name] = _get_fields(frames)
    rows = {name: _measure_distance(truth, known, fields, found[f"dis {_format_scale(FULL)}"])
            for name, fields in found.items()}  # fmt: skip
    return {name: {**row, "cpu_seconds": spent.get(name, "")} for name, row in rows.items()}


def _get_fields(frames: Sequence[Frame]) -> Fields:
    flows: list[Any] = [frame.extras.get("flow_prev") for frame in frames]
    return [None if flow is None else flow.cpu() for flow in flows]


def _measure_distance(
    truth: Video, known: Sequence[Frame], fields: Fields, finest: Fields
) -> dict[str, Any]:
    visible_db, all_db, distances = list[float](), list[float](), list[float]()
    lumas = [torch.from_numpy(get_luma(frame)) for frame in truth]
    for n in range(1, len(truth)):
        if "flow_prev" not in known[n].extras:  # the start of a shot
            continue
        hidden: Any = known[n].extras["occluded"]
        visible = ~hidden
        best = _upscale_flow(finest[n], visible.shape)
        own = (
            torch.zeros_like(best) if fields[n] is None else _upscale_flow(fields[n], visible.shape)
        )
        moved, now = warp(lumas[n - 1][None, None], own)[0, 0], lumas[n]
        visible_db.append(min(100.0, psnr(moved[visible].numpy(), now[visible].numpy())))
        all_db.append(min(100.0, psnr(moved.numpy(), now.numpy())))
        distances.append(float((own - best).square().sum(1).sqrt()[0][visible].mean()))
    return {
        "psnr_db": mean(visible_db),
        "with_occluded_db": mean(all_db),
        "pixels_apart": mean(distances),
    }


def _upscale_flow(field: Any, size: Sequence[int]) -> Tensor:
    return stage.upsample_flow(field, (size[0], size[1]))[None]


def has_weights(model: str) -> bool:
    """Return whether the published weights of a RAFT are in the models folder."""
    return any(
        WeightsStore.open_default().get_path(w).is_file() for w in raft.WEIGHTS if w.name == model
    )


def measure_loop(small: Video, seeds: Sequence[int]) -> Rows:
    """Return how far results are from that with flow at 1/1, without the start of each shot."""
    inputs = {
        **{_format_scale(scale): _add_flow(small, scale) for scale in SCALES},
        STILL: _add_flow(small, None),
    }
    rows = list[Rows]()
    for seed in seeds:
        stage, videos = DiffVsr(_make_networks(seed)), dict[str, list[Any]]()
        _calibrate(stage, inputs[STILL][0])
        for name, given in inputs.items():
            outputs: list[Any] = [frame.image for frame in stage.step((), given)[1]]
            videos[name] = [255 * image.numpy() for image, frame in zip(outputs, given, strict=True)
                           if "flow_prev" in frame.extras]  # fmt: skip
        rows.append({name: _compare(video, *(videos[_format_scale(FULL)], videos[STILL]))
                     for name, video in videos.items()})  # fmt: skip
    return average_tables(rows)


def _add_flow(small: Video, scale: Fraction | None) -> list[Frame]:
    """Return the video as tensors, with flow at a scale; None: with flow of 0."""
    guide = Guide(model="dis", scale=SCALE * (scale or FAR), occlusion=False).build_stage(
        choose_device()
    )
    frames = []
    for frame in guide.step((), small)[1]:
        made, flow = (
            frame.with_image(to_rgb(_planes(frame)), keep=("cut",)),
            frame.extras.get("flow_prev"),
        )
        if isinstance(flow, Tensor):
            made = made.with_extras(flow_prev=flow if scale else torch.zeros_like(flow))
        frames.append(made)
    return frames


def _planes(frame: Frame) -> Planes:
    assert isinstance(frame.image, Planes)
    return frame.image


def _compare(video: Sequence[Any], best: Sequence[Any], still: Sequence[Any]) -> dict[str, Any]:
    errors = [float(np.square(a - b).mean()) for a, b in zip(video, best, strict=True)]
    at_most = mean(float(np.square(a - b).mean()) for a, b in zip(still, best, strict=True))
    decibels = [10 * log10(255**2 / error) if error else "the same" for error in errors]
    return {
        "psnr_db": mean_or_text(decibels),
        "last_frame_db": decibels[-1],
        "off_by_2_share": mean(float((np.abs(a - b) > 2).mean())
                               for a, b in zip(video, best, strict=True)),
        "relative_to_no_motion": mean(errors) / at_most if at_most else 0.0,
    }  # fmt: skip


def _make_networks(seed: int) -> Networks:
    """Return tiny networks of the published kinds, with random weights of unit gain."""
    thin = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 2,
            "only_cross_attention": (True, False), "cross_attention_dim": 8}  # fmt: skip
    torch.manual_seed(seed)
    classes = get_network_builders()
    control = classes["controlnet"](
        {**memory.CONTROL, **thin, "conditioning_embedding_out_channels": (4, 4, 8)}
    )
    unet = classes["unet"](
        {**memory.UNET, **thin, "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
    )
    vae = TinyVae(8)
    for net in (unet, control, vae):
        net.eval().requires_grad_(False)
        for weights in net.parameters():
            if weights.ndim > 1:
                weights.normal_(0, weights[0].numel() ** -0.5)
    return Networks.of(unet, control, vae, torch.randn(1, PROMPT_TOKENS, 8))


def _calibrate(stage: DiffVsr, first: Frame) -> None:
    """Scale the last layer until the first output is mid-grey with a deviation of a fifth.

    Otherwise half of the pixels are black, which would hide differences.
    """
    state, _ = stage.step((), [first])
    last = stage.nets.vae.decoder.layers[-1]  # type: ignore[index]
    assert isinstance(last, nn.Conv2d)
    shown = state[0] / 2 + 0.5
    share = 0.2 / float(shown.std())
    last.weight.mul_(share)
    last.bias.sub_(float(shown.mean())).mul_(share).add_(0.5)  # type: ignore[union-attr]


def measure_seconds(turns: int) -> Rows:
    """Return the seconds of one flow between two images; the first image is known."""
    from flow import make_texture, time_ours  # imports torchvision, which is slow

    sizes = {scale: [side * SCALE * scale for side in SIZE] for scale in SCALES[2:]}
    rows: Rows = {f"{_format_scale(s)}: {int(w)}x{int(h)}": {} for s, (h, w) in sizes.items()}
    torch.manual_seed(0)
    ways: dict[str, Any] = {"raft_large": RaftEstimator(Raft(LARGE).eval()),
                            "raft_small": RaftEstimator(Raft(SMALL).eval()),
                            "dis": DisEstimator()}  # fmt: skip
    for row, (height, width) in zip(rows.values(), sizes.values(), strict=True):
        video = make_texture(2, (int(height), int(width)))
        for name, way in ways.items():
            row[f"{name} s"] = median(time_ours(way, video, False) for _ in range(turns))
    return rows


def predict() -> tuple[Rows, Rows]:
    """Return bytes and operations by scale, of RAFT and of a complete frame, and the claims."""
    scales, rows = list(SCALES), dict[str, dict[str, Any]]()
    ours = list(memory.predict_ours(SIZE, torch.float16, raft.FAMILY.flow_models[0], scales))
    plain = list(memory.predict_plain(SIZE, torch.float16, scales, [1]))
    rest = _operations_of_networks()
    for scale, own, other in zip(scales, ours, plain, strict=True):
        flow = _operations_of_flow(scale)
        rows[_format_scale(scale)] = {
            "RAFT look-up GB": _flow_bytes(scale, False) / 1e9,
            "RAFT volume GB": _flow_bytes(scale, True) / 1e9,
            "frame, ours GB": own.peak / 1e9, "frame, plain loop GB": other.peak / 1e9,
            "RAFT TFLOP": flow / 1e12, "frame TFLOP": (flow + rest) / 1e12,
        }  # fmt: skip
    claims = {
        "time, if proportional to operations": ("time", "RAFT TFLOP", "frame TFLOP"),
        "memory, pairs looked up, our loop": ("memory", "RAFT look-up GB", "frame, ours GB"),
        "memory, all pairs, a plain loop": ("memory", "RAFT volume GB", "frame, plain loop GB"),
    }

    def less(key: str) -> float:
        far, near = (float(rows[_format_scale(scale)][key]) for scale in (FAR, NEAR))
        return 100 * (1 - far / near)

    return rows, {
        name: {"claimed, % less": CLAIMED[kind], "RAFT alone, % less": less(part),
               "complete frame, % less": less(frame)}
        for name, (kind, part, frame) in claims.items()
    }  # fmt: skip


def _build_on_meta(scale: Fraction, volume: bool | None, updates: int) -> Callable[[], object]:
    """Return a function that runs RAFT on one frame: encode it, estimate flow to the one before."""
    net = Raft(LARGE, "meta").to(torch.float16).eval().requires_grad_(False)
    found = RaftEstimator(net, updates, volume)
    height, width = (int(side * SCALE * scale) for side in SIZE)
    last = found.reduce(found.encode(torch.empty(3, height, width, device="meta")), False)

    def one() -> object:
        now = found.encode(torch.empty(3, height, width, device="meta"))
        return found.estimate(now, last, (height, width), False)

    return one


@torch.inference_mode()
def _flow_bytes(scale: Fraction, volume: bool) -> int:
    one = _build_on_meta(scale, volume, 1)  # one update holds what twelve do
    with LiveMemory(layouts=True) as live:
        one()
    return int(live.peak)


@torch.inference_mode()
def _operations_of_flow(scale: Fraction) -> int:
    one = _build_on_meta(scale, None, UPDATES)
    with FlopCounterMode(display=False) as counter:
        one()
    return int(counter.get_total_flops())


@torch.inference_mode()
def _operations_of_networks() -> int:
    """Return the operations of a frame after the first, in four steps."""
    classes = get_network_builders()
    with torch.device("meta"):
        nets = Networks.of(
            classes["unet"](dict(memory.UNET)), classes["controlnet"](dict(memory.CONTROL)),
            TinyVae(), torch.empty(1, PROMPT_TOKENS, memory.UNET["cross_attention_dim"]),
        )  # fmt: skip
        before = torch.empty(1, 3, *(SCALE * side for side in SIZE))
        image, still = torch.empty(3, *SIZE), torch.empty(2, *before.shape[2:])
    frame = Frame(1, Fraction(1), Fraction(1), image, {"flow_prev": still})
    with FlopCounterMode(display=False) as counter:
        DiffVsr(nets).step((before,), [frame])
    return int(counter.get_total_flops())


def _format_scale(scale: Fraction) -> str:
    return f"1/{scale.denominator}"


def measure_clips(clips: Sequence[Path], frames: int) -> dict[str, Any]:
    """Return the tables of the measurements, and each clip's own rows."""
    found: dict[str, dict[str, Rows]] = {"steady": {}, "guide": {}, "loop": {}}
    for clip in clips:
        truth = read_frames(clip, frames, 2 * SCALE)
        small = downscale(truth, SCALE, Image.Resampling.BICUBIC)
        found["steady"][clip.stem] = measure_steady(truth, small)
        found["guide"][clip.stem] = measure_guide(truth, small)
        first: Any = truth[0].image
        much = max(1, round(first.size[0] / 160))
        if clip.stem in LOOPED or len(clips) == 1:
            tiny = downscale(read_frames(clip, frames, 2 * much), much, Image.Resampling.BICUBIC)
            found["loop"][clip.stem] = measure_loop(tiny, range(NETS))
        print(clip.stem, f"{process_time():.0f} s", flush=True)
    tables = {kind: average_tables(list(rows.values())) for kind, rows in found.items() if rows}
    for model in raft.FAMILY.flow_models:
        if not has_weights(model):
            tables["guide"][model] = make_empty_row(tables["guide"])
    return {**tables, "clips": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, default=CLIPS, help="folder of the clips")
    parser.add_argument("--only", nargs="*", default=HELD_OUT, help="names of clips")
    parser.add_argument("--frames", type=int, default=6, help="frames of each clip")
    parser.add_argument(
        "--turns", type=int, default=3, help="repetitions of timings; the median counts"
    )
    parser.add_argument("--dry", action="store_true", help="write no result")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clips = [path for name in options.only if (path := options.clips / f"{name}.mp4").is_file()]
    if not clips:
        print(f"skipped: none of {', '.join(options.only)} is in {options.clips}")
        return
    result: dict[str, Any] = {
        "question": "how much quality is lost if flow is estimated on smaller images?",
        "frames": options.frames,
    }
    with torch.inference_mode():
        result |= measure_clips(clips, options.frames)
        result["seconds"] = measure_seconds(options.turns)
        result["predicted"], result["predicted_claims"] = predict()
    for kind in ("steady", "guide", "loop", "seconds", "predicted", "predicted_claims"):
        print(kind)
        for name, row in result.get(kind, {}).items():
            print(f"  {name:<20}", *(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}"
                                     for k, v in row.items()))  # fmt: skip
    if not options.dry:
        print(write_result("flow_scale", result))


if __name__ == "__main__":
    main()
