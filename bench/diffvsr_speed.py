"""How many seconds a frame and how many GB does Stream-DiffVSR take, ours and with the usual loop?

The full-size networks with random weights, frame after frame of a sliding texture; each row in a
process of its own, so that running out of memory, or dying, is reported and the others continue.
  ours: the stages of the product: flow by our RAFT, then the loop
  plain: the usual loop with unchanged diffusers classes. torchvision's RAFT encodes each pair again
    and correlates all of it in advance; the ControlNet sees the large image in every step; features
    of the warped image are held through the steps; attention maps are complete. It is better than
    the published pipeline: no list grows with the video, TF32 is allowed, and the scale of flow is
    that of RAFT's input. torchvision's RAFT stays float32, since in half precision it raises, and
    divides its volume into a second one: at full scale both are more than the plan predicts.
GB are those that torch's allocator allocated and reserved, weights included, next to the prediction
of `filmgate plan`. Seconds of parts are of other frames: each part waits for the device.
Flow is some pixels long and similar for neighbours, as in most videos; otherwise our look-up of
pairs takes longer.
Without a CUDA device nothing is measured; --tiny runs all of it with small networks on any device.
"""

import argparse
import gc
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from importlib.metadata import version
from math import ceil
from statistics import median
from time import perf_counter
from typing import Any

import torch
from _common import write_result
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.chain import Chain, is_out_of_memory
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.errors import OutOfMemory
from filmgate.flow.stage import Flow
from filmgate.models.diffusion.noise import draw_noise
from filmgate.models.families.diffvsr import memory
from filmgate.models.families.diffvsr.loading import get_network_builders
from filmgate.models.families.diffvsr.memory import CONTROL, UNET
from filmgate.models.families.diffvsr.schedule import Schedule, warp
from filmgate.models.families.diffvsr.stage import PROMPT_TOKENS, SCALE, DiffVsr, Networks
from filmgate.models.families.diffvsr.vae import TinyVae, pool
from filmgate.models.families.raft.estimator import RaftEstimator
from filmgate.models.families.raft.net import CELL, LARGE, MIN_SIDE, Raft

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
SIZES = ((180, 320), (512, 704))  # (height, width) of the small images
TINY_SIZE = (32, 40)
TINY = {"block_out_channels": (8, 8, 8, 16), "cross_attention_dim": 8, "attention_head_dim": 2,
        "norm_num_groups": 4}  # fmt: skip
SCALES = (Fraction(1), Fraction(1, 4))  # of flow: the result's size, and that of small images
WARM_UP, STEPS, UPDATES = 3, 4, 12
PARTS = ("flow", "networks", "decoder")
COLUMNS = ("seconds", *(f"{part}_s" for part in PARTS), "gb", "reserved_gb", "predicted_gb",
           "measured_of_predicted", "error")  # fmt: skip
TIMEOUT_S = 300  # of one row
Step = Callable[[int, Tensor], Tensor]  # (index, image (3, h, w) in [0, 1]) to (3, 4h, 4w)


@dataclass(frozen=True)
class Row:
    """One line of the table. `size` (height, width) is that of the small images."""

    method: str
    size: tuple[int, int]
    scale: Fraction
    dtype: str

    @classmethod
    def of(cls, name: str) -> "Row":
        """Return the row of a name."""
        size, method, dtype, scale = name.split(" ", 3)
        high, wide = map(int, size.split("x"))
        return cls(method, (high, wide), Fraction(scale.removeprefix("flow ")), dtype)

    @property
    def name(self) -> str:
        return f"{self.size[0]}x{self.size[1]} {self.method} {self.dtype} flow {self.scale}"


def list_rows(tiny: bool) -> Iterator[Row]:
    """Yield all rows, small images first."""
    for size in (TINY_SIZE,) if tiny else SIZES:
        usual = "float16" if CUDA else "float32"
        dtypes = {"ours": [usual], "plain": [usual]}
        if size == SIZES[0]:
            dtypes["plain"].append("float32")
        for method, names in dtypes.items():
            for dtype in names:
                yield from (Row(method, size, scale, dtype) for scale in SCALES)


