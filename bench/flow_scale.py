"""What does the final film lose when flow is found on smaller pictures, or by a cheaper guide?

Measured on clips made four times smaller by Pillow's bicubic, in seconds of the processor:
  steady: `compact` x4 and `--steady`, whose flow is found on 1/1 to 1/16 of the large picture;
      flicker as in bench/upscale_quality.py
  guide: the previous true frame, moved by flow that is found on the small film enlarged (as
      Stream-DiffVSR gets it), beside the present true frame; RAFT only where its weights are here
  loop: Stream-DiffVSR's loop around tiny networks of random weights: how far its film is from the
      one led by flow at 1/1. It says how an error of flow goes on, and nothing of how that looks
  seconds: of one flow alone; what RAFT costs does not depend on its weights
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
from _film import CLIPS, write_result
from interpolate_quality import unmeasured
from PIL import Image
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from upscale_quality import (
    HELD_OUT,
    WEIGHTS,
    Video,
    alike,
    enlarged,
    flicker,
    shown,
    shrunk,
    steadied,
)

from filmgate.core.frame import Frame
from filmgate.device.tensor_memory import Live
from filmgate.flow import stage
from filmgate.flow.estimator import Dis
from filmgate.flow.warp_torch import warp
from filmgate.media.pixels.planes import Planes
from filmgate.media.pixels.rgb import to_rgb
from filmgate.models.families import raft
from filmgate.models.families.compact import Enlarge, opened
from filmgate.models.families.diffvsr import memory
from filmgate.models.families.diffvsr.loading import kinds
from filmgate.models.families.diffvsr.stage import SCALE, WORDS, DiffVsr, Nets
from filmgate.models.families.diffvsr.vae import TinyVae
from filmgate.models.families.raft import RaftFlow
from filmgate.models.families.raft.net import LARGE, SMALL, UPDATES, Raft
from filmgate.models.flow_model import Guide
from filmgate.quality.metrics.motion_residual import luma
from filmgate.quality.metrics.psnr_ssim import psnr
from filmgate.weights.store import WeightsStore

WHOLE, *FRACTIONS = SCALES = [Fraction(1, 1 << k) for k in range(5)]
STILL = "no motion"  # the row of a previous frame that is taken as it is
LOOPED = ("io_cockatoo", "sk_bikes")
NETS = 2  # random ones
SIZE = (512, 704)  # of the film, (height, width), for what is predicted and for seconds
NEAR, FAR = Fraction(1, 4), Fraction(1, 8)
SAID = {"time": 17, "memory": 75}  # per cent less at FAR than at NEAR, by a user's account
Rows = dict[str, dict[str, Any]]
Fields = list[Tensor | None]  # of each frame, None where a shot begins


def steady(truth: Video, small: Video) -> Rows:
    """By scale of the flow; `flicker` is beyond that of the true film."""
    made, _ = enlarged(small, Enlarge(opened(WEIGHTS / f"x{SCALE}.safetensors")))
    own, rows = flicker(truth, truth), dict[str, dict[str, Any]]()
    for scale in (None, *SCALES):
        began = process_time()
        video = steadied(made, scale.denominator)[0] if scale else made
        seconds = (process_time() - began) / (len(video) - 1)
        decibels, similar = alike(video, truth)
        rows[_named(scale) if scale else "not steady"] = {
            "psnr_db": decibels, "ssim": similar, "flicker": flicker(video, truth) - own,
            "cpu_seconds": seconds if scale else "",
        }  # fmt: skip
    return rows


def guide(truth: Video, small: Video) -> Rows:
    """By who finds the flow and at which scale; what is occluded in the true film is left out."""
    known = Guide(model="dis").stage().step((), truth)[1]
    found: dict[str, Fields] = {
        STILL: [None] * len(truth), "dis, true film": _fields(known)
    }  # fmt: skip
    spent = dict[str, float]()
    for model in ("dis", *filter(here, raft.MODELS)):
        for scale in SCALES if model == "dis" or torch.cuda.is_available() else FRACTIONS:
            flow = Guide(model=model, scale=SCALE * scale, occlusion=False).stage()
            name, began = f"{model} {_named(scale)}", process_time()
            told = flow.step((), small)[1]
            spent[name] = (process_time() - began) / (len(small) - 1)
            found[name] = _fields(told)
    rows = {name: _nearness(truth, known, fields, found[f"dis {_named(WHOLE)}"])
            for name, fields in found.items()}  # fmt: skip
    return {name: {**row, "cpu_seconds": spent.get(name, "")} for name, row in rows.items()}


def _fields(told: Sequence[Frame]) -> Fields:
    flows: list[Any] = [frame.extras.get("flow_prev") for frame in told]
    return [None if flow is None else flow.cpu() for flow in flows]


def _nearness(
    truth: Video, known: Sequence[Frame], fields: Fields, finest: Fields
) -> dict[str, Any]:
    seen, whole, apart = list[float](), list[float](), list[float]()
    lumas = [torch.from_numpy(luma(frame)) for frame in truth]
    for n in range(1, len(truth)):
        if "flow_prev" not in known[n].extras:  # the first of a shot
            continue
        hidden: Any = known[n].extras["occluded"]
        visible = ~hidden
        best = _large(finest[n], visible.shape)
        own = torch.zeros_like(best) if fields[n] is None else _large(fields[n], visible.shape)
        moved, now = warp(lumas[n - 1][None, None], own)[0, 0], lumas[n]
        seen.append(min(100.0, psnr(moved[visible].numpy(), now[visible].numpy())))
        whole.append(min(100.0, psnr(moved.numpy(), now.numpy())))
        apart.append(float((own - best).square().sum(1).sqrt()[0][visible].mean()))
    return {"psnr_db": mean(seen), "with_occluded_db": mean(whole), "pixels_apart": mean(apart)}


def _large(field: Any, size: Sequence[int]) -> Tensor:
    return stage.enlarged(field, (size[0], size[1]))[None]


def here(model: str) -> bool:
    """Whether the published weights of a RAFT lie in the models folder."""
    return any(WeightsStore.here().place(w).is_file() for w in raft.weights() if w.name == model)


def loop(small: Video, seeds: Sequence[int]) -> Rows:
    """How far films are from the one that flow at 1/1 led, the first frame of a shot left out."""
    ways = {**{_named(scale): _led(small, scale) for scale in SCALES}, STILL: _led(small, None)}
    rows = list[Rows]()
    for seed in seeds:
        stage, videos = DiffVsr(_nets(seed)), dict[str, list[Any]]()
        _calibrated(stage, ways[STILL][0])
        for name, given in ways.items():
            drawn: list[Any] = [frame.image for frame in stage.step((), given)[1]]
            videos[name] = [255 * image.numpy() for image, frame in zip(drawn, given, strict=True)
                           if "flow_prev" in frame.extras]  # fmt: skip
        rows.append({name: _apart(video, *(videos[_named(WHOLE)], videos[STILL]))
                     for name, video in videos.items()})  # fmt: skip
    return averaged(rows)


def _led(small: Video, scale: Fraction | None) -> list[Frame]:
    """The film as tensors, with flow at a scale; None: with flow that is 0."""
    told = Guide(model="dis", scale=SCALE * (scale or FAR), occlusion=False).stage()
    frames = []
    for frame in told.step((), small)[1]:
        made, flow = (
            frame.made(to_rgb(_planes(frame)), keep=("cut",)),
            frame.extras.get("flow_prev"),
        )
        if isinstance(flow, Tensor):
            made = made.learnt(flow_prev=flow if scale else torch.zeros_like(flow))
        frames.append(made)
    return frames


def _planes(frame: Frame) -> Planes:
    assert isinstance(frame.image, Planes)
    return frame.image


def _apart(video: Sequence[Any], best: Sequence[Any], still: Sequence[Any]) -> dict[str, Any]:
    errors = [float(np.square(a - b).mean()) for a, b in zip(video, best, strict=True)]
    at_most = mean(float(np.square(a - b).mean()) for a, b in zip(still, best, strict=True))
    decibels = [10 * log10(255**2 / error) if error else "the same" for error in errors]
    return {
        "psnr_db": _mean(decibels),
        "last_frame_db": decibels[-1],
        "off_by_2_share": mean(float((np.abs(a - b) > 2).mean())
                               for a, b in zip(video, best, strict=True)),
        "beside_no_motion": mean(errors) / at_most if at_most else 0.0,
    }  # fmt: skip


def _nets(seed: int) -> Nets:
    """The kinds of networks that are published, tiny; random weights keep what goes through."""
    thin = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 2,
            "only_cross_attention": (True, False), "cross_attention_dim": 8}  # fmt: skip
    torch.manual_seed(seed)
    made = kinds()
    control = made["controlnet"](
        {**memory.CONTROL, **thin, "conditioning_embedding_out_channels": (4, 4, 8)}
    )
    unet = made["unet"](
        {**memory.UNET, **thin, "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}
    )
    vae = TinyVae(8)
    for net in (unet, control, vae):
        net.eval().requires_grad_(False)
        for numbers in net.parameters():
            if numbers.ndim > 1:
                numbers.normal_(0, numbers[0].numel() ** -0.5)
    return Nets.of(unet, control, vae, torch.randn(1, WORDS, 8))


def _calibrated(stage: DiffVsr, first: Frame) -> None:
    """The last layer is scaled until the first picture is mid-grey with a spread of a fifth.

    Without it half of the pixels are black, and those would hide what differs.
    """
    state, _ = stage.step((), [first])
    last = stage.nets.vae.decoder.layers[-1]  # type: ignore[index]
    assert isinstance(last, nn.Conv2d)
    shown = state[0] / 2 + 0.5
    share = 0.2 / float(shown.std())
    last.weight.mul_(share)
    last.bias.sub_(float(shown.mean())).mul_(share).add_(0.5)  # type: ignore[union-attr]


def seconds(turns: int) -> Rows:
    """Of one flow, one way, between two pictures; the first picture is known."""
    from flow import ours, sliding  # torchvision comes along, and takes its time

    sizes = {scale: [side * SCALE * scale for side in SIZE] for scale in SCALES[2:]}
    rows: Rows = {f"{_named(s)}: {int(w)}x{int(h)}": {} for s, (h, w) in sizes.items()}
    torch.manual_seed(0)
    ways: dict[str, Any] = {"raft_large": RaftFlow(Raft(LARGE).eval()),
                            "raft_small": RaftFlow(Raft(SMALL).eval()), "dis": Dis()}  # fmt: skip
    for row, (height, width) in zip(rows.values(), sizes.values(), strict=True):
        video = sliding(2, (int(height), int(width)))
        for name, way in ways.items():
            row[f"{name} s"] = median(ours(way, video, False) for _ in range(turns))
    return rows


def foreseen() -> tuple[Rows, Rows]:
    """By scale, what RAFT and a whole frame hold and compute; and what the user's claims become."""
    scales, rows = list(SCALES), dict[str, dict[str, Any]]()
    ours = list(memory.ours(SIZE, torch.float16, raft.MODELS[0], scales))
    plain = list(memory.plain(SIZE, torch.float16, scales, [1]))
    rest = _operations_of_networks()
    for scale, own, other in zip(scales, ours, plain, strict=True):
        flow = _operations_of_flow(scale)
        rows[_named(scale)] = {
            "RAFT look-up GB": _flow_bytes(scale, False) / 1e9,
            "RAFT volume GB": _flow_bytes(scale, True) / 1e9,
            "frame, ours GB": own.peak / 1e9, "frame, plain loop GB": other.peak / 1e9,
            "RAFT TFLOP": flow / 1e12, "frame TFLOP": (flow + rest) / 1e12,
        }  # fmt: skip
    claims = {
        "time, if it went as operations": ("time", "RAFT TFLOP", "frame TFLOP"),
        "memory, pairs looked up, our loop": ("memory", "RAFT look-up GB", "frame, ours GB"),
        "memory, all pairs, a plain loop": ("memory", "RAFT volume GB", "frame, plain loop GB"),
    }

    def less(key: str) -> float:
        far, near = (float(rows[_named(scale)][key]) for scale in (FAR, NEAR))
        return 100 * (1 - far / near)

    return rows, {
        name: {"said, % less": SAID[kind], "RAFT alone, % less": less(part),
               "whole frame, % less": less(whole)}
        for name, (kind, part, whole) in claims.items()
    }  # fmt: skip


