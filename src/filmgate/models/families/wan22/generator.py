"""Build the stage that generates: images fitted to the size, parts of the model, predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from hashlib import sha256
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional

from filmgate.core.wrappers.cached import ResultStore
from filmgate.device.placement import Placement
from filmgate.media.pixels.planes import Planes
from filmgate.models.contracts import GenerationRequest
from filmgate.models.families.wan22.decoder import StreamDecoder
from filmgate.models.families.wan22.encoder import encode_condition
from filmgate.models.families.wan22.loading import Parts, open_parts
from filmgate.models.families.wan22.request import (
    Wan22Options,
    choose_guidance,
    count_passes,
    describe_video,
    predict,
    split_windows,
)
from filmgate.models.families.wan22.sampler import Sampler
from filmgate.models.families.wan22.stage import Generator
from filmgate.models.families.wan22.text import embed, explain_length
from filmgate.models.families.wan22.transformer import Experts
from filmgate.storage.result_cache import open_cache
from filmgate.weights.store import WeightsStore


@dataclass(eq=False)
class PartNetworks:
    """The parts of a model, each in memory while it is used; see `stage.Networks`.

    Embeddings and conditions are stored in `cache`, and computed only if they are not there.
    """

    parts: Parts
    open_parts: Callable[[bool], Parts]  # with layers on slices of tokens, or not
    cache: ResultStore | None = None
    park: bool = False
    _vae: Any = field(default=None, repr=False)

    def embed(self, prompts: Sequence[str]) -> Tensor:
        return embed(self.parts, prompts, self.cache)

    def explain_length(self, prompts: Sequence[str]) -> str:
        return explain_length(self.parts, prompts)

    def encode(self, image: Tensor, last: Tensor | None, frames: int, bands: int) -> Tensor:
        def compute() -> Tensor:
            vae, variant = self._open_vae(), self.parts.variant
            return encode_condition(vae, variant, image, last, frames, bands=bands, park=self.park)

        return self._store((image, last), f"{frames}", compute)

    def open_experts(self, sliced: bool) -> Experts:
        if sliced != self.parts.placement.sliced:
            self.parts = self.open_parts(sliced)
        return self.parts.experts

    def open_decoder(self, bands: int) -> StreamDecoder:
        return StreamDecoder(self._open_vae(), bands=bands, park=self.park)

    def release(self, part: str) -> None:
        if part == "vae":
            self._vae = None
        elif part == "experts":
            self.parts.release()

    def _open_vae(self) -> Any:
        if self._vae is None:
            self._vae = self.parts.open_vae()
        return self._vae

    def _store(
        self, images: Sequence[Tensor | None], settings: str, compute: Callable[[], Tensor]
    ) -> Tensor:
        """Return a stored condition of these images, or the one that `compute` returns."""
        if self.cache is None:
            return compute().cpu()
        parts, store = self.parts, WeightsStore.open_default()
        hashes = [store.sha256(path) for path in parts.list_vae_files()]
        device = parts.device.partition(":")[0]
        digest = sha256(f"wan22 condition 1 {hashes} {parts.dtype} {device} {settings}".encode())
        for image in images:
            shape = () if image is None else tuple(image.shape)
            digest.update(f" {shape}".encode())
            digest.update(b"" if image is None else image.float().cpu().numpy().tobytes())
        name = digest.hexdigest()
        if data := self.cache.get(name):
            try:
                return load(data)["condition"]
            except Exception:  # noqa: BLE001 - whatever is wrong with it, it can be computed again
                self.cache.discard(name)
        condition = compute().cpu()
        self.cache.put(name, save({"condition": condition.contiguous()}))
        return condition


def build_stage(
    request: GenerationRequest, seed: int, options: Wan22Options, placement: Placement
) -> Generator:
    """Return the stage that generates what is requested; weights are loaded when it runs.

    Raises BadSetting, BadWeights.
    """
    variant = options.find_variant()
    video = describe_video(request, variant)
    guidance, prediction = choose_guidance(request, variant), predict(request, options, placement)
    dtype = getattr(torch, options.dtype) if options.dtype else None

    def open_sliced(sliced: bool) -> Parts:
        weights = replace(prediction.placement, sliced=sliced)
        return open_parts(options.files, placement, weights, dtype, options.variant)

    parts = open_sliced(prediction.placement.sliced)
    size = (video.width, video.height)
    negative = variant.negative if request.negative is None else request.negative
    prompts = (request.prompt, negative)[: count_passes(guidance)]
    return Generator(
        networks=PartNetworks(parts, open_sliced, open_cache(), prediction.park),
        sampler=Sampler(variant, parts.scheduler_config, video.steps, guidance),
        prompts=prompts,
        image=fit_image(request.image, size, request.fit),
        last=None if request.last is None else fit_image(request.last, size, request.fit),
        windows=split_windows(video.frames, variant.window, variant.temporal),
        seed=seed,
        fps=Fraction(video.fps),
        sliced=prediction.placement.sliced,
        bands=prediction.bands,
        most_bands=video.height // variant.spatial,
        step_s=prediction.step_s or 0.0,
    )


def fit_image(image: Planes, size: tuple[int, int], fit: str) -> Tensor:
    """Return an image as RGB (3, H, W) in [0, 1] of width and height `size`.

    It is scaled, then `crop` cuts off what is too much, `pad` adds black.
    """
    rgb = image.to_rgb().float()
    width, height = size
    _, down, across = rgb.shape
    scales = width / across, height / down
    scale = max(scales) if fit == "crop" else min(scales)
    wide, high = round(across * scale), round(down * scale)
    if fit == "crop":
        wide, high = max(wide, width), max(high, height)
    if (wide, high) != (across, down):
        rgb = functional.interpolate(
            rgb[None], (high, wide), mode="bicubic", antialias=True, align_corners=False
        )[0].clamp(0, 1)
    left, top = (wide - width) // 2, (high - height) // 2
    right, bottom = width - (wide - left), height - (high - top)
    return functional.pad(rgb, (-left, right, -top, bottom))