def wait() -> None:
    """Wait until the device has finished."""
    if CUDA:
        torch.cuda.synchronize()


@dataclass
class Parts:
    """Seconds of a frame by part, if enabled: then each part waits for the device."""

    enabled: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    now: str = ""
    since: float = 0.0

    def start(self, part: str) -> None:
        """Count the time from here on for this part."""
        if not self.enabled:
            return
        wait()
        moment = perf_counter()
        if self.now:
            self.seconds[self.now] = self.seconds.get(self.now, 0.0) + moment - self.since
        self.now, self.since = part, moment


@dataclass(frozen=True)
class SharedNetworks:
    """The networks as diffusers builds them, and the RAFT whose weights both use (float32)."""

    unet: Any
    control: Any
    vae: TinyVae
    prompt: Tensor
    raft: Raft


def build_networks(device: str, dtype: torch.dtype, tiny: bool, parts: Parts) -> SharedNetworks:
    """Return networks with fixed random weights that keep activations in range."""
    torch.manual_seed(0)
    small = TINY if tiny else {}
    large = {"conditioning_embedding_out_channels": (4, 4, 8)} if tiny else {}
    classes = get_network_builders()
    with torch.device(device), torch.no_grad():
        unet = _randomize(classes["unet"]({**UNET, **small}), dtype)
        control: Any = _randomize(classes["controlnet"]({**CONTROL, **small, **large}), dtype)
        vae = TinyVae(8 if tiny else 64, device)
        prompt = torch.randn(1, PROMPT_TOKENS, int(unet.config.cross_attention_dim)).to(dtype)
        _randomize(vae, dtype)
        for half in (vae.encoder, vae.decoder):  # mid-grey images
            half.layers[-1].weight.mul_(0.2)  # type: ignore[index, union-attr]
        vae.decoder.layers[-1].bias.fill_(0.5)  # type: ignore[index, union-attr]
        raft = _randomize(Raft(LARGE, device), torch.float32)
        raft.update_block.flow_head.conv2.weight.mul_(0.25)
    for net in (unet, control, control.controlnet_cond_embedding):
        net.register_forward_pre_hook(lambda *_: parts.start("networks"))
    for half in (vae.encoder, vae.decoder):
        half.layers[0].register_forward_pre_hook(lambda *_: parts.start("decoder"))  # type: ignore[index, union-attr]
    return SharedNetworks(unet, control, vae, prompt, raft)


def _randomize(net: Any, dtype: torch.dtype) -> Any:
    for name, weights in net.named_parameters():
        if weights.ndim > 1:  # the first layers of a ControlNet would be zeros
            weights.normal_(0, weights[0].numel() ** -0.5)
        elif name.endswith("bias"):
            weights.zero_()
    return nn.Module.to(net, dtype=dtype).eval().requires_grad_(False)


def build_ours(nets: SharedNetworks, size: tuple[int, int], scale: Fraction) -> Step:
    """Build the stages of the product; RAFT has the dtype of the networks."""
    raft = RaftEstimator(nets.raft.to(nets.prompt.dtype), UPDATES)
    loop = DiffVsr(Networks.of(nets.unet, nets.control, nets.vae, nets.prompt), steps=STEPS)
    chain = Chain((Flow(raft, SCALE * scale, occlusion=False), loop))
    spec = StreamSpec(width=size[1], height=size[0], rate=None, time_base=Fraction(1), pixels="rgb")
    state = chain.start(spec, Position(0, Fraction(0)))

    def step(n: int, image: Tensor) -> Tensor:
        nonlocal state
        state, (output,) = chain.step(state, [Frame(n, Fraction(n), Fraction(1), image, {})])
        assert isinstance(output.image, Tensor)
        return output.image

    return step