def _on_meta(scale: Fraction, volume: bool | None, updates: int) -> Callable[[], object]:
    """RAFT, one frame of the film: it is encoded, and flow leads back to the one before."""
    net = Raft(LARGE, "meta").to(torch.float16).eval().requires_grad_(False)
    found = RaftFlow(net, updates, volume)
    height, width = (int(side * SCALE * scale) for side in SIZE)
    last = found.kept(found.seen(torch.empty(3, height, width, device="meta")), False)

    def one() -> object:
        now = found.seen(torch.empty(3, height, width, device="meta"))
        return found.flows(now, last, (height, width), False)

    return one


@torch.inference_mode()
def _flow_bytes(scale: Fraction, volume: bool) -> int:
    one = _on_meta(scale, volume, 1)  # one update holds what twelve do
    with Live(layouts=True) as live:
        one()
    return int(live.peak)


@torch.inference_mode()
def _operations_of_flow(scale: Fraction) -> int:
    one = _on_meta(scale, None, UPDATES)
    with FlopCounterMode(display=False) as counted:
        one()
    return int(counted.get_total_flops())


@torch.inference_mode()
def _operations_of_networks() -> int:
    """Those of a frame that another led, in four steps."""
    made = kinds()
    with torch.device("meta"):
        nets = Nets.of(
            made["unet"](dict(memory.UNET)), made["controlnet"](dict(memory.CONTROL)),
            TinyVae(), torch.empty(1, WORDS, memory.UNET["cross_attention_dim"]),
        )  # fmt: skip
        before = torch.empty(1, 3, *(SCALE * side for side in SIZE))
        picture, still = torch.empty(3, *SIZE), torch.empty(2, *before.shape[2:])
    frame = Frame(1, Fraction(1), Fraction(1), picture, {"flow_prev": still})
    with FlopCounterMode(display=False) as counted:
        DiffVsr(nets).step((before,), [frame])
    return int(counted.get_total_flops())


