"""Say why torch finds no GPU."""

from __future__ import annotations

import sys
from pathlib import Path


def explain_no_gpu() -> str:
    """Return why models cannot run on a GPU here, "" if they can. Imports torch."""
    import torch

    if torch.cuda.is_available() or torch.backends.mps.is_available():
        return ""
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {torch.__version__} is a build for the CPU"
    if torch.version.hip is None and not _has_driver():
        return "there is no NVIDIA driver"
    built_for = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}"
    return f"the driver shows no GPU that torch, built for {built_for}, can use"


def has_gpu() -> bool:
    """Return whether torch can use a GPU of NVIDIA or AMD. Without any, torch is not imported."""
    if "torch" not in sys.modules and not may_have_gpu():
        return False
    import torch

    return bool(torch.cuda.is_available())


def may_have_gpu() -> bool:
    """Return whether a driver of NVIDIA or AMD is here; torch may still find no GPU."""
    return Path("/dev/kfd").exists() or _has_driver()


def _has_driver() -> bool:
    """Return whether NVIDIA's driver library can be loaded."""
    import ctypes

    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