def build_plain(nets: SharedNetworks, size: tuple[int, int], scale: Fraction) -> Step:
    """Build a hand-written loop around the same networks; sides of images are multiples of four."""
    from torchvision.models.optical_flow import raft_large

    unet, control, vae, prompt = nets.unet, nets.control, nets.vae, nets.prompt
    with torch.device(prompt.device):
        raft = raft_large(weights=None, progress=False).eval().requires_grad_(False)
    raft.load_state_dict(nets.raft.state_dict())
    schedule, large = Schedule(), [SCALE * side for side in size]
    last, result = torch.empty(0), torch.empty(0)

    @torch.inference_mode()
    def step(n: int, image: Tensor) -> Tensor:
        nonlocal last, result
        small = image[None].float() * 2 - 1
        given = small.to(prompt.dtype)
        latent = torch.from_numpy(draw_noise(0, "diffvsr", n, (1, 4, *size))).to(prompt.device)
        raft_input = _resize_for_raft(small, SCALE * scale)
        guide, features, residuals = None, list[Tensor](), dict[str, Any]()
        if n:
            flow = raft(raft_input, last, UPDATES)[-1][..., : ceil(size[0] * SCALE * scale),
                                                   : ceil(size[1] * SCALE * scale)]  # fmt: skip
            if list(flow.shape[2:]) != large:
                more = large[0] / flow.shape[2]
                flow = functional.interpolate(flow, large, mode="bilinear") * more
            guide = warp(result, flow).to(prompt.dtype)
            features = vae.extract_features(guide)
        for level in schedule.list_levels(STEPS):
            x = torch.cat([latent.to(prompt.dtype), given], 1)
            if guide is not None:
                down, mid = control(x, level, prompt, guide, return_dict=False)
                residuals = {"down_block_additional_residuals": down,
                        "mid_block_additional_residual": mid}  # fmt: skip
            velocity = unet(x, level, prompt, return_dict=False, **residuals)[0]
            latent = schedule.step(latent, velocity, level, STEPS)
        before = [pool(some) for some in reversed(features)] or None
        last, result = raft_input, vae.decode(latent.to(prompt.dtype), before)
        return (result[0].float() / 2 + 0.5).clamp(0, 1)

    return step