def averaged(many: Sequence[Rows]) -> Rows:
    """Row by row, figure by figure; words stay."""
    return {
        name: {key: _mean([rows[name][key] for rows in many]) for key in row}
        for name, row in many[0].items()
    }


def _mean(values: Sequence[Any]) -> Any:
    return values[0] if any(isinstance(value, str) for value in values) else mean(values)


def _named(scale: Fraction) -> str:
    return f"1/{scale.denominator}"


def measured(clips: Sequence[Path], frames: int) -> dict[str, Any]:
    """The tables of what was measured on films, and each clip's own rows."""
    found: dict[str, dict[str, Rows]] = {"steady": {}, "guide": {}, "loop": {}}
    for clip in clips:
        truth = shown(clip, frames, 2 * SCALE)
        small = shrunk(truth, SCALE, Image.Resampling.BICUBIC)
        found["steady"][clip.stem] = steady(truth, small)
        found["guide"][clip.stem] = guide(truth, small)
        first: Any = truth[0].image
        much = max(1, round(first.size[0] / 160))
        if clip.stem in LOOPED or len(clips) == 1:
            tiny = shrunk(shown(clip, frames, 2 * much), much, Image.Resampling.BICUBIC)
            found["loop"][clip.stem] = loop(tiny, range(NETS))
        print(clip.stem, f"{process_time():.0f} s", flush=True)
    tables = {kind: averaged(list(rows.values())) for kind, rows in found.items() if rows}
    for model in raft.MODELS:
        if not here(model):
            tables["guide"][model] = unmeasured(tables["guide"])
    return {**tables, "clips": found}


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--clips", type=Path, default=CLIPS, help="where the films are")
    wanted.add_argument("--only", nargs="*", default=HELD_OUT, help="films, by name")
    wanted.add_argument("--frames", type=int, default=6, help="of each clip")
    wanted.add_argument("--turns", type=int, default=3, help="of which seconds are the median")
    wanted.add_argument("--dry", action="store_true", help="write no result")
    options = wanted.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    clips = [path for name in options.only if (path := options.clips / f"{name}.mp4").is_file()]
    if not clips:
        print(f"skipped: none of {', '.join(options.only)} is in {options.clips}")
        return
    result: dict[str, Any] = {
        "question": "what does the final film lose when flow is found on smaller pictures?",
        "frames": options.frames,
    }
    with torch.inference_mode():
        result |= measured(clips, options.frames)
        result["seconds"] = seconds(options.turns)
        result["predicted"], result["predicted_claims"] = foreseen()
    for kind in ("steady", "guide", "loop", "seconds", "predicted", "predicted_claims"):
        print(kind)
        for name, row in result.get(kind, {}).items():
            print(f"  {name:<20}", *(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}"
                                     for k, v in row.items()))  # fmt: skip
    if not options.dry:
        print(write_result("flow_scale", result))


if __name__ == "__main__":
    main()
