"""Networks that spandrel opens, applied to planes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filmgate.core.wrappers.tiled import Tile, tiled
from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting, BadWeights, Unsupported
from filmgate.installation import advise_install
from filmgate.media.pixels import rgb as colour
from filmgate.media.pixels.planes import Planes
from filmgate.weights.state_dict import load_tensors

SIDE, HALO = 384, 48  # of tiles, and the margin around each: most networks see about that far


@dataclass(frozen=True)
class SpandrelUpscaler:
    """Enlarges planes as RGB; larger images in tiles if the network allows it."""

    network: Callable[[Tensor], Tensor]  # (1, 3, H, W) in [0, 1] -> (1, 3, H * scale, W * scale)
    device: str
    dtype: torch.dtype = torch.float32

    def upscale(self, image: object) -> Planes:
        """Return larger planes of the same format. Raises Unsupported for other images."""
        if not isinstance(image, Planes):
            raise Unsupported(f"image cannot take {type(image).__name__}: pass planes")
        with torch.inference_mode():
            rgb = colour.to_rgb(image, device=self.device).to(self.dtype)
            large = self.network(rgb[None])[0]
            return colour.to_planes(large.float(), image.pixels, image.colour)


def open_upscaler(
    path: Path, scale: int, dtype: Dtype | None, tile: int | None, placement: Placement
) -> SpandrelUpscaler:
    """Return the upscaler of a file that spandrel knows. Raises BadSetting, BadWeights.

    The dtype is float16 on a GPU if the network supports it, else float32.
    """
    network = placement.load(open_network, path, dtype)
    if network.scale != scale:
        raise BadSetting(f"{path} enlarges {network.scale} times and scale is {scale}: pass "
                         f"--scale {network.scale}")  # fmt: skip
    side = tile or SIDE
    if network.tiling.name == "SUPPORTED":
        tiles = tiled(network, halo=HALO, out=(scale,), tile=Tile(side, side))
        return SpandrelUpscaler(tiles, placement.device, network.dtype)
    if tile:
        raise BadSetting(f"tile is {tile}, and {network.architecture.name} needs complete images: "
                         "omit it")  # fmt: skip
    return SpandrelUpscaler(network, placement.device, network.dtype)


def open_network(path: Path, dtype: Dtype | None, device: str) -> Any:
    """Return spandrel's descriptor of the network in a file, on the device and of the dtype."""
    network: Any = load_network(path)
    supported = ["float32"]
    supported += ["float16"] * network.supports_half + ["bfloat16"] * network.supports_bfloat16
    chosen = Placement(device).choose_dtype(dtype, half=network.supports_half)
    name = str(chosen).removeprefix("torch.")
    if name not in supported:
        raise BadSetting(f"dtype is {name}, which {network.architecture.name} does not support: "
                         f"pass {' or '.join(supported)}")  # fmt: skip
    return network.to(torch.device(device), chosen).eval()


def load_network(path: Path) -> object:
    """Return spandrel's descriptor of a file. Raises BadWeights, BadSetting without spandrel."""
    try:
        import spandrel
    except ImportError as error:
        raise BadSetting("the model image needs spandrel, which is not installed: run "
                         f"{advise_install('image')}") from error  # fmt: skip
    try:
        network = spandrel.ModelLoader().load_from_state_dict(load_tensors(path))
    except spandrel.UnsupportedModelError as error:
        raise BadWeights(f"{path} is not a network that spandrel knows: pass an upscaler of "
                         "images") from error  # fmt: skip
    except Exception as error:  # it looks at a few tensors only, and others may not fit
        raise BadWeights(f"{path} cannot be loaded as the network that spandrel takes it for: "
                         f"{error}; download it again, or convert it") from error  # fmt: skip
    if (not isinstance(network, spandrel.ImageModelDescriptor)
            or (network.input_channels, network.output_channels) != (3, 3)):  # fmt: skip
        raise BadWeights(f"{path} is {network.architecture.name}, which maps "
                         f"{network.input_channels} channels to {network.output_channels}: pass an "
                         "upscaler of RGB images")  # fmt: skip
    return network
