"""Where the weights of Wan 2.2 are kept under a budget, and what its steps take: predicted.

Sizes and operations are computed from the settings alone, without torch. Bytes of activations are
those that tensors on the meta device take, and are proportional to the number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from time import perf_counter
from types import MappingProxyType
from typing import Literal

from filmgate.core.instrumentation.memory import measure_available_memory
from filmgate.errors import DoesNotFit
from filmgate.models.families.wan22.decode_memory import predict_decode, predict_encode
from filmgate.models.families.wan22.published import PROMPT_TOKENS, Settings, Variant
from filmgate.units import format_bytes

Keep = Literal["resident", "stream", "disk"]
_FREE = 0.9  # of the memory that is free: for weights
_MARGIN = 0.1  # of the budget: what the allocator and the library hold besides tensors
_SLOTS = 2  # blocks on the device while blocks are streamed
_BYTES = MappingProxyType({"bfloat16": 2, "float16": 2, "float32": 4})
_ROPE = 1024  # bytes a token of the tables of positions
# Peak bytes of activations in 16 bits, for each token and number of its width, and at least. Models
# that have a timestep for each token keep its modulation for each token.
_PLAIN, _PLAIN_STEPS, _LEAST = 22.06, 64.79, 11_000_000
# In slices: while attention sees all tokens, before while they are projected, and after it.
_ATTENDED, _SLICED_LEAST = 10.13, 20_000_000
_PROJECTED, _SLICE_PROJECTED = 8, 15.3
_AFTER, _SLICE_WIDTH, _SLICE_INNER = 4, 18.2, 2.44
_SLICE = 4096  # tokens
_WIDE, _WIDE_SLICED = 1.71, 2.0  # times as much in float32
_DISK_S = 1e9  # bytes a second from the disk: a guess
_BANDS = (2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightPlacement:
    """Where the weights of transformers are while they are used.

    `keep`: all on the device; or the first `resident_blocks` there and the others in memory,
    copied block by block while the one before runs; or the others on the disk. `together`: the
    expert that is not needed any more stays too. `float8`: large weights are kept in 8 bits.
    `sliced`: layers run on slices of tokens, which takes less memory; last bits of results differ.
    """

    keep: Keep = "resident"
    resident_blocks: int = 0
    together: bool = False
    float8: bool = False
    sliced: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a device is: measured by `measure_speed`. `bus`: bytes a second to the device."""

    flops: float
    bus: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What generating takes, from settings: predicted, not measured.

    `parts`: peak bytes on the device of text, image, steps and decode. `bands`, `park`: of the
    decode, see `StreamDecoder`. `flops`: of a step. `streamed`: bytes that are copied to the device
    for a pass. `memory`: bytes of weights in RAM. `step_s`, `total_s`: seconds of a step and of all
    steps, None if the speed of the device is unknown.
    """

    placement: WeightPlacement
    reason: str
    parts: Mapping[str, int]
    bands: int
    park: bool
    flops: float
    streamed: int
    memory: int
    step_s: float | None
    total_s: float | None


def predict(
    variant: Variant,
    *,
    size: tuple[int, int],
    frames: int,
    steps: int,
    passes: int,
    budget: int | None,
    ram: int | None = None,
    device: str = "cuda",
    float8: bool = False,
    keep: str = "auto",
    dtype: str | None = None,
    stored: int | None = None,
    speed: Speed | None = None,
) -> Prediction:
    """Return where weights are kept so that a video of `size` (width, height) fits, and why.

    `passes`: of the transformer in a step. `budget`: bytes of the device; `ram`: bytes for weights
    in memory; None: what is free. `stored`: bytes of a transformer that stays as its file holds it,
    see `loading.count_stored`. Raises DoesNotFit with the bytes that would be enough.
    """
    dtype = dtype or ("float32" if device == "cpu" else "bfloat16")
    work = _Work(variant, size, frames, float8, dtype, stored)
    ram = int(_FREE * measure_available_memory()) if ram is None else ram
    budget = _find_budget(device, ram) if budget is None else budget
    room = int(budget * (1 - _MARGIN))
    choice = _choose(work, room, ram, keep, device)
    bands, park, decode, image = _choose_bands(work, room)
    flops = passes * work.flops
    step_s = None if speed is None else passes * _predict_pass(work, choice, speed)
    return Prediction(
        placement=choice.placement,
        reason=choice.reason,
        parts={"text": work.text, "image": image, "steps": choice.peak, "decode": decode},
        bands=bands,
        park=park,
        flops=flops,
        streamed=choice.streamed,
        memory=choice.memory,
        step_s=step_s,
        total_s=None if step_s is None else steps * step_s,
    )


def _find_budget(device: str, ram: int) -> int:
    """Return the bytes that are free on the device."""
    if not device.startswith("cuda"):
        return ram
    import torch

    free: int = torch.cuda.mem_get_info(device)[0]
    return free


@cache
def measure_speed(device: str) -> Speed:
    """Return how fast a device multiplies matrices, and how fast memory is copied to it.

    Takes a fraction of a second; on a GPU the first call starts CUDA. Without one torch is not
    needed.
    """
    return _measure_cuda(device) if device.startswith("cuda") else _measure_cpu()


def _measure_cpu() -> Speed:
    import numpy as np

    side = 1024
    matrix, flat = np.ones((side, side), np.float32), np.ones(1 << 24, np.uint8)
    multiply = _time(lambda: matrix @ matrix, 3)
    return Speed(flops=2 * side**3 / multiply, bus=flat.nbytes / _time(flat.copy, 3))


def _measure_cuda(device: str) -> Speed:
    import torch

    side = 4096
    matrix = torch.ones(side, side, dtype=torch.bfloat16, device=device)
    flat = torch.ones(1 << 28, dtype=torch.uint8, pin_memory=True)
    place = flat.to(device)

    def run(work: Callable[[], object], repeats: int) -> float:
        def repeat() -> None:
            for _ in range(repeats):
                work()
            torch.cuda.synchronize(device)

        return _time(repeat, 1) / repeats

    with torch.inference_mode():
        multiply = run(lambda: matrix @ matrix, 20)
        copy = run(lambda: place.copy_(flat, non_blocking=True), 3)
    return Speed(flops=2 * side**3 / multiply, bus=flat.nbytes / copy)


def _time(work: Callable[[], object], repeats: int) -> float:
    """Return the seconds of one run, after another that is not counted."""
    work()
    start = perf_counter()
    for _ in range(repeats):
        work()
    return max(perf_counter() - start, 1e-9) / repeats


class Sizes:
    """Numbers in the weights of a transformer, from its settings."""

    def __init__(self, settings: Settings) -> None:
        sizes: dict[str, int] = {name: one for name, one in settings.items() if type(one) is int}
        self.width = sizes["num_attention_heads"] * sizes["attention_head_dim"]
        self.layers, self.inner = sizes["num_layers"], sizes["ffn_dim"]
        d, text, freq = self.width, sizes["text_dim"], sizes["freq_dim"]
        patch: int = prod(settings["patch_size"])
        attention = 4 * (d * d + d) + 2 * d
        self.large = 8 * d * d + 2 * d * self.inner  # of a block, in matrices
        self.block = 2 * attention + 2 * d + 2 * d * self.inner + self.inner + d + 6 * d
        self.outer = (
            sizes["in_channels"] * patch * d + d
            + (freq * d + d + d * d + d) + (d * 6 * d + 6 * d) + (text * d + d + d * d + d)
            + d * sizes["out_channels"] * patch + sizes["out_channels"] * patch + 2 * d
        )  # fmt: skip

    @property
    def total(self) -> int:
        """Of the complete transformer."""
        return self.layers * self.block + self.outer


class _Work:
    """What one pass of the transformer takes for a video."""

    def __init__(
        self,
        variant: Variant,
        size: tuple[int, int],
        frames: int,
        float8: bool,
        dtype: str,
        stored: int | None,
    ) -> None:
        self.variant, self.size, self.frames, self.dtype = variant, size, frames, dtype
        self.stored = stored
        self.sizes, self.float8, self.number = Sizes(variant.transformer), float8, _BYTES[dtype]
        self.tokens = variant.count_tokens(frames, size[1], size[0])

    @cached_property
    def block(self) -> int:
        """Bytes of a block as it is kept."""
        if self.stored is not None:
            return self.stored * self.sizes.block // self.sizes.total
        small = self.sizes.block - self.sizes.large
        return self.sizes.large * (1 if self.float8 else self.number) + small * 4

    @cached_property
    def restored(self) -> int:
        """Bytes of a block's matrices that are made at every use."""
        is_packed = self.float8 or self.stored is not None
        return self.sizes.large * self.number if is_packed else 0

    def count_activations(self, sliced: bool) -> int:
        """Return the peak bytes of activations."""
        width, wide = self.sizes.width, self.number != 2
        if not sliced:
            each = _PLAIN_STEPS if self.variant.replaces_first else _PLAIN
            most = _LEAST + self.tokens * (each * width + _ROPE)
            return int(most * (_WIDE if wide else 1))
        held, least = self.tokens, min(_SLICE, self.tokens)
        phases = (
            held * (_ATTENDED * width + _ROPE) + _SLICED_LEAST,
            held * (_PROJECTED * width + _ROPE) + least * _SLICE_PROJECTED * width,
            held * (_AFTER * width + _ROPE)
            + least * (_SLICE_WIDTH * width + _SLICE_INNER * self.sizes.inner),
        )
        return int(max(phases) * (_WIDE_SLICED if wide else 1))

    def count_outer(self, sliced: bool) -> int:
        """Return the bytes on the device whatever is streamed: outer weights and activations."""
        return self.sizes.outer * self.number + self.count_activations(sliced) + self.restored

    @cached_property
    def flops(self) -> float:
        """Operations of a pass: linear layers and attention, 2 for a multiplication with sum."""
        d, tokens, text = self.sizes.width, self.tokens, PROMPT_TOKENS
        linear = 2 * tokens * (6 * d * d + 2 * d * self.sizes.inner) + 2 * text * 2 * d * d
        attention = 4 * d * tokens * (tokens + text)
        return float(self.sizes.layers * (linear + attention))

    @cached_property
    def text(self) -> int:
        """Peak bytes of the text encoder: two blocks, and one in its dtype."""
        text = self.variant.text
        inner = text["num_heads"] * text["d_kv"]
        block = 4 * text["d_model"] * inner + 3 * text["d_model"] * text["d_ff"]
        return (_SLOTS + 1) * int(block) * self.number


