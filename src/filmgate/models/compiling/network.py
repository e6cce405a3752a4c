"""A network of fixed shapes: what is compiled, and what its package depends on."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from filmgate.errors import BadSetting, StageContractError
from filmgate.models.compiling.toolchain import describe_processor

# Weights stay outside of the package: none is stored in it, or written into its code as a number.
SETTINGS = {
    "aot_inductor.package_constants_in_so": False,
    "always_keep_tensor_constants": True,
}
_FORMAT = 1  # changes with what a package is


@dataclass(frozen=True, slots=True)
class Input:
    """Shape and dtype of an input, which is contiguous."""

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32

    def describe(self) -> str:
        """Return it as text: "1x4x64x64 float16"."""
        return f"{'x'.join(map(str, self.shape))} {_name(self.dtype)}"


@dataclass(frozen=True)
class StaticNetwork:
    """A network, or a part of one, whose inputs always have the same shapes.

    `part`: its name within the family. `net` takes the `inputs`, in order, and returns a tensor or
    a tuple of tensors; it changes no input. Its parameters and buffers are not compiled: any
    weights of the same names, shapes and layout fit the same package. `settings`: all else that
    changes what `net` computes, such as its number of heads. `threads`: how many may run it at the
    same time; with more than 1 each call computes on one thread of the CPU.
    """

    family: str
    part: str
    net: nn.Module
    inputs: tuple[Input, ...]
    settings: str = ""
    threads: int = 1

    @property
    def name(self) -> str:
        """The family and the part, for messages."""
        return f"{self.family}, {self.part}"

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its parameters and buffers by name."""
        named = [*self.net.named_parameters(remove_duplicate=False),
                 *self.net.named_buffers(remove_duplicate=False)]  # fmt: skip
        return {name: tensor.detach() for name, tensor in named}

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(iter(self.tensors.values())).device

    @property
    def key(self) -> dict[str, Any]:
        """Everything that its package depends on, as JSON. Raises BadSetting."""
        layout = [
            (name, tuple(tensor.shape), tensor.stride(), _name(tensor.dtype))
            for name, tensor in sorted(self.tensors.items())
        ]
        return {
            "format": _FORMAT,
            "family": self.family,
            "part": self.part,
            "settings": self.settings,
            "inputs": [one.describe() for one in self.inputs],
            "weights": sha256(repr(layout).encode()).hexdigest(),
            "threads": self.threads > 1,
            "compiler": sorted(f"{name}={value}" for name, value in SETTINGS.items()),
            "processor": describe_processor(self.device),
            "torch": str(torch.__version__),
            "code": _hash_folders(tuple(sorted({*_find_folders(self.net)}))),
        }

    def make_inputs(self) -> tuple[Tensor, ...]:
        """Return inputs of zeros."""
        return tuple(torch.zeros(one.shape, dtype=one.dtype, device=self.device)
                     for one in self.inputs)  # fmt: skip

    def check_inputs(self, inputs: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the inputs as contiguous. Raises StageContractError for another shape or dtype."""
        given = tuple(Input(tuple(one.shape), one.dtype) for one in inputs)
        if given != self.inputs:
            found, wanted = (
                "; ".join(one.describe() for one in some) for some in (given, self.inputs)
            )
            raise StageContractError(f"{self.name} was compiled for {wanted}, and was given "
                                     f"{found}: omit --compile")  # fmt: skip
        return [one.contiguous() for one in inputs]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _find_folders(net: nn.Module) -> Iterator[Path]:
    """Yield the folders of the code of a network: of its own layers, not of torch's."""
    for kind in {type(layer) for layer in net.modules()}:
        if not kind.__module__.startswith("torch."):
            try:
                yield Path(inspect.getfile(kind)).parent
            except (TypeError, OSError) as error:
                raise BadSetting(
                    f"the code of {kind.__name__} is in no file, and a package is found again by "
                    "its code: define it in a module"
                ) from error


@cache
def _hash_folders(folders: tuple[Path, ...]) -> str:
    """Return a hash of all Python files in folders, those of folders in them excepted."""
    digest = sha256()
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            digest.update(f"{path.name} ".encode() + path.read_bytes())
    return digest.hexdigest()
