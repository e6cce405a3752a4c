"""Stages that convert planes to RGB tensors and back, and their functions of one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import Unsupported
from filmgate.media.pixels import color
from filmgate.media.pixels.format_names import get_bit_depth, is_hdr
from filmgate.media.pixels.planes import Planes

_DTYPES = MappingProxyType(
    {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
)


def convert_to_rgb(dtype: str = "float32", device: str = "cpu", hdr: bool = False) -> AnyStage:
    """Return a stage that converts planes to tensors (3, H, W), RGB in [0, 1].

    HDR video (PQ, HLG) is refused unless `hdr`: its values mean something else to models made for
    SDR. Raises Unsupported before the first frame.
    """

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [
            f.with_image(to_rgb(_planes(f), _DTYPES[dtype], device), keep=tuple(f.extras))
            for f in frames
        ]

    def output(spec: StreamSpec) -> StreamSpec:
        color.check_convertible(spec.pixels, spec.colour, spec.width, spec.height)
        if is_hdr(spec.colour) and not hdr:
            raise Unsupported(
                f"the video is HDR (transfer {spec.colour.transfer}) and the model was made for "
                "SDR: pass --tonemap to convert the video to BT.709"
            )
        return replace(spec, pixels="rgb", dtype=dtype, device=device)

    return each(convert, name="rgb", output=output)


def convert_to_planes(pixels: str, colour: ColorTags) -> AnyStage:
    """Return a stage that converts RGB tensors to planes of the format `pixels` in host memory."""

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [
            f.with_image(to_planes(_tensor(f), pixels, colour), keep=tuple(f.extras))
            for f in frames
        ]

    def output(spec: StreamSpec) -> StreamSpec:
        dtype = "uint8" if get_bit_depth(pixels) == 8 else "uint16"
        return replace(spec, pixels=pixels, colour=colour, dtype=dtype, device="cpu")

    return each(convert, name="planes", output=output)


def set_color_tags(colour: ColorTags) -> AnyStage:
    """Return a stage that sets the colour tags of planes and does not change their values."""

    def convert(frames: Sequence[Frame]) -> list[Frame]:
        return [
            f.with_image(replace(_planes(f), colour=colour), keep=tuple(f.extras)) for f in frames
        ]

    def output(spec: StreamSpec) -> StreamSpec:
        return replace(spec, colour=colour)

    return each(convert, name="color tags", output=output)


def samples() -> tuple[AnyStage, ...]:
    """Return stages for the property tests: to RGB and back."""
    round_trips = (
        Chain((convert_to_rgb(), convert_to_planes(pixels, ColorTags())))
        for pixels in ("yuv420p", "gbrp")
    )
    return (*round_trips, set_color_tags(ColorTags(matrix="smpte170m")))


def to_rgb(image: Planes, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Tensor:
    """Return RGB (3, H, W) in [0, 1]: see `Planes.to_rgb`."""
    return color.to_rgb(image, dtype, device)


def to_planes(image: Tensor, pixels: str, colour: ColorTags) -> Planes:
    """Return planes from RGB (3, H, W), clipped to [0, 1]; the inverse of `to_rgb`."""
    return Planes(color.from_rgb(image, pixels, colour), pixels, colour)


def _planes(frame: Frame) -> Planes:
    assert isinstance(frame.image, Planes)
    return frame.image


def _tensor(frame: Frame) -> Tensor:
    assert isinstance(frame.image, Tensor)
    return frame.image
