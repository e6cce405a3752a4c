"""How many seconds a frame and how many GB does Stream-DiffVSR take, ours beside the plain way?

The full-size networks with random weights, frame after frame of a sliding texture; each row in a
process of its own, so what runs out of memory, or dies, is told as that and the others go on.
  ours: the stages that run: flow by our RAFT, then the loop
  plain: the usual loop, with diffusers' classes as they are. torchvision's RAFT sees each pair anew
    and correlates all of it beforehand; the ControlNet looks at the large picture in every step;
    features of the warped picture are held through the steps; maps are whole. It is kinder than
    the published pipeline: no list grows with the film, TF32 is allowed, and the scale of flow
    says what RAFT looks at. torchvision's RAFT stays float32, since in half precision it raises,
    and divides its volume into a second one: at full scale both are more than the plan counts.
GB are those that torch's allocator had given out, and had reserved, weights among them; beside them
what `filmgate plan` predicts. Seconds of parts are of other frames: each part waits for the device.
Flow is some pixels long and neighbours go together, as in most films: where they do not, ours takes
longer to look pairs up.
Without a CUDA device nothing is measured; --tiny tries all of it with small networks on any.
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
from _film import write_result
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.chain import Chain, is_out_of_memory
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.errors import OutOfMemory
from filmgate.flow.stage import Flow
from filmgate.models.diffusion.noise import noise
from filmgate.models.families.diffvsr import memory
from filmgate.models.families.diffvsr.loading import kinds
from filmgate.models.families.diffvsr.memory import CONTROL, UNET
from filmgate.models.families.diffvsr.schedule import Schedule, warp
from filmgate.models.families.diffvsr.stage import SCALE, WORDS, DiffVsr, Nets
from filmgate.models.families.diffvsr.vae import TinyVae, pooled
from filmgate.models.families.raft import RaftFlow
from filmgate.models.families.raft.net import CELL, LARGE, SMALLEST, Raft

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
SIZES = ((180, 320), (512, 704))  # of small pictures, (height, width)
TINY_SIZE = (32, 40)
TINY = {"block_out_channels": (8, 8, 8, 16), "cross_attention_dim": 8, "attention_head_dim": 2,
        "norm_num_groups": 4}  # fmt: skip
SCALES = (Fraction(1), Fraction(1, 4))  # of flow: the result's size, and that of small pictures
WARMING, STEPS, UPDATES = 3, 4, 12
PARTS = ("flow", "networks", "decoder")
COLUMNS = ("seconds", *(f"{part}_s" for part in PARTS), "gb", "reserved_gb", "predicted_gb",
           "measured_of_predicted", "said")  # fmt: skip
PATIENCE_S = 300  # of one row
Step = Callable[[int, Tensor], Tensor]  # number and picture (3, h, w) in [0, 1]: (3, 4h, 4w)


@dataclass(frozen=True)
class Row:
    """One line of the table. `size` (height, width) is that of small pictures."""

    way: str
    size: tuple[int, int]
    scale: Fraction
    dtype: str

    @classmethod
    def of(cls, said: str) -> "Row":
        """From its name."""
        size, way, dtype, scale = said.split(" ", 3)
        high, wide = map(int, size.split("x"))
        return cls(way, (high, wide), Fraction(scale.removeprefix("flow ")), dtype)

    @property
    def name(self) -> str:
        return f"{self.size[0]}x{self.size[1]} {self.way} {self.dtype} flow {self.scale}"


def rows(tiny: bool) -> Iterator[Row]:
    """All that is measured, small pictures first."""
    for size in (TINY_SIZE,) if tiny else SIZES:
        usual = "float16" if CUDA else "float32"
        dtypes = {"ours": [usual], "plain": [usual]}
        if size == SIZES[0]:
            dtypes["plain"].append("float32")
        for way, names in dtypes.items():
            for dtype in names:
                yield from (Row(way, size, scale, dtype) for scale in SCALES)


def wait() -> None:
    """Until the device has done what it was told."""
    if CUDA:
        torch.cuda.synchronize()


@dataclass
class Parts:
    """Seconds of a frame by part, where somebody asks: then each part waits for the device."""

    asked: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    now: str = ""
    since: float = 0.0

    def at(self, part: str) -> None:
        """From here on it is this part's time."""
        if not self.asked:
            return
        wait()
        moment = perf_counter()
        if self.now:
            self.seconds[self.now] = self.seconds.get(self.now, 0.0) + moment - self.since
        self.now, self.since = part, moment


