"""The family `image`: any single-image upscaler that spandrel knows, frame by frame.

ESRGAN and its kin, SwinIR, SPAN, Real-ESRGAN's compact ones and dozens more: spandrel tells them by
their tensors. It is an extra of the package (`filmgate[image]`); weights come with --weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filmgate.core.frame import Spec
from filmgate.core.tiled import Tile, tiled
from filmgate.device.tensors import tensors
from filmgate.errors import BadSetting, BadWeights, Unsupported
from filmgate.media import colour
from filmgate.media.planes import Planes
from filmgate.models import ByHand, Knobs

KNOBS = ("weights",)
BY_HAND = ByHand("--weights FILE, any single-image upscaler that spandrel knows", "its own")
SIDE, HALO = 384, 48  # of tiles, and what each sees around itself: most networks see about so far


@dataclass(frozen=True)
class Enlarge:
    """Enlarges planes by way of RGB; larger pictures go in tiles where the network allows that."""

    network: Callable[[Tensor], Tensor]  # (1, 3, H, W) in [0, 1] -> (1, 3, H * scale, W * scale)
    device: str

    def picture(self, image: object) -> Planes:
        """Planes of the same format, larger. Raises Unsupported for pictures that are none."""
        if not isinstance(image, Planes):
            raise Unsupported(f"image was given {type(image).__name__}: it wants planes")
        with torch.inference_mode():
            made = self.network(colour.to_rgb(image, device=self.device)[None])[0]
            return colour.to_planes(made.float(), image.pixels, image.colour)


def upscaler(spec: Spec, scale: int, knobs: Knobs) -> object:
    """See `filmgate.models.upscaler`; weights are a file that spandrel knows. float32."""
    colour.rgb().output(spec)  # alpha, HDR: refused with words before the first frame
    path = knobs.weights
    if path is None:
        raise BadSetting("the model is image, which has no weights of its own: name a file with "
                         "--weights 4x_something.safetensors")  # fmt: skip
    found: Any = known(path)
    if found.scale != scale:
        raise BadSetting(f"{path} enlarges {found.scale} times and scale is {scale}: pass --scale "
                         f"{found.scale}")  # fmt: skip
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found.to(torch.device(device)).eval()
    network = found
    if found.tiling.name == "SUPPORTED":
        network = tiled(found, halo=HALO, out=(scale,), tile=Tile(SIDE, SIDE))
    return Enlarge(network, device).picture


def known(path: Path) -> object:
    """spandrel's descriptor of the network in a file. Raises BadWeights; BadSetting without it."""
    try:
        import spandrel
    except ImportError as error:
        raise BadSetting("the model image needs spandrel, which is not here: install "
                         "filmgate[image]") from error  # fmt: skip
    try:
        found = spandrel.ModelLoader().load_from_state_dict(tensors(path))
    except spandrel.UnsupportedModelError as error:
        raise BadWeights(f"{path} is of no network that spandrel knows: wanted an upscaler of "
                         "images") from error  # fmt: skip
    if (not isinstance(found, spandrel.ImageModelDescriptor)
            or (found.input_channels, found.output_channels) != (3, 3)):  # fmt: skip
        raise BadWeights(f"{path} is {found.architecture.name}, which takes {found.input_channels} "
                         f"channels and gives {found.output_channels}: wanted an upscaler of RGB "
                         "pictures")  # fmt: skip
    return found
