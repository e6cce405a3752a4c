"""The family `compact`: enlarges two or four times with a small network, on the CPU too.

Its weights are part of the package; `training/compact.py` makes them from synthetic images. Luma
(in RGB every channel) goes through the network; chroma and alpha are enlarged by Lanczos.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.core.frame import StreamSpec
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting, BadWeights, Unsupported
from filmgate.media.settings import check_settings, check_tile
from filmgate.models.compiling.shapes import FixedShapes
from filmgate.models.contracts import Family, ImageUpscaler

if TYPE_CHECKING:
    from filmgate.models.compiling.packages import CompiledNetwork
    from filmgate.models.families.compact.upscaler import CompactUpscaler


@dataclass(frozen=True, slots=True, kw_only=True)
class CompactOptions:
    """Options of the family `compact`."""

    weights: Path | None = None
    """A file of weights, or a folder with x2.safetensors and x4.safetensors. Default: those of
    the package."""

    tile: int | None = None
    """Rows of the image to process at a time: 64, 128 ... Default: tiles of about 128 rows and
    256 columns; on a GPU as many rows as have about 524,288 samples."""

    compile: bool = False
    """Run the network compiled for the size of the video: faster on some GPUs, not on a CPU. It is
    compiled once and kept; filmgate models build does that beforehand."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_tile(self.tile)


def build_upscaler(
    spec: StreamSpec, scale: int, options: CompactOptions, placement: Placement
) -> ImageUpscaler:
    """See `Family.build_upscaler`."""
    from filmgate.media.pixels.format_names import is_hdr

    if not spec.pixels.startswith(("yuv", "gray", "gbr")):
        raise Unsupported(f"compact cannot take {spec.pixels}: pass planes as they were decoded")
    if is_hdr(spec.colour):
        raise Unsupported(
            f"the video is HDR (transfer {spec.colour.transfer}) and compact takes SDR only: pass "
            "--tonemap to convert it to BT.709"
        )
    upscaler = _open_upscaler(scale, options, placement)
    if options.compile:
        upscaler = upscaler.compile(spec.width, spec.height, placement.models)
    return upscaler.upscale


def open_compiled(
    shapes: FixedShapes, options: CompactOptions, placement: Placement
) -> Iterator[CompiledNetwork]:
    """See `Family.open_compiled`: the network for tiles of frames of one size."""
    (width, height), upscaler = shapes.known_frame, _open_upscaler(shapes.scale, options, placement)
    compiled = upscaler.compile(width, height, placement.models).compiled
    assert compiled is not None
    yield compiled


def _open_upscaler(scale: int, options: CompactOptions, placement: Placement) -> CompactUpscaler:
    from filmgate.models.families.compact.net import SCALES
    from filmgate.models.families.compact.upscaler import CompactUpscaler, open_network

    if scale not in SCALES:
        raise BadSetting(f"scale is {scale}: the model compact has 2 and 4: pass one of these")
    place = find_weights(scale, options.weights)
    network = placement.load(open_network, place)
    if network.shape.scale != scale:
        raise BadWeights(f"{place} enlarges {network.shape.scale} times and scale is {scale}: pass "
                         f"--scale {network.shape.scale}, or other weights")  # fmt: skip
    return CompactUpscaler(network, placement.device, options.tile)


def find_weights(scale: int, place: Path | None = None) -> Path:
    """Return the file for `scale` in a folder (None: the package), or the file `place` itself."""
    place = place or Path(__file__).parent
    return place / f"x{scale}.safetensors" if place.is_dir() else place


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are the tensors of a compact of any size."""
    from filmgate.models.families.compact.net import has_compact_shapes

    return has_compact_shapes(shapes)


FAMILY = Family(
    name="compact",
    summary="A small network that runs on the CPU. Needs no download.",
    options=CompactOptions,
    build_upscaler=build_upscaler,
    scales=(2, 4),
    open_compiled=open_compiled,
    claims=claims,
)
