"""The family `image`: any single-image upscaler that spandrel knows, frame by frame.

ESRGAN and its variants, SwinIR, SPAN, Real-ESRGAN's compact ones and dozens more; spandrel
identifies them by their tensors. It is the extra `image` of the package; weights are
the user's file, named by --model or --weights, unless another family claims it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filmgate.core.frame import StreamSpec
from filmgate.device.placement import Dtype, Placement
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings, check_tile
from filmgate.models.contracts import ByHand, Family, ImageUpscaler


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """Options of the family `image`."""

    weights: Path | None = None
    """The file of weights."""

    dtype: Dtype | None = None
    """The model's dtype. Default: float16 on a GPU if the network supports it, else float32."""

    tile: int | None = None
    """Sides of the squares to process at a time: 64, 128 ... Default: 384."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_tile(self.tile)


def build_upscaler(
    spec: StreamSpec, scale: int, options: ImageOptions, placement: Placement
) -> ImageUpscaler:
    """See `Family.build_upscaler`."""
    from filmgate.media.pixels import rgb
    from filmgate.models.families.image.upscaler import open_upscaler

    rgb.convert_to_rgb().output(spec)  # raises for alpha and HDR before the first frame
    if options.weights is None:
        raise BadSetting("the model image has no weights of its own: name a file with "
                         "--model 4x_something.safetensors")  # fmt: skip
    upscaler = open_upscaler(options.weights, scale, options.dtype, options.tile, placement)
    return upscaler.upscale


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether spandrel knows a network with such tensors; False without spandrel.

    It looks at names and shapes only: nothing is read for that.
    """
    try:
        from spandrel import MAIN_REGISTRY, canonicalize_state_dict
    except ImportError:
        return False
    import torch

    empty = {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
    tensors = canonicalize_state_dict(empty)
    for network in MAIN_REGISTRY:
        with suppress(Exception):  # a detector that fails on the tensors does not know them
            if network.detect(tensors):
                return True
    return False


FAMILY = Family(
    name="image",
    summary="Any single-image upscaler that spandrel knows, from a file of yours.",
    options=ImageOptions,
    build_upscaler=build_upscaler,
    claims=claims,
    last_resort=True,  # spandrel looks at a few names only, and may match another family's tensors
    by_hand=ByHand("--model FILE, any single-image upscaler that spandrel knows", "its own"),
)
