"""Choose the device and the dtype that models run on: the only place that asks torch for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from filmgate.core.chain import is_out_of_memory
from filmgate.core.model_cache import ModelCache
from filmgate.device.diagnosis import has_gpu
from filmgate.errors import BadSetting, NotLoaded

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Dtype = Literal["float32", "float16", "bfloat16"]
DEVICES = "auto, cpu, cuda, cuda:1 or mps"
_NAME = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model runs: `device` is a device of torch, such as "cpu" or "cuda:1".

    `models` are the networks that this process has loaded.
    """

    device: str = "cpu"
    models: ModelCache = field(default_factory=ModelCache, compare=False, repr=False)

    def load(
        self,
        loader: Callable[..., T],
        path: Path,
        *settings: Hashable,
        files: Iterable[Path] | None = None,
    ) -> T:
        """Return `loader(path, *settings, device)`, called once while the files stay the same.

        `files` are those that it reads (default: `path`). Nothing may write to what it returns.
        Raises NotLoaded if the memory of the device is too small for it.
        """
        try:
            return self.models.load(loader, path, *settings, self.device, files=files)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            why = str(error).partition("\n")[0] or type(error).__name__
        raise NotLoaded(f"{path.name} does not fit into the memory of {self.device} ({why}): close "
                        "other programs that use it, or pass another --device")  # fmt: skip

    @property
    def budget_bytes(self) -> int | None:
        """Bytes that may be used on the device; None: what is free."""
        return self.models.device_bytes

    @property
    def memory_bytes(self) -> int | None:
        """Bytes of RAM that may be used; None: what is free."""
        return self.models.host_bytes

    @property
    def gpu_name(self) -> str:
        """What the maker calls the CUDA device; "" for others. Starts CUDA."""
        if not self.device.startswith("cuda"):
            return ""
        import torch

        return torch.cuda.get_device_name(self.device)

    def choose_dtype(self, wanted: Dtype | None = None, *, half: bool = True) -> torch.dtype:
        """Return the dtype to compute in: `wanted`, else float16 on a GPU and float32 on the CPU.

        `half`: whether the network supports float16; without it the default is float32.
        """
        import torch

        default = "float16" if half and self.device != "cpu" else "float32"
        dtype: torch.dtype = getattr(torch, wanted or default)
        return dtype


def choose_device(name: str = "auto", models: ModelCache | None = None) -> Placement:
    """Return the placement for `name`: auto, cpu, cuda, cuda:1 or mps.

    auto is the current CUDA device, or the CPU where there is none. Networks are loaded into
    `models` (default: a new cache). Raises BadSetting for an unknown name and for a device that
    this machine does not have.
    """
    check_device(name)
    return Placement(_find_device(name), models if models is not None else ModelCache())


def _find_device(name: str) -> str:
    if name == "cpu":
        return name
    if name == "auto":
        return "cuda" if has_gpu() else "cpu"
    import torch

    if name == "mps":
        if not torch.backends.mps.is_available():
            raise BadSetting("device is mps, and torch finds no Apple GPU here: pass --device auto")
        return name
    count = torch.cuda.device_count()
    if int(name.partition(":")[2] or 0) >= count:
        devices = ", ".join(f"cuda:{k}" for k in range(count)) or "no CUDA device"
        raise BadSetting(f"device is {name}, and torch finds {devices} here: pass --device auto")
    return name


def check_device(name: str) -> None:
    """Raise BadSetting if no device has this form of name; nothing is asked of torch."""
    if not _NAME.fullmatch(name):
        raise BadSetting(f"device is {name!r}: pass {DEVICES}")
