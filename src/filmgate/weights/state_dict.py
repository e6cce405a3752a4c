"""Read files of weights: tensors by name and nothing else, checked against expected shapes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from filmgate.errors import BadWeights
from filmgate.storage.file_kind import describe_other_kind

N = TypeVar("N", bound=nn.Module)
PICKLED = (".pt", ".pth", ".ckpt", ".pkl")
# keys under which training code stores the tensors; a dictionary that is the only entry counts too
_WRAPPED = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
# a class that checkpoints hold settings in, next to the tensors: read as a plain dictionary
_INERT = (OrderedDict, "yacs.config.CfgNode")
_SHOWN = 3  # of each kind of mismatch


def load_tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """Return the tensors of a file by name: safetensors, or .pt .pth .ckpt .pkl with tensors only.

    Code in a pickle is never run: `torch.load` reads with `weights_only`. Raises BadWeights.
    """
    if kind := describe_other_kind(path):
        raise BadWeights(f"{path} is {kind}, wanted a file of weights: pass the name of one")
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device=device)
        if path.suffix in PICKLED:
            with torch.serialization.safe_globals([_INERT]):
                held = torch.load(path, map_location=device, weights_only=True)
            return _unwrap(path, held)
    except UnpicklingError as error:
        raise BadWeights(
            f"{path} holds more than tensors, and a pickle may contain code: convert it to "
            ".safetensors if you trust it"
        ) from error
    except (BadWeights, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # untrusted bytes may raise anything in the readers
        raise _cannot_read(path, error) from error
    raise BadWeights(f"{path} ends with {path.suffix!r}: pass .safetensors or one of "
                     f"{' '.join(PICKLED)}")  # fmt: skip


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a file's tensors; of safetensors only the header is read.

    Raises BadWeights.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return {name: tuple(tensor.shape) for name, tensor in load_tensors(path).items()}
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise _cannot_read(path, error) from error


@dataclass(frozen=True, slots=True)
class TensorMismatch:
    """How the tensors of a file differ from those expected, in names and shapes."""

    expected_count: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shapes: tuple[str, ...]

    @classmethod
    def compare(
        cls, found: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]]
    ) -> TensorMismatch:
        """Return the difference of names and shapes."""
        return cls(
            len(wanted),
            tuple(sorted(wanted.keys() - found.keys())),
            tuple(sorted(found.keys() - wanted.keys())),
            tuple(
                f"{name} is {_format_shape(found[name].shape)}, "
                f"expected {_format_shape(wanted[name])}"
                for name in sorted(wanted.keys() & found.keys())
                if tuple(found[name].shape) != tuple(wanted[name])
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.wrong_shapes)

    def __str__(self) -> str:
        kinds = (
            (f"of {self.expected_count} are missing", self.missing),
            ("are unknown", self.unexpected),
            ("have another shape", self.wrong_shapes),
        )
        return "; ".join(
            f"{len(names)} {what}: {_shorten(names)}" for what, names in kinds if names
        )


def check_tensors(
    found: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]], path: Path
) -> Mapping[str, Tensor]:
    """Return `found` if its names and shapes are the wanted ones. Raises BadWeights if not."""
    if mismatch := TensorMismatch.compare(found, wanted):
        raise BadWeights(f"{path} holds {len(found)} tensors, of another model or another version: "
                         f"{mismatch}; pass the file that filmgate models names")  # fmt: skip
    return found


def list_shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a network, by name."""
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def fill(net: N, tensors: Mapping[str, Tensor], path: Path) -> N:
    """Return the network with the tensors of a file, which must be exactly its own.

    A network on the meta device takes them as they are. Raises BadWeights.
    """
    net.load_state_dict(check_tensors(tensors, list_shapes(net), path), assign=True)
    return net


def _unwrap(path: Path, held: object) -> dict[str, Tensor]:
    for name in _WRAPPED:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    if isinstance(held, Mapping) and len(held) == 1:
        (only,) = held.values()
        held = only if isinstance(only, Mapping) else held
    if not isinstance(held, Mapping):
        raise BadWeights(f"{path} holds a {type(held).__name__}: pass a file of tensors by name")
    for name, value in held.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise BadWeights(f"{path} holds {name!r}, which is a {type(value).__name__}: pass a "
                             "file of nothing but tensors by name")  # fmt: skip
    return dict(held)


def _cannot_read(path: Path, error: Exception) -> BadWeights:
    return BadWeights(f"{path} cannot be read as weights: {error}; download it again")


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def _format_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