@dataclass(frozen=True)
class Built:
    """The networks as diffusers makes them, and the RAFT whose weights both ways take (float32)."""

    unet: Any
    control: Any
    vae: TinyVae
    prompt: Tensor
    raft: Raft


def built(device: str, dtype: torch.dtype, tiny: bool, parts: Parts) -> Built:
    """Always the same random weights on one device, which keep the size of what goes through."""
    torch.manual_seed(0)
    small = TINY if tiny else {}
    large = {"conditioning_embedding_out_channels": (4, 4, 8)} if tiny else {}
    made = kinds()
    with torch.device(device), torch.no_grad():
        unet = _random(made["unet"]({**UNET, **small}), dtype)
        control: Any = _random(made["controlnet"]({**CONTROL, **small, **large}), dtype)
        vae = TinyVae(8 if tiny else 64, device)
        prompt = torch.randn(1, WORDS, int(unet.config.cross_attention_dim)).to(dtype)
        _random(vae, dtype)
        for half in (vae.encoder, vae.decoder):  # pictures about mid-grey
            half.layers[-1].weight.mul_(0.2)  # type: ignore[index, union-attr]
        vae.decoder.layers[-1].bias.fill_(0.5)  # type: ignore[index, union-attr]
        raft = _random(Raft(LARGE, device), torch.float32)
        raft.update_block.flow_head.conv2.weight.mul_(0.25)
    for net in (unet, control, control.controlnet_cond_embedding):
        net.register_forward_pre_hook(lambda *_: parts.at("networks"))
    for half in (vae.encoder, vae.decoder):
        half.layers[0].register_forward_pre_hook(lambda *_: parts.at("decoder"))  # type: ignore[index, union-attr]
    return Built(unet, control, vae, prompt, raft)


def _random(net: Any, dtype: torch.dtype) -> Any:
    for name, numbers in net.named_parameters():
        if numbers.ndim > 1:  # what a ControlNet begins with would be zeros
            numbers.normal_(0, numbers[0].numel() ** -0.5)
        elif name.endswith("bias"):
            numbers.zero_()
    return nn.Module.to(net, dtype=dtype).eval().requires_grad_(False)


def ours(nets: Built, size: tuple[int, int], scale: Fraction) -> Step:
    """The very stages, a frame at a time; RAFT's numbers are those of the networks."""
    raft = RaftFlow(nets.raft.to(nets.prompt.dtype), UPDATES)
    loop = DiffVsr(Nets.of(nets.unet, nets.control, nets.vae, nets.prompt), steps=STEPS)
    chain = Chain((Flow(raft, SCALE * scale, occlusion=False), loop))
    spec = StreamSpec(width=size[1], height=size[0], rate=None, time_base=Fraction(1), pixels="rgb")
    state = chain.start(spec, Position(0, Fraction(0)))

    def step(n: int, picture: Tensor) -> Tensor:
        nonlocal state
        state, (made,) = chain.step(state, [Frame(n, Fraction(n), Fraction(1), picture, {})])
        assert isinstance(made.image, Tensor)
        return made.image

    return step


