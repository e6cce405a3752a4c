"""A measure that is used where it is installed: LPIPS."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filmgate.media.pixels.planes import Planes

_ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's, from which LPIPS is made


def no_lpips() -> str:
    """Why there is no LPIPS; nothing if there is. Nothing is fetched from a network for it."""
    if find_spec("lpips") is None:
        return "not installed: pip install lpips"
    from torch.hub import get_dir

    weights = Path(get_dir()) / "checkpoints" / _ALEXNET
    return "" if weights.exists() else f"its weights are not there: put {_ALEXNET} at {weights}"


def lpips() -> Callable[[Planes, Planes], float]:
    """The LPIPS distance of two pictures, with AlexNet. Zhang et al., CVPR 2018."""
    import torch

    from filmgate.media.pixels.rgb import to_rgb

    net: Any = import_module("lpips").LPIPS(net="alex", verbose=False).eval()

    def distance(a: Planes, b: Planes) -> float:
        with torch.inference_mode():
            one, two = (to_rgb(x)[None] * 2 - 1 for x in (a, b))  # (1, 3, H, W) in [-1, 1]
            return float(net(one, two))

    return distance
