"""What authors of stages, tasks and models import, besides `filmgate` and `filmgate.testing`.

Each name is imported from its module when it is first used, so importing this one loads neither
torch nor NumPy.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filmgate.core.adapters import (
        Each,
        UntilNext,
        Window,
        blocks,
        each,
        repeat_edges,
        windowed,
    )
    from filmgate.core.chain import Chain
    from filmgate.core.frame import ColorTags, Frame, Position, StreamSpec
    from filmgate.core.job import Task
    from filmgate.core.model_cache import ModelCache
    from filmgate.core.stage import Reach, Stage, StageWrapper
    from filmgate.core.wrappers.cached import cached
    from filmgate.core.wrappers.model_stage import ModelStage
    from filmgate.core.wrappers.output_checks import check_outputs
    from filmgate.core.wrappers.tiled import Tile, tiled
    from filmgate.device.placement import Dtype, Placement
    from filmgate.errors import (
        BadInput,
        BadOutput,
        BadSetting,
        BadWeights,
        FilmgateError,
        StageContractError,
        Unsupported,
    )
    from filmgate.flow.shot_detection import detect_shots
    from filmgate.media.pixels.planes import Planes
    from filmgate.models.contracts import (
        ByHand,
        Family,
        FrameInterpolator,
        ImageUpscaler,
        MemoryPrediction,
    )
    from filmgate.models.diffusion.noise import draw_noise
    from filmgate.models.registry import register_family
    from filmgate.models.rgb_networks import rgb_interpolator, rgb_upscaler
    from filmgate.weights.definitions import Weights, WeightsRepository
    from filmgate.weights.state_dict import check_tensors, load_tensors
    from filmgate.weights.store import WeightsStore

_MODULES = {
    **dict.fromkeys(
        ("Each", "UntilNext", "Window", "blocks", "each", "repeat_edges", "windowed"),
        "core.adapters",
    ),
    **dict.fromkeys(("ColorTags", "Frame", "Position", "StreamSpec"), "core.frame"),
    **dict.fromkeys(("Reach", "Stage", "StageWrapper"), "core.stage"),
    **dict.fromkeys(("Tile", "tiled"), "core.wrappers.tiled"),
    **dict.fromkeys(("Dtype", "Placement"), "device.placement"),
    **dict.fromkeys(
        ("BadInput", "BadOutput", "BadSetting", "BadWeights", "FilmgateError",
         "StageContractError", "Unsupported"),
        "errors",
    ),
    **dict.fromkeys(
        ("ByHand", "Family", "FrameInterpolator", "ImageUpscaler", "MemoryPrediction"),
        "models.contracts",
    ),
    **dict.fromkeys(("rgb_interpolator", "rgb_upscaler"), "models.rgb_networks"),
    **dict.fromkeys(("Weights", "WeightsRepository"), "weights.definitions"),
    **dict.fromkeys(("check_tensors", "load_tensors"), "weights.state_dict"),
    "Chain": "core.chain",
    "ModelCache": "core.model_cache",
    "ModelStage": "core.wrappers.model_stage",
    "Planes": "media.pixels.planes",
    "Task": "core.job",
    "WeightsStore": "weights.store",
    "cached": "core.wrappers.cached",
    "check_outputs": "core.wrappers.output_checks",
    "detect_shots": "flow.shot_detection",
    "draw_noise": "models.diffusion.noise",
    "register_family": "models.registry",
}  # fmt: skip

__all__ = [
    "BadInput",
    "BadOutput",
    "BadSetting",
    "BadWeights",
    "ByHand",
    "Chain",
    "ColorTags",
    "Dtype",
    "Each",
    "Family",
    "FilmgateError",
    "Frame",
    "FrameInterpolator",
    "ImageUpscaler",
    "MemoryPrediction",
    "ModelCache",
    "ModelStage",
    "Placement",
    "Planes",
    "Position",
    "Reach",
    "Stage",
    "StageContractError",
    "StageWrapper",
    "StreamSpec",
    "Task",
    "Tile",
    "Unsupported",
    "UntilNext",
    "Weights",
    "WeightsRepository",
    "WeightsStore",
    "Window",
    "blocks",
    "cached",
    "check_outputs",
    "check_tensors",
    "detect_shots",
    "draw_noise",
    "each",
    "load_tensors",
    "register_family",
    "repeat_edges",
    "rgb_interpolator",
    "rgb_upscaler",
    "tiled",
    "windowed",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"filmgate.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return __all__