def plain(nets: Built, size: tuple[int, int], scale: Fraction) -> Step:
    """What a person writes around the same networks, with pictures whose sides are fours."""
    from torchvision.models.optical_flow import raft_large

    unet, control, vae, prompt = nets.unet, nets.control, nets.vae, nets.prompt
    with torch.device(prompt.device):
        raft = raft_large(weights=None, progress=False).eval().requires_grad_(False)
    raft.load_state_dict(nets.raft.state_dict())
    schedule, large = Schedule(), [SCALE * side for side in size]
    last, result = torch.empty(0), torch.empty(0)

    @torch.inference_mode()
    def step(n: int, picture: Tensor) -> Tensor:
        nonlocal last, result
        small = picture[None].float() * 2 - 1
        given = small.to(prompt.dtype)
        latent = torch.from_numpy(noise(0, "diffvsr", n, (1, 4, *size))).to(prompt.device)
        looked = _looked(small, SCALE * scale)
        guide, features, told = None, list[Tensor](), dict[str, Any]()
        if n:
            flow = raft(looked, last, UPDATES)[-1][..., : ceil(size[0] * SCALE * scale),
                                                   : ceil(size[1] * SCALE * scale)]  # fmt: skip
            if list(flow.shape[2:]) != large:
                more = large[0] / flow.shape[2]
                flow = functional.interpolate(flow, large, mode="bilinear") * more
            guide = warp(result, flow).to(prompt.dtype)
            features = vae.features(guide)
        for level in schedule.levels(STEPS):
            x = torch.cat([latent.to(prompt.dtype), given], 1)
            if guide is not None:
                down, mid = control(x, level, prompt, guide, return_dict=False)
                told = {"down_block_additional_residuals": down,
                        "mid_block_additional_residual": mid}  # fmt: skip
            velocity = unet(x, level, prompt, return_dict=False, **told)[0]
            latent = schedule.step(latent, velocity, level, STEPS)
        before = [pooled(some) for some in reversed(features)] or None
        last, result = looked, vae.decode(latent.to(prompt.dtype), before)
        return (result[0].float() / 2 + 0.5).clamp(0, 1)

    return step


