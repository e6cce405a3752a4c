"""The family `image`: any single-image upscaler that spandrel knows, frame by frame.

ESRGAN and its kin, SwinIR, SPAN, Real-ESRGAN's compact ones and dozens more: spandrel tells them by
their tensors. It is an extra of the package (`filmgate[image]`); weights are a file that a person
has, named by --model or --weights. A file that another family claims is not its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from filmgate.core.frame import StreamSpec
from filmgate.core.wrappers.tiled import Tile, tiled
from filmgate.errors import BadSetting, BadWeights, Unsupported
from filmgate.media.pixels import rgb as colour
from filmgate.media.pixels.planes import Planes
from filmgate.models.contracts import ByHand, Knobs
from filmgate.weights.state_dict import tensors

KNOBS = ("weights", "dtype", "tile")
BY_HAND = ByHand("--model FILE, any single-image upscaler that spandrel knows", "its own")
LAST_RESORT = True  # spandrel goes by a few names of tensors, and might know what is another's
SIDE, HALO = 384, 48  # of tiles, and what each sees around itself: most networks see about so far


@dataclass(frozen=True)
class Enlarge:
    """Enlarges planes by way of RGB; larger pictures go in tiles where the network allows that."""

    network: Callable[[Tensor], Tensor]  # (1, 3, H, W) in [0, 1] -> (1, 3, H * scale, W * scale)
    device: str
    dtype: torch.dtype = torch.float32

    def picture(self, image: object) -> Planes:
        """Planes of the same format, larger. Raises Unsupported for pictures that are none."""
        if not isinstance(image, Planes):
            raise Unsupported(f"image was given {type(image).__name__}: it wants planes")
        with torch.inference_mode():
            rgb = colour.to_rgb(image, device=self.device).to(self.dtype)
            made = self.network(rgb[None])[0]
            return colour.to_planes(made.float(), image.pixels, image.colour)


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Whether spandrel takes these for tensors of a network that it knows; not without it.

    It looks at names and shapes alone: nothing is read for that.
    """
    try:
        from spandrel import MAIN_REGISTRY, canonicalize_state_dict
    except ImportError:
        return False
    found = canonicalize_state_dict(
        {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
    )
    for network in MAIN_REGISTRY:
        with suppress(Exception):  # what stumbles over the tensors does not know them
            if network.detect(found):
                return True
    return False


def upscaler(spec: StreamSpec, scale: int, knobs: Knobs) -> object:
    """See `filmgate.models.upscaler`; weights are a file that spandrel knows.

    Numbers are float16 on a GPU where the network is known to bear it, float32 elsewhere.
    """
    colour.rgb().output(spec)  # alpha, HDR: refused with words before the first frame
    path = knobs.weights
    if path is None:
        raise BadSetting("the model is image, which has no weights of its own: name a file with "
                         "--model 4x_something.safetensors")  # fmt: skip
    found: Any = known(path)
    if found.scale != scale:
        raise BadSetting(f"{path} enlarges {found.scale} times and scale is {scale}: pass --scale "
                         f"{found.scale}")  # fmt: skip
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bears = ["float32"]
    bears += ["float16"] * found.supports_half + ["bfloat16"] * found.supports_bfloat16
    dtype = knobs.dtype or ("float16" if device == "cuda" and "float16" in bears else "float32")
    if dtype not in bears:
        raise BadSetting(f"dtype is {dtype}, which {found.architecture.name} does not bear: wanted "
                         f"{' or '.join(bears)}")  # fmt: skip
    found.to(torch.device(device), getattr(torch, dtype)).eval()
    network, side = found, knobs.tile or SIDE
    if found.tiling.name == "SUPPORTED":
        network = tiled(found, halo=HALO, out=(scale,), tile=Tile(side, side))
    elif knobs.tile:
        raise BadSetting(f"tile is {knobs.tile}, and {found.architecture.name} wants whole pictures"
                         ": leave it out")  # fmt: skip
    return Enlarge(network, device, getattr(torch, dtype)).picture


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
    except Exception as error:  # networks are told by a few tensors, and others may be amiss
        raise BadWeights(f"{path} can't be made into the network that spandrel takes it for: "
                         f"{error}; fetch it again, or convert it") from error  # fmt: skip
    if (not isinstance(found, spandrel.ImageModelDescriptor)
            or (found.input_channels, found.output_channels) != (3, 3)):  # fmt: skip
        raise BadWeights(f"{path} is {found.architecture.name}, which takes {found.input_channels} "
                         f"channels and gives {found.output_channels}: wanted an upscaler of RGB "
                         "pictures")  # fmt: skip
    return found
