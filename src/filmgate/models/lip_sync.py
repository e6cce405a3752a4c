"""Build the models that make lips follow speech, by the name of their family."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting
from filmgate.models.contracts import Family, LipSyncRequest, LipSyncTiming, MemoryPrediction
from filmgate.models.registry import check_options, find_family

T = TypeVar("T")


def build_lip_sync(
    name: str,
    spec: StreamSpec,
    request: LipSyncRequest,
    options: Any = None,
    placement: Placement | None = None,
) -> tuple[AnyStage, ...]:
    """Return the stages that make lips follow speech, for a stream of the family's rate.

    Raises BadSetting, BadInput, Unsupported, BadWeights.
    """
    build = _find(name, lambda family: family.build_lip_sync)
    return build(spec, request, check_options(name, options), placement or Placement())


def time_lip_sync(name: str, audio: Path | None) -> LipSyncTiming:
    """Return how many frames a file of speech becomes, and what they need. Raises BadInput."""
    return _find(name, lambda family: family.time_lip_sync)(audio)


def measure_chin(name: str, options: Any, points: Sequence[Sequence[float]]) -> float:
    """Return how far down the chin of a face is: from 1 on below what is generated, 0: unknown."""
    measure = find_family(name).measure_chin
    return measure(check_options(name, options), points) if measure else 0.0


def predict_lip_sync(
    name: str, spec: StreamSpec, options: Any = None
) -> tuple[MemoryPrediction, ...]:
    """Predict the memory of those stages on a GPU; empty if unknown. Raises BadSetting."""
    predict = find_family(name).predict_lip_sync
    return tuple(predict(spec, check_options(name, options))) if predict else ()


def _find(name: str, get: Callable[[Family], T | None]) -> T:
    found = get(find_family(name))
    if found is None:
        raise BadSetting(f"the model {name} makes no lips: pass one that filmgate models lists")
    return found