@dataclass(frozen=True, slots=True)
class _Choice:
    placement: WeightPlacement
    peak: int
    streamed: int
    memory: int
    reason: str


def _choose(work: _Work, room: int, ram: int, keep: str, device: str) -> _Choice:
    """Return the first placement that fits, from the fastest to the smallest. Raises DoesNotFit."""
    choices = list(_list_choices(work, room, keep, on_cpu=device == "cpu"))
    for choice in choices:
        if choice.peak <= room and choice.memory <= ram:
            return choice
    least = min(choice.peak for choice in choices)
    needed = int(least / (1 - _MARGIN)) + 1
    width, height = work.size
    raise DoesNotFit(
        f"a step of {work.variant.name} at {width}x{height} with {work.frames} frames needs "
        f"{format_bytes(needed)} (predicted) even with its weights streamed, and "
        f"{format_bytes(room)} may be used: pass fewer --frames, a smaller --size"
        f"{'' if work.float8 else ', --float8'}, or a larger --vram", needed
    )  # fmt: skip


def _list_choices(work: _Work, room: int, keep: str, *, on_cpu: bool) -> Iterator[_Choice]:
    """Yield placements from the fastest to the one that takes the least memory."""
    homes: tuple[Keep, ...] = ("resident", "stream", "disk")
    for home in homes:
        if keep not in ("auto", home) or (on_cpu and home == "stream" and keep == "auto"):
            continue
        for sliced in (False, True):
            if home == "resident":
                yield from _list_resident(work, room, sliced)
            else:
                yield _describe_streamed(work, room, home, sliced, keep)


