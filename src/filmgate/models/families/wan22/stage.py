"""Wan 2.2 as a stage: all frames are denoised before the first one, then decoded one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from filmgate.core.chain import is_out_of_memory
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.memory import release_cached_memory
from filmgate.core.instrumentation.phases import phase
from filmgate.core.stage import Preparation, Preview, Reach
from filmgate.models.families.wan22.preview import draw_preview, fit_colours
from filmgate.models.families.wan22.published import Variant
from filmgate.models.families.wan22.request import OVERLAP, Window
from filmgate.models.families.wan22.sampler import (
    NoisePredictor,
    Sampler,
    SamplerState,
    draw_noise,
)

STEP, AGAIN = "step", "frame decoded again"  # what moves of the preparation are
_RECENT = 8  # images that are kept


class Decoder(Protocol):
    """What makes frames of latents."""

    def stream(self, latents: Tensor) -> Iterator[Tensor]:
        """Yield the frames (N, 3, H, W) in [0, 1] of each latent frame of (1, C, T, h, w)."""
        ...


class Networks(Protocol):
    """The parts of the model. One is needed at a time; `release` says that another one follows."""

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Return the embeddings (n, tokens, C) of prompts."""
        ...

    def explain_length(self, prompts: Sequence[str]) -> str:
        """Return what the model does not read of prompts, "" if it reads them all."""
        ...

    def encode(self, image: Tensor, last: Tensor | None, frames: int, bands: int) -> Tensor:
        """Return the condition of a video that begins with `image` (3, H, W) or (n, 3, H, W)."""
        ...

    def open_experts(self, sliced: bool) -> NoisePredictor:
        """Return the transformers; `sliced`: layers run on slices of tokens."""
        ...

    def open_decoder(self, bands: int) -> Decoder:
        """Return the decoder, in `bands` of rows."""
        ...

    def release(self, part: str) -> None:
        """Give back the memory of "text", "vae" or "experts"."""
        ...


@dataclass(frozen=True, slots=True)
class GeneratorState:
    """How far a video is; all tensors are on the CPU.

    `embeddings` are those of the prompts, `condition` and `sampler` of the window that is denoised.
    `finished`: the latents of windows that are. `frames` were handed on. `sliced` and `bands` are
    what a resumed run must not choose again, since they move last bits.
    """

    sliced: bool = False
    bands: int = 1
    embeddings: Any = None
    condition: Any = None
    sampler: SamplerState | None = None
    finished: tuple[Any, ...] = ()
    frames: int = 0


@dataclass
class _Decode:
    """A decode that is under way: `images` resume with frame `position` of `latents`.

    It saves time and changes no result: a state that it does not fit is decoded again. `recent`:
    the last images, for a step that is repeated.
    """

    bands: int = 1
    latents: tuple[Any, ...] | None = None
    position: int = 0
    images: Iterator[Tensor] = iter(())
    recent: tuple[Tensor, ...] = ()

    def has(self, latents: tuple[Any, ...], position: int) -> bool:
        """Return whether that image can be had without decoding others again."""
        return self.latents is latents and self.position - len(self.recent) <= position

    def take(self) -> Tensor:
        """Return the next image."""
        image = next(self.images)
        self.position += 1
        self.recent = (*self.recent, image)[-_RECENT:]
        return image

    def forget(self) -> None:
        """Free what it holds; an iterator that raised has ended."""
        self.latents, self.images, self.recent = None, iter(()), ()