def _resize_for_raft(small: Tensor, scale: Fraction) -> Tensor:
    """Return RAFT's input: in [-1, 1], sides multiples of 8 and 128 or more."""
    if scale != 1:
        sides = [ceil(side * scale) for side in small.shape[2:]]
        small = functional.interpolate(small, sides, mode="bicubic")
    high, wide = (max(MIN_SIDE, -(-side // CELL) * CELL) - side for side in small.shape[2:])
    return functional.pad(small, (0, wide, 0, high), mode="replicate")


METHODS: dict[str, Callable[[SharedNetworks, tuple[int, int], Fraction], Step]] = {
    "ours": build_ours,
    "plain": build_plain,
}


def make_images(size: tuple[int, int], count: int) -> Iterator[Tensor]:
    """Yield images of a smooth sliding texture, (3, h, w) in [0, 1] on the device."""
    height, width = size
    rng = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, height // 16, width // 8, generator=rng)
    wide = functional.interpolate(coarse, (height, 2 * width), mode="bilinear")[0].to(DEVICE)
    for n in range(count):
        yield wide[:, :, n % width : n % width + width].contiguous()


def measure(row: Row, tiny: bool, frames: int) -> dict[str, Any]:
    """Measure one row in this process. Raises the errors of the method."""
    dtype, parts = getattr(torch, row.dtype), Parts()
    if row.method == "plain" and CUDA:
        torch.set_float32_matmul_precision("high")
    nets = build_networks(DEVICE, dtype, tiny, parts)
    step = METHODS[row.method](nets, row.size, row.scale)
    del nets
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times, spread = list[float](), 0.0
    for n, image in enumerate(make_images(row.size, WARM_UP + 2 * frames)):
        parts.enabled = n >= WARM_UP + frames
        wait()
        began = perf_counter()
        parts.start("flow")
        output = step(n, image)
        parts.start("")
        wait()
        times.append(perf_counter() - began)
        if not bool(output.isfinite().all()) or (spread := float(output.float().std())) < 0.02:
            raise ArithmeticError(f"image {n} is not finite, or flat: {spread:.3g}")
        del output  # its memory is no part of the next frame
    values = {"seconds": median(times[WARM_UP : WARM_UP + frames])}
    values |= {f"{part}_s": parts.seconds.get(part, 0.0) / frames for part in PARTS}
    if CUDA:
        values |= {"gb": torch.cuda.max_memory_allocated() / 1e9,
                 "reserved_gb": torch.cuda.max_memory_reserved() / 1e9}  # fmt: skip
    return values


def predict(row: Row) -> float:
    """Return the peak GB, predicted from the shapes of the full-size networks."""
    dtype, scales = getattr(torch, row.dtype), [row.scale]
    if row.method == "ours":
        (prediction,) = memory.predict_ours(row.size, dtype, "raft_large", scales)
    else:
        (prediction,) = memory.predict_plain(row.size, dtype, scales, [1])
    return prediction.peak / 1e9


def make_line(row: Row, tiny: bool, frames: int) -> dict[str, Any]:
    """Return the line of the table; "-" is not measured, and `error` says why."""
    line: dict[str, Any] = {**dict.fromkeys(COLUMNS, "-"), "error": ""}
    if not tiny:
        line["predicted_gb"] = predict(row)
    try:
        line |= measure(row, tiny, frames)
    except Exception as error:
        if not (isinstance(error, OutOfMemory) or is_out_of_memory(error)):
            raise
        line["error"] = f"out of memory: {str(error).partition('. GPU')[0]}".replace("|", "/")
    if CUDA and not tiny and not line["error"]:
        line["measured_of_predicted"] = line["gb"] / line["predicted_gb"]
    return line


def measure_difference(scale: Fraction) -> float:
    """Return the largest difference between both methods on equal weights, noise and video.

    Four frames of small networks in float32, in [0, 1]; each estimates flow by its own RAFT.
    """
    if CUDA:
        torch.backends.cudnn.allow_tf32 = False
    videos = []
    for build in METHODS.values():
        step = build(build_networks(DEVICE, torch.float32, True, Parts()), TINY_SIZE, scale)
        videos.append([step(n, image) for n, image in enumerate(make_images(TINY_SIZE, 4))])
    return max(float((a - b).abs().max()) for a, b in zip(*videos, strict=True))


def child(words: Sequence[str]) -> Any:
    """Run this benchmark with these arguments; return its result, or {"error": the reason}."""
    command = [sys.executable, __file__, *words]
    try:
        run = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {TIMEOUT_S} s"}
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        last = (run.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"died with {run.returncode}: {last[:200]}".replace("|", "/")}
    return json.loads(run.stdout.splitlines()[-1])


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--tiny", action="store_true", help="use small networks and write no result"
    )
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--row", help="internal: one row by its name")
    parser.add_argument("--difference", action="store_true", help="internal: the comparison")
    options = parser.parse_args(words)
    if options.row:
        print(json.dumps(make_line(Row.of(options.row), options.tiny, options.frames)))
        return
    if options.difference:
        print(json.dumps({str(scale): measure_difference(scale) for scale in SCALES}))
        return
    if not CUDA and not options.tiny:
        print("skipped: no GPU here")
        return
    tiny, gpu = ["--tiny"] if options.tiny else [], {}
    if CUDA:
        total = torch.cuda.get_device_properties(0).total_memory
        gpu = {"gpu": f"{torch.cuda.get_device_name()}, {total / 1e9:.0f} GB"}
    result: dict[str, Any] = {
        "question": "how many seconds a frame and GB does Stream-DiffVSR take, ours and plain?",
        "weights": "random",
        "frames": options.frames,
        "difference": child(["--difference"]),
        "ways": {},
    }
    print("largest difference, small networks in float32:", result["difference"], flush=True)
    for row in list_rows(options.tiny):
        line = child(["--row", row.name, "--frames", str(options.frames), *tiny])
        result["ways"][row.name] = {**dict.fromkeys(COLUMNS, "-"), **line}
        print(row.name, json.dumps(line), flush=True)
        if CUDA and not options.tiny:  # keeps the rows so far if the run is interrupted
            write_result("diffvsr_speed", result, torch=version("torch"), **gpu)


if __name__ == "__main__":
    main()
