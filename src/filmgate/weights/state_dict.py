"""Opening weights: tensors by name and nothing else, and whether they are the ones wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from filmgate.errors import BadWeights

PICKLED = (".pt", ".pth", ".ckpt")
# where trainers put the tensors; a dictionary alone in another is one more such place
_WRAPPED = ("model_state_dict", "state_dict", "params_ema", "params-ema", "params", "model", "net")
_SHOWN = 3  # of each kind of mismatch


def tensors(path: Path, device: str = "cpu") -> dict[str, Tensor]:
    """The tensors of a file by name: safetensors, or .pt .pth .ckpt that hold nothing else.

    A stranger's pickle is never run: `torch.load` is told to take tensors only. Raises BadWeights.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path, device=device)
        if path.suffix in PICKLED:
            return _flat(path, torch.load(path, map_location=device, weights_only=True))
    except UnpicklingError as error:
        raise BadWeights(
            f"{path} holds more than tensors, and what a stranger has pickled is not opened: "
            "wanted a .safetensors; convert it where you trust it"
        ) from error
    except (BadWeights, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a stranger's bytes may raise anything in the readers
        raise _unread(path, error) from error
    raise BadWeights(f"{path} ends with {path.suffix!r}: wanted .safetensors or one of "
                     f"{' '.join(PICKLED)}")  # fmt: skip


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's tensors; of safetensors its head alone is read.

    Raises BadWeights.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return {name: tuple(tensor.shape) for name, tensor in tensors(path).items()}
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise _unread(path, error) from error


@dataclass(frozen=True, slots=True)
class Difference:
    """How tensors found differ from those wanted: names, and for shapes what is and what should."""

    wanted: int
    found: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @classmethod
    def of(cls, found: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]]) -> Difference:
        """Compares names and shapes."""
        return cls(
            len(wanted),
            len(found),
            tuple(sorted(wanted.keys() - found.keys())),
            tuple(sorted(found.keys() - wanted.keys())),
            tuple(
                f"{name} is {_by(found[name].shape)}, wanted {_by(wanted[name])}"
                for name in sorted(wanted.keys() & found.keys())
                if tuple(found[name].shape) != tuple(wanted[name])
            ),
        )

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        kinds = (
            (f"of {self.wanted} are missing", self.missing),
            ("are not known", self.unexpected),
            ("have another shape", self.misshapen),
        )
        return "; ".join(f"{len(names)} {what}: {_few(names)}" for what, names in kinds if names)


def fitting(
    found: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]], path: Path
) -> Mapping[str, Tensor]:
    """`found`, if its names and shapes are the wanted ones. Raises BadWeights, which tells them."""
    if different := Difference.of(found, wanted):
        raise BadWeights(f"{path} holds {len(found)} tensors, of another model or another version: "
                         f"{different}; wanted the file that filmgate models names")  # fmt: skip
    return found


def _flat(path: Path, held: object) -> dict[str, Tensor]:
    for name in _WRAPPED:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
    if isinstance(held, Mapping) and len(held) == 1:
        (only,) = held.values()
        held = only if isinstance(only, Mapping) else held
    if not isinstance(held, Mapping):
        raise BadWeights(f"{path} holds a {type(held).__name__}: wanted tensors by name")
    for name, value in held.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise BadWeights(f"{path} holds {name!r}, which is a {type(value).__name__}: wanted "
                             "nothing but tensors by name")  # fmt: skip
    return dict(held)


def _unread(path: Path, error: Exception) -> BadWeights:
    return BadWeights(f"{path} can't be read as weights: {error}; fetch it again")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a number"
