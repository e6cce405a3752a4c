"""LPIPS, if the `lpips` package and its weights are installed."""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filmgate.media.pixels.planes import Planes

_ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's weights, which LPIPS builds on


def explain_missing_lpips() -> str:
    """Return why LPIPS cannot be measured, empty if it can. Downloads nothing."""
    if find_spec("lpips") is None:
        return "not installed: pip install lpips"
    from torch.hub import get_dir

    weights = Path(get_dir()) / "checkpoints" / _ALEXNET
    return "" if weights.exists() else f"its weights are missing: put {_ALEXNET} at {weights}"


def load_lpips() -> Callable[[Planes, Planes], float]:
    """Return a function that measures LPIPS (AlexNet) of two images. Zhang et al., CVPR 2018."""
    import torch

    from filmgate.media.pixels.rgb import to_rgb

    net: Any = import_module("lpips").LPIPS(net="alex", verbose=False).eval()

    def distance(a: Planes, b: Planes) -> float:
        with torch.inference_mode():
            one, two = (to_rgb(x)[None] * 2 - 1 for x in (a, b))  # (1, 3, H, W) in [-1, 1]
            return float(net(one, two))

    return distance