@dataclass(frozen=True)
class Generator:
    """The stage: counted frames without images to RGB tensors.

    `prompts`: the prompt, and the negative one if there are two passes. `image` and `last`
    (3, H, W) in [0, 1] are shown at the beginning and the end. `most_bands`: of the decode, which
    takes more bands of rows when memory is short. `step_s`: predicted seconds
    of a step.
    """

    networks: Networks = field(compare=False, repr=False)
    sampler: Sampler = field(repr=False)
    prompts: tuple[str, ...]
    image: Tensor = field(compare=False, repr=False)
    last: Tensor | None = field(compare=False, repr=False)
    windows: tuple[Window, ...]
    seed: int
    fps: Fraction
    sliced: bool = False
    bands: int = 1
    most_bands: int = 1
    step_s: float = 0.0
    name: str = "generate"

    @cached_property
    def _decode(self) -> _Decode:
        return _Decode()

    @property
    def variant(self) -> Variant:
        """The model."""
        return self.sampler.variant

    @property
    def count(self) -> int:
        """How many frames come out."""
        return self.windows[-1].start + self.windows[-1].frames

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames."""
        return self.image.shape[2], self.image.shape[1]

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(None, Fraction(0))

    def output(self, spec: StreamSpec) -> StreamSpec:
        width, height = self.size
        return replace(spec, width=width, height=height, pixels="rgb", dtype="float32",
                       frames=self.count)  # fmt: skip

    def start(self, spec: StreamSpec, first: Position) -> GeneratorState:
        return GeneratorState(self.sliced, self.bands)

    # --- before the first frame -----------------------------------------------------------------

    @property
    def prepares(self) -> bool:
        return True

    def prepare(self, state: GeneratorState) -> Preparation | None:
        if len(state.finished) == len(self.windows):
            return self._decode_again(state)
        if state.embeddings is None:
            with phase("embed words"):
                embeddings = self.networks.embed(self.prompts).cpu()
            self.networks.release("text")
            notice = self.networks.explain_length(self.prompts)
            return self._report(replace(state, embeddings=embeddings), notice=notice)
        if state.sampler is None:
            with phase("encode image"):
                condition = self._encode(state)
            self.networks.release("vae")
            window, shape = self.windows[len(state.finished)], self._find_latent_shape()
            first = window.start // self.variant.temporal
            noise = draw_noise(self.seed, shape)
            noise = noise[:, :, first : first + self.variant.count_latent_frames(window.frames)]
            sampler = self.sampler.start(noise)
            return self._report(replace(state, condition=condition, sampler=sampler))
        return self._make_step(state, state.sampler)

    def _make_step(self, state: GeneratorState, sampler: SamplerState) -> Preparation:
        experts = self.networks.open_experts(state.sliced)
        with phase("denoise"):
            sampler = self.sampler.step(sampler, experts, state.condition, state.embeddings)
        preview = self._draw(sampler, state.condition)
        if sampler.step < self.sampler.steps:
            return self._report(replace(state, sampler=sampler), preview)
        latents = self.sampler.finish(sampler, state.condition)
        del experts
        self.networks.release("experts")
        finished = (*state.finished, latents)
        after = replace(state, condition=None, sampler=None, finished=finished)
        if len(finished) == len(self.windows):
            after = replace(after, embeddings=None)
        return self._report(after, preview)

    def _report(
        self, state: GeneratorState, preview: Preview | None = None, notice: str = ""
    ) -> Preparation:
        steps = self.sampler.steps
        done = steps * len(state.finished) + (state.sampler.step if state.sampler else 0)
        next_s = self.step_s if state.sampler else 0.0
        return Preparation(state, done, steps * len(self.windows), STEP, notice, next_s, preview)

    def _find_latent_shape(self) -> tuple[int, ...]:
        """Return the shape of the latents of the complete video."""
        width, height = self.size
        return self.variant.get_latent_shape(self.count, height, width)

    def _encode(self, state: GeneratorState) -> Tensor:
        """Return the condition of the next window: the image, or the end of the window before."""
        number = len(state.finished)
        window = self.windows[number]
        last = self.last if number == len(self.windows) - 1 else None

        def encode() -> Tensor:
            first = self.image
            if number:
                end = deque(self._iter_window(state.finished[-1]), maxlen=OVERLAP)
                first = torch.stack(tuple(end))
            return self.networks.encode(first, last, window.frames, self._decode.bands).cpu()

        return self._call_in_bands(encode, state.bands)

    def _draw(self, sampler: SamplerState, condition: Tensor) -> Preview:
        """Return what the video looks like so far, by a linear map of its latents."""
        outputs = sampler.scheduler.outputs
        latents = outputs[-1] if outputs and outputs[-1] is not None else sampler.latents
        first = condition[0, -self.variant.channels :, 0]
        return draw_preview(latents[0], fit_colours(first, self.image))

    # --- frames ---------------------------------------------------------------------------------

    def step(
        self, state: GeneratorState, frames: Sequence[Frame]
    ) -> tuple[GeneratorState, list[Frame]]:
        outputs = list[Frame]()
        for frame in frames:
            state, image = self._make_image(state)
            outputs.append(frame.with_image(image, keep=("notice",)))
        return state, outputs

    def finish(self, state: GeneratorState) -> tuple[GeneratorState | None, list[Frame]]:
        """Make one of the frames that were not asked for: their number is rounded up."""
        if state.frames >= self.count:
            return None, []
        index = state.frames
        state, image = self._make_image(state)
        return state, [Frame(index, index / self.fps, 1 / self.fps, image)]

    def _make_image(self, state: GeneratorState) -> tuple[GeneratorState, Tensor]:
        """Return the next image, after all steps: those that are missing are made here."""
        while len(state.finished) < len(self.windows):
            made = self.prepare(state)
            assert made is not None
            state = made.state
        image = self._decode_image(state, state.frames)
        return replace(state, frames=state.frames + 1), image

    def _decode_again(self, state: GeneratorState) -> Preparation | None:
        """Decode some more of the frames that an earlier process has handed on already."""
        decode, wanted = self._decode, state.frames
        if wanted in (0, self.count):
            return None
        if decode.has(state.finished, wanted) and decode.position >= wanted:
            return None
        at = decode.position if decode.latents is state.finished else 0
        self._decode_image(state, min(wanted, at + self.variant.temporal) - 1)
        notice = f"{wanted} frames are out: the decode starts again from the first latent frame"
        notice = "" if at else notice
        return Preparation(state, decode.position, wanted, AGAIN, notice)

    def _decode_image(self, state: GeneratorState, position: int) -> Tensor:
        """Return image number `position` of the video (3, H, W)."""
        decode, latents = self._decode, state.finished

        def take() -> Tensor:
            if not decode.has(latents, position):
                decode.latents, decode.position, decode.recent = latents, 0, ()
                decode.images = self._iter_images(latents)
            while decode.position <= position:
                decode.take()
            return decode.recent[position - decode.position]

        with phase("decode image", 1):
            return self._call_in_bands(take, state.bands)

    def _call_in_bands(self, work: Callable[[], Tensor], bands: int) -> Tensor:
        """Return what `work` returns, with the autoencoder in more bands if memory is short."""
        decode = self._decode
        decode.bands = max(decode.bands, bands)
        while True:
            try:
                return work()
            except Exception as error:
                decode.forget()
                if not is_out_of_memory(error) or decode.bands >= self.most_bands:
                    raise
            # Outside of the handler, whose traceback keeps the failed tensors alive.
            release_cached_memory()
            decode.bands *= 2

    def _iter_images(self, latents: tuple[Any, ...]) -> Iterator[Tensor]:
        """Yield all images of the video; each window begins with some of the one before."""
        for number, own in enumerate(latents):
            images = self._iter_window(own)
            yield from islice(images, OVERLAP if number else 0, None)

    def _iter_window(self, latents: Tensor) -> Iterator[Tensor]:
        decoder = self.networks.open_decoder(self._decode.bands)
        for images in decoder.stream(latents):
            yield from images.float().cpu()
