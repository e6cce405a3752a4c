"""LatentSync's networks compiled for one size of faces: all of the UNet, its outermost layers alone
(DeepCache), and the autoencoder's decoder."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.model_cache import ModelCache
from filmgate.models.compiling.network import Input, StaticNetwork
from filmgate.models.compiling.packages import CompiledNetwork, open_compiled
from filmgate.models.diffusion.autoencoder import LATENTS, SCALE, Autoencoder
from filmgate.models.families.latentsync.layers import Audio
from filmgate.models.families.latentsync.unet import INPUTS, UNet

_FAMILY = "latentsync"


class _Complete(nn.Module):
    """The UNet with plain tensors: `heard` are keys and values of each layer, in order."""

    def __init__(self, unet: UNet, silent: int) -> None:
        super().__init__()
        self.unet, self.silent = unet, silent

    def forward(self, x: Tensor, time: Tensor, *heard: Tensor) -> tuple[Tensor, Tensor]:
        pairs = zip(heard[::2], heard[1::2], strict=True)
        return self.unet.run(x, time, tuple(Audio(pair, self.silent) for pair in pairs))


class _Outermost(nn.Module):
    """The outermost layers of the UNet, given what the inner ones made in an earlier step."""

    def __init__(self, unet: UNet, silent: int) -> None:
        super().__init__()
        self.unet, self.silent = unet, silent

    def forward(
        self, x: Tensor, time: Tensor, keys: Tensor, values: Tensor, inner: Tensor
    ) -> Tensor:
        return self.unet.run_outermost(x, time, Audio((keys, values), self.silent), inner)


class _Decoder(nn.Module):
    """The decoder of the autoencoder, for latents that are not scaled any more."""

    def __init__(self, vae: Autoencoder) -> None:
        super().__init__()
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(latents))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class CompiledUNet:
    """A UNet for clips of `frames` frames with latents of `cell` rows and columns; each hears
    `tokens`.

    Packages are those that `open` has returned: a run opens them before its first frame, and never
    compiles later. Without a package the network runs as it is, and so does a shorter clip, which
    is all of a short run of frames with a face.
    """

    unet: UNet
    frames: int
    cell: int
    tokens: int
    models: ModelCache
    opened: dict[tuple[bool, bool], CompiledNetwork] = field(default_factory=dict)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its weights."""
        return self.unet.dtype

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.unet.device

    def project_audio(self, audio: Tensor, *, silent: bool = False) -> tuple[Audio, ...]:
        """See `UNet.project_audio`."""
        heard = self.unet.project_audio(audio, silent=silent)
        return tuple(
            Audio((one.heard[0].contiguous(), one.heard[1].contiguous()), one.silent)
            for one in heard
        )

    def __call__(self, x: Tensor, step: int, audio: tuple[Audio, ...]) -> tuple[Tensor, Tensor]:
        """See `UNet.forward`."""
        network = self._find(x, audio, complete=True)
        if network is None:
            return self.unet(x, step, audio)  # type: ignore[no-any-return]
        heard = [tensor for one in audio for tensor in one.heard]
        noise, inner = network(x, self._embed(step), *heard)
        return noise, inner

    def refine(
        self, x: Tensor, step: int, audio: tuple[Audio, ...], inner: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See `UNet.refine`."""
        network = self._find(x, audio, complete=False)
        if network is None:
            return self.unet.refine(x, step, audio, inner)
        (noise,) = network(x, self._embed(step), *audio[-1].heard, inner)
        return noise, inner

    def open(self, *, complete: bool, silent: bool) -> CompiledNetwork:
        """Return all of the network, or its outermost layers; with `silent` for clips without audio
        and with it at once. Raises BadSetting."""
        key = complete, silent
        if key not in self.opened:
            network = self.describe(complete=complete, silent=silent)
            self.opened[key] = open_compiled(network, self.models)
        return self.opened[key]

    def _find(
        self, x: Tensor, audio: tuple[Audio, ...], *, complete: bool
    ) -> CompiledNetwork | None:
        """Return the package for these inputs, None if there is none."""
        if x.shape[1] != self.frames:
            return None
        return self.opened.get((complete, bool(audio[0].silent)))

    def _embed(self, step: int) -> Tensor:
        return functional.silu(self.unet.embed_time(step))

    def describe(self, *, complete: bool, silent: bool) -> StaticNetwork:
        """Return what `open` compiles."""
        unet, dtype, videos = self.unet, self.dtype, 2 if silent else 1
        count, own = (self.frames if silent else 0), self.unet.shape
        heard = []
        for width in unet.list_widths():
            shape = (self.frames, own.heads, self.tokens, width // own.heads)
            heard += [Input(shape, dtype)] * 2
        x = Input((videos, self.frames, INPUTS, self.cell, self.cell), dtype)
        time = Input((1, 4 * own.channels[0]), dtype)
        inner = Input((videos * self.frames, unet.inner_width, self.cell, self.cell), dtype)
        settings = f"{own} {count}"
        if complete:
            net: nn.Module = _Complete(unet, count)
            return StaticNetwork(_FAMILY, "UNet", net, (x, time, *heard), settings)
        inputs = (x, time, *heard[-2:], inner)
        return StaticNetwork(_FAMILY, "UNet, outermost layers", _Outermost(unet, count), inputs,
                             settings)  # fmt: skip


@dataclass(frozen=True)
class CompiledDecoder:
    """The decoder of an autoencoder for latents of one size, one image at a time."""

    vae: Autoencoder
    network: CompiledNetwork

    @classmethod
    def open(cls, vae: Autoencoder, cell: int, models: ModelCache) -> CompiledDecoder:
        """Return it for latents of `cell` rows and columns. Raises BadSetting."""
        latents = Input((1, LATENTS, cell, cell), vae.dtype)
        network = StaticNetwork(_FAMILY, "decoder", _Decoder(vae), (latents,))
        return cls(vae, open_compiled(network, models))

    def decode(self, latents: Tensor) -> Tensor:
        """See `Autoencoder.decode`."""
        scaled = (latents / SCALE).to(self.vae.device, self.vae.dtype)
        return torch.cat([self.network(one)[0] for one in torch.split(scaled, 1)])
