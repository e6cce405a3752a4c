"""The family `film`: frames between frames by FILM, for large motion; its weights are a download.

Reda et al., "FILM: Frame Interpolation for Large Motion", ECCV 2022. UNPROVEN with published
weights: they could not be downloaded where this was written. On weights made by rule, the results
match those recorded from the published code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filmgate.core.frame import StreamSpec
from filmgate.device.placement import Dtype, Placement
from filmgate.media.settings import check_settings, check_tile
from filmgate.models.contracts import Family, FrameInterpolator
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

# Half precision, converted from the TensorFlow originals ("Style").
WEIGHTS = Weights(
    name="film",
    family="film",
    file="film_net_fp16.safetensors",
    size_bytes=68_882_302,
    licence="Apache-2.0",
    commercial=True,
    hub="Comfy-Org/frame_interpolation",
    path="frame_interpolation/film_net_fp16.safetensors",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmOptions:
    """Options of the family `film`."""

    weights: Path | None = None
    """A file of weights, or a folder with it. Default: the models folder."""

    dtype: Dtype | None = None
    """The model's dtype. Default: float16 on a GPU, float32 on the CPU."""

    tile: int | None = None
    """Rows of the image to process at a time: 64, 128 ... Default: by its size."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_tile(self.tile)


def build_interpolator(
    spec: StreamSpec, options: FilmOptions, placement: Placement
) -> FrameInterpolator:
    """See `Family.build_interpolator`."""
    from filmgate.media.pixels import rgb
    from filmgate.models.families.film.interpolator import FilmInterpolator, open_network

    rgb.convert_to_rgb().output(spec)  # raises for alpha and HDR before the first frame
    dtype = placement.choose_dtype(options.dtype)
    file = WeightsStore.open_default().verify(WEIGHTS, options.weights)
    network = placement.load(open_network, file, dtype)
    gpu = placement.device != "cpu"
    return FilmInterpolator(network, placement.device, dtype, options.tile, large_bands=gpu)


def tensor_shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """Return the 82 tensors of the published network."""
    from filmgate.models.families.film.net import Film, Shape
    from filmgate.weights.state_dict import list_shapes

    return list_shapes(Film(Shape(), "meta"))


def claims(shapes: Mapping[str, Sequence[int]]) -> bool:
    """Return whether these are the tensors of a FILM of any size."""
    from filmgate.models.families.film.net import has_film_shapes

    return has_film_shapes(shapes)


FAMILY = Family(
    name="film",
    summary="FILM, a network for large motion. Unproven with published weights.",
    options=FilmOptions,
    build_interpolator=build_interpolator,
    weights=(WEIGHTS,),
    tensor_shapes=tensor_shapes,
    claims=claims,
)
