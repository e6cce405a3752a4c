"""Tiny networks of LatentSync with weights by the rule of the recorded numbers."""

import tempfile
from collections.abc import Sequence
from functools import cache
from math import prod, sqrt
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from filmgate.models.diffusion.autoencoder import Autoencoder
from filmgate.models.families.latentsync import LatentSyncOptions
from filmgate.models.families.latentsync.sampler import Sampler
from filmgate.models.families.latentsync.unet import Shape, UNet
from filmgate.models.families.latentsync.whisper import WhisperEncoder, WhisperShape
from tests.models.tiny import draw_normal

RECORDED = Shape(channels=(32, 64, 64, 64), layers=1, heads=4, audio=16)
SMALL = Shape(channels=(32, 32), layers=1, heads=8, audio=16)
WHISPER = WhisperShape(width=16, heads=1, layers=4)
SIDE = 64  # of faces
_CONSTANT = ("pe", "positional_embedding")


def by_rule(name: str, shape: Sequence[int]) -> Tensor:
    """Return the values of a tensor, which depend on its name."""
    numbers = draw_normal(name, shape)
    if len(shape) > 1:
        numbers = numbers / sqrt(prod(shape[1:]))
    else:
        numbers = 0.1 * numbers + name.endswith(".weight")
    return torch.from_numpy(numbers.astype(np.float32))


def draw(seed: int, *shape: int) -> Tensor:
    """Return the values of an input."""
    values = np.random.RandomState(seed).standard_normal(shape)
    return torch.from_numpy(values.astype(np.float32))


def fill(net: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of a network, by rule."""
    return {name: tensor if name.split(".")[-1] in _CONSTANT else by_rule(name, tensor.shape)
            for name, tensor in net.state_dict().items()}  # fmt: skip


def build_unet(shape: Shape = SMALL) -> UNet:
    net = UNet(shape)
    net.load_state_dict(fill(net))
    return net.eval().requires_grad_(False)


def build_whisper(shape: WhisperShape = WHISPER) -> WhisperEncoder:
    net = WhisperEncoder(shape)
    net.load_state_dict(fill(net))
    return net.eval().requires_grad_(False)


class Average(Autoencoder):
    """In place of the autoencoder, which takes most of the time: means of 8x8 pixels."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def encode(self, images: Tensor) -> Tensor:
        mean = nn.functional.avg_pool2d(images, 8)
        return torch.cat([mean, mean[:, :1]], 1)

    def decode(self, latents: Tensor) -> Tensor:
        return nn.functional.interpolate(latents[:, :3].sigmoid() * 2 - 1, scale_factor=8.0)


@cache
def build_sampler(guidance: float = 1.5, steps: int = 2, every: int = 1) -> Sampler:
    return Sampler(build_unet(), steps, guidance, every)


@cache
def build_autoencoder() -> Autoencoder:
    net = Autoencoder((32, 32, 32, 32), 1)
    net.load_state_dict(fill(net))
    return net.eval().requires_grad_(False)


@cache
def build_options(**settings: object) -> LatentSyncOptions:
    """Return options with files of tiny weights, for faces of 64 pixels in one step."""
    folder = Path(_folder().name)
    paths = {name: folder / f"{name}.pt" for name in ("unet", "whisper")}
    if not paths["unet"].exists():
        torch.save({"global_step": 1, "state_dict": fill(UNet(SMALL))}, paths["unet"])
        encoder = {f"encoder.{name}": tensor
                   for name, tensor in fill(WhisperEncoder(WHISPER)).items()}  # fmt: skip
        torch.save({"dims": {"n_mels": 80}, "model_state_dict": encoder}, paths["whisper"])
        save_file(build_autoencoder().state_dict(), folder / "vae.safetensors")
    chosen = {"side": SIDE, "steps": 1, **settings}
    return LatentSyncOptions(weights=paths["unet"], whisper=paths["whisper"],
                             vae=folder / "vae.safetensors", **chosen)  # type: ignore[arg-type]  # fmt: skip


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="filmgate_latentsync")
