"""Measures that are used where they are installed: VMAF of FFmpeg's own program, and LPIPS."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.errors import Unsupported
from filmgate.media.planes import Planes

_ALEXNET = "alexnet-owt-7be5be79.pth"  # torchvision's, from which LPIPS is made


def no_vmaf() -> str:
    """Why there is no VMAF; nothing if there is. PyAV's FFmpeg is built without it."""
    program = shutil.which("ffmpeg")
    if program is None:
        return "not installed: put an ffmpeg that was built with libvmaf on your path"
    listed = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, check=False)
    if b" libvmaf " not in listed.stdout:
        return f"{program} was built without libvmaf: get one that has it"
    return ""


def vmaf(a: Path, b: Path) -> npt.NDArray[np.float64]:
    """VMAF of each frame of `b` against `a`, 0 to 100, by FFmpeg's program and its own model.

    Frames are counted off, so both films must have them at the same times.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Relative names: a filter's options give colons and backslashes a meaning of their own.
        begun = "setpts=PTS-STARTPTS"
        graph = f"[0:v]{begun}[b];[1:v]{begun}[a];[b][a]libvmaf=log_fmt=json:log_path=vmaf.json"
        words = ["ffmpeg", "-hide_banner", "-nostdin", "-i", str(b.resolve()), "-i",
                 str(a.resolve()), "-lavfi", graph, "-f", "null", "-"]  # fmt: skip
        ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        if ran.returncode:
            said = ran.stderr.strip().splitlines()[-1:] or ["nothing"]
            raise Unsupported(f"ffmpeg could not measure VMAF of {b.name}: it said {said[0]}; "
                              "take that ffmpeg off your path to compare without")  # fmt: skip
        told = json.loads((Path(folder) / "vmaf.json").read_text())
    return np.array([frame["metrics"]["vmaf"] for frame in told["frames"]], float)


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

    from filmgate.media.colour import to_rgb

    net: Any = import_module("lpips").LPIPS(net="alex", verbose=False).eval()

    def distance(a: Planes, b: Planes) -> float:
        with torch.inference_mode():
            one, two = (to_rgb(x)[None] * 2 - 1 for x in (a, b))  # (1, 3, H, W) in [-1, 1]
            return float(net(one, two))

    return distance