def _looked(small: Tensor, scale: Fraction) -> Tensor:
    """What torchvision's RAFT is given: in [-1, 1], sides multiples of 8 and 128 or more."""
    if scale != 1:
        sides = [ceil(side * scale) for side in small.shape[2:]]
        small = functional.interpolate(small, sides, mode="bicubic")
    high, wide = (max(SMALLEST, -(-side // CELL) * CELL) - side for side in small.shape[2:])
    return functional.pad(small, (0, wide, 0, high), mode="replicate")


WAYS: dict[str, Callable[[Built, tuple[int, int], Fraction], Step]] = {"ours": ours, "plain": plain}


def pictures(size: tuple[int, int], count: int) -> Iterator[Tensor]:
    """A smooth texture that slides, (3, h, w) in [0, 1] on the device."""
    height, width = size
    chance = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, height // 16, width // 8, generator=chance)
    wide = functional.interpolate(coarse, (height, 2 * width), mode="bilinear")[0].to(DEVICE)
    for n in range(count):
        yield wide[:, :, n % width : n % width + width].contiguous()


def measured(row: Row, tiny: bool, frames: int) -> dict[str, Any]:
    """One row, in this process. Raises what the way raises."""
    dtype, parts = getattr(torch, row.dtype), Parts()
    if row.way == "plain" and CUDA:
        torch.set_float32_matmul_precision("high")
    nets = built(DEVICE, dtype, tiny, parts)
    step = WAYS[row.way](nets, row.size, row.scale)
    del nets
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    times, spread = list[float](), 0.0
    for n, picture in enumerate(pictures(row.size, WARMING + 2 * frames)):
        parts.asked = n >= WARMING + frames
        wait()
        began = perf_counter()
        parts.at("flow")
        made = step(n, picture)
        parts.at("")
        wait()
        times.append(perf_counter() - began)
        if not bool(made.isfinite().all()) or (spread := float(made.float().std())) < 0.02:
            raise ArithmeticError(f"picture {n} is not finite, or flat: {spread:.3g}")
        del made  # what it holds is no part of the next frame
    said = {"seconds": median(times[WARMING : WARMING + frames])}
    said |= {f"{part}_s": parts.seconds.get(part, 0.0) / frames for part in PARTS}
    if CUDA:
        said |= {"gb": torch.cuda.max_memory_allocated() / 1e9,
                 "reserved_gb": torch.cuda.max_memory_reserved() / 1e9}  # fmt: skip
    return said


def foreseen(row: Row) -> float:
    """GB at most, predicted from the shapes of the full-size networks."""
    dtype, scales = getattr(torch, row.dtype), [row.scale]
    if row.way == "ours":
        (found,) = memory.ours(row.size, dtype, "raft_large", scales)
    else:
        (found,) = memory.plain(row.size, dtype, scales, [1])
    return found.peak / 1e9


def told(row: Row, tiny: bool, frames: int) -> dict[str, Any]:
    """The line of the table; "-" is what was not measured, and `said` why."""
    line: dict[str, Any] = {**dict.fromkeys(COLUMNS, "-"), "said": ""}
    if not tiny:
        line["predicted_gb"] = foreseen(row)
    try:
        line |= measured(row, tiny, frames)
    except Exception as error:
        if not (isinstance(error, OutOfMemory) or is_out_of_memory(error)):
            raise
        line["said"] = f"out of memory: {str(error).partition('. GPU')[0]}".replace("|", "/")
    if CUDA and not tiny and not line["said"]:
        line["measured_of_predicted"] = line["gb"] / line["predicted_gb"]
    return line


def apart(scale: Fraction) -> float:
    """How far pictures of both ways are apart at most, on equal weights, noise and film.

    Four frames of small networks in float32, in [0, 1]; each finds flow by its own RAFT.
    """
    if CUDA:
        torch.backends.cudnn.allow_tf32 = False
    videos = []
    for way in WAYS.values():
        step = way(built(DEVICE, torch.float32, True, Parts()), TINY_SIZE, scale)
        videos.append([step(n, picture) for n, picture in enumerate(pictures(TINY_SIZE, 4))])
    return max(float((a - b).abs().max()) for a, b in zip(*videos, strict=True))


def child(words: Sequence[str]) -> Any:
    """What this bench says when called so, or {"said": why it died}."""
    command = [sys.executable, __file__, *words]
    try:
        run = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return {"said": f"took more than {PATIENCE_S} s"}
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        last = (run.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return {"said": f"died with {run.returncode}: {last[:200]}".replace("|", "/")}
    return json.loads(run.stdout.splitlines()[-1])


def main(words: Sequence[str] | None = None) -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--tiny", action="store_true", help="small networks; nothing is written")
    wanted.add_argument("--frames", type=int, default=8)
    wanted.add_argument("--row", help="one row by its name: a child of this bench")
    wanted.add_argument("--apart", action="store_true", help="the same of the comparison")
    options = wanted.parse_args(words)
    if options.row:
        print(json.dumps(told(Row.of(options.row), options.tiny, options.frames)))
        return
    if options.apart:
        print(json.dumps({str(scale): apart(scale) for scale in SCALES}))
        return
    if not CUDA and not options.tiny:
        print("skipped: no GPU here")
        return
    tiny, card = ["--tiny"] if options.tiny else [], {}
    if CUDA:
        total = torch.cuda.get_device_properties(0).total_memory
        card = {"card": f"{torch.cuda.get_device_name()}, {total / 1e9:.0f} GB"}
    result: dict[str, Any] = {
        "question": "how many seconds a frame and GB does Stream-DiffVSR take, ours and plain?",
        "weights": "random",
        "frames": options.frames,
        "apart": child(["--apart"]),
        "ways": {},
    }
    print("apart at most, small networks in float32:", result["apart"], flush=True)
    for row in rows(options.tiny):
        line = child(["--row", row.name, "--frames", str(options.frames), *tiny])
        result["ways"][row.name] = {**dict.fromkeys(COLUMNS, "-"), **line}
        print(row.name, json.dumps(line), flush=True)
        if CUDA and not options.tiny:  # what is there stays, if this is cut
            write_result("diffvsr_speed", result, torch=version("torch"), **card)


if __name__ == "__main__":
    main()
