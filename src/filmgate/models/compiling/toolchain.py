"""What compiling needs of the machine, and what a compiled network depends on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.errors import BadSetting

if TYPE_CHECKING:
    import torch

_COMPILERS: Mapping[str, tuple[str, str]] = {
    "win32": ("cl", "install the Build Tools of Visual Studio and run this in their shell"),
    "darwin": ("clang++", "run xcode-select --install"),
    "linux": ("g++", "install it, as in apt install g++"),
}
_DEVICES = ("cpu", "cuda")
# How names of instruction sets that compilers use begin, by the line of /proc/cpuinfo. What else is
# in these lines, such as flaws and features for virtual machines, changes with the kernel.
_INSTRUCTIONS: Mapping[str, str] = {
    "flags": r"mmx|3dnow|sse|pni$|ssse3|avx|fma|f16c|bmi|abm$|lzcnt|popcnt|movbe|v?aes|v?pclmul|"
             r"gfni|amx|xop$|tbm$|cmov$|cx16$|lahf_lm$|adx$|sha_ni$|sha512$",
    "Features": r"fp|asimd|neon|vfp|sve|sme|bf16|i8mm|atomics|i?lrcpc|jscvt|fcma|aes|pmull|sha|"
                r"crc32|flagm|frint",
}  # fmt: skip


def check_device(name: str, device: torch.device) -> None:
    """Raise BadSetting unless a network can be compiled for the device; `name` is the network's."""
    if device.type not in _DEVICES:
        raise BadSetting(f"{name} cannot be compiled for {device.type}: pass --device "
                         f"{' or '.join(_DEVICES)}, or omit --compile")  # fmt: skip


def check_toolchain(name: str, device: torch.device, folder: Path, reason: str = "") -> None:
    """Raise BadSetting if this machine lacks what building the package of a network needs.

    `folder`: where packages are kept; those of a machine of the same kind may be copied there.
    `reason`: why the one that is there cannot be used, "" if there is none.
    """
    found = f"{name} is not compiled yet" + (f" here: {reason}" if reason else "")
    usual, advice = _COMPILERS.get(sys.platform, _COMPILERS["linux"])
    compiler = os.environ.get("CXX") or usual
    otherwise = (f"or copy the packages of a machine of the same kind to {folder}, or omit "
                 "--compile")  # fmt: skip
    if shutil.which(compiler) is None:
        where = "CXX names it" if os.environ.get("CXX") else "CXX can name another"
        raise BadSetting(f"{found}, and there is no C++ compiler {compiler!r} "
                         f"here ({where}): {advice}, {otherwise}")  # fmt: skip
    if device.type == "cuda" and find_spec("triton") is None:
        raise BadSetting(f"{found}, and compiling for CUDA needs triton, which "
                         f"is not installed: pip install triton, {otherwise}")  # fmt: skip


def describe_processor(device: torch.device) -> str:
    """Return what code that is compiled for a device runs on: the GPU's kind, and the CPU's."""
    import torch

    parts = [platform.system(), platform.machine(), torch.backends.cpu.get_cpu_capability(),
             _hash_instructions()]  # fmt: skip
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        parts = [torch.cuda.get_device_name(device), f"{major}.{minor}", *parts]
    return " ".join(parts)


@cache
def _hash_instructions() -> str:
    """Return a hash of the instruction sets that the CPU has, as far as the system says."""
    text = platform.processor()
    with suppress(OSError), open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        text = next((line for line in file if line.startswith(tuple(_INSTRUCTIONS))), text)
    return sha256(_select_instructions(text).encode()).hexdigest()[:12]


def _select_instructions(text: str) -> str:
    """Return the instruction sets that a line of /proc/cpuinfo names; other text as it is."""
    head, _, rest = text.partition(":")
    pattern = _INSTRUCTIONS.get(head.strip())
    if pattern is None:
        return text
    return " ".join(sorted(name for name in rest.split() if re.match(pattern, name)))