def _list_resident(work: _Work, room: int, sliced: bool) -> Iterator[_Choice]:
    weights = work.sizes.layers * work.block
    complete = work.count_outer(sliced) + weights
    both = complete + weights + work.sizes.outer * work.number
    way = ", layers run on slices of tokens" if sliced else ""
    if work.variant.experts == 2:
        yield _make(work, both, 0, f"both experts fit at once: {_compare(both, room)}{way}",
                    together=True, sliced=sliced)  # fmt: skip
    what = "one expert fits at a time" if work.variant.experts == 2 else "the transformer fits"
    yield _make(work, complete, 0, f"{what}: {_compare(complete, room)}{way}", sliced=sliced)


def _describe_streamed(work: _Work, room: int, home: Keep, sliced: bool, keep: str) -> _Choice:
    layers, outer = work.sizes.layers, work.count_outer(sliced)
    spare = room - outer - _SLOTS * work.block
    kept = min(max(0, spare // work.block), layers - 1)
    peak = outer + (kept + _SLOTS) * work.block
    away = (layers - kept) * work.block
    where = "memory" if home == "stream" else "the disk"
    why = f"with all of its weights it would need {_compare(outer + layers * work.block, room)}"
    if home == "disk" and keep == "auto":
        why += f", and memory is too small for {format_bytes(away)}"
    if sliced:
        why += ", and layers run on slices of tokens"
    reason = (f"{kept} of {layers} blocks stay on the device, {format_bytes(away)} come from "
              f"{where} in each pass: {why}")  # fmt: skip
    return _make(work, peak, layers - kept, reason, keep=home, resident=kept, sliced=sliced)


def _compare(needed: int, room: int) -> str:
    return f"{format_bytes(needed)} (predicted), and {format_bytes(room)} may be used"


def _make(
    work: _Work,
    peak: int,
    away: int,
    reason: str,
    *,
    keep: Keep = "resident",
    resident: int = 0,
    together: bool = False,
    sliced: bool = False,
) -> _Choice:
    placement = WeightPlacement(
        keep=keep, resident_blocks=resident, together=together, float8=work.float8, sliced=sliced
    )
    streamed = away * work.block
    return _Choice(placement, peak, streamed, streamed if keep == "stream" else 0, reason)


def _predict_pass(work: _Work, choice: _Choice, speed: Speed) -> float:
    """Return the seconds of a pass: computing, or copying where that takes longer."""
    bus = speed.bus if choice.placement.keep == "stream" else min(speed.bus, _DISK_S)
    return max(work.flops / speed.flops, choice.streamed / bus)


def _choose_bands(work: _Work, room: int) -> tuple[int, bool, int, int]:
    """Return bands and parking of the decode, and peak bytes of decode and image.

    The fewest bands that fit; if none do, the most.
    """
    decode, image, bands, park = 0, 0, 1, False
    for bands, park in ((1, False), *((bands, park) for bands in _BANDS for park in (False, True))):
        decode = predict_decode(work.variant, work.size, work.dtype, bands, park)
        image = predict_encode(work.variant, work.size, work.dtype, bands, park)
        if max(decode, image) <= room:
            break
    return bands, park, decode, image
