"""Files of tensors that are read one by one: safetensors, in several parts too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from safetensors import safe_open
from torch import Tensor

from filmgate.errors import BadWeights
from filmgate.storage.file_kind import describe_other_kind
from filmgate.weights import gguf_file
from filmgate.weights.packed import Float8, Packed

_DTYPES = MappingProxyType({"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
                            "F64": torch.float64, "F8_E4M3": torch.float8_e4m3fn})  # fmt: skip
_SCALES = (".scale_weight", ".weight_scale")  # after the name of a layer, of its weight in 8 bits
_UNUSED = ("scaled_fp8", ".scale_input", ".input_scale", ".comfy_quant",
           "spiece_model")  # ends of names  # fmt: skip


class TensorFile(Protocol):
    """Tensors by name, read from the disk when they are asked for."""

    @property
    def path(self) -> Path:
        """The file; of several, the first."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of each tensor."""
        ...

    def read(self, name: str) -> Packed:
        """Return a tensor as it is stored. Raises BadWeights if the disk fails."""
        ...


class SafetensorsFiles:
    """The tensors of one or more safetensors files. Raises BadWeights.

    Weights in 8 bits with the scale next to them, as ComfyUI writes them, are read as `Float8`.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.path = paths[0]
        self._files: dict[str, Any] = {}
        self._scales: dict[str, str] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for path in paths:
            self._add(path)
        for name in [name for name in self.shapes if name.endswith(_SCALES)]:
            self._scales[f"{name.rpartition('.')[0]}.weight"] = name
            del self.shapes[name]

    def read(self, name: str) -> Packed:
        """Return a tensor as it is stored."""
        try:
            tensor = self._files[name].get_tensor(name)
            if tensor.dtype != torch.float8_e4m3fn:
                return tensor  # type: ignore[no-any-return]
            scale = torch.ones(())
            if own := self._scales.get(name):
                scale = self._files[own].get_tensor(own).float()
        except Exception as error:  # untrusted bytes may raise anything in the reader
            raise BadWeights(f"{self.path} cannot be read: {error}; download it again") from error
        if scale.numel() not in (1, tensor.shape[0]):
            raise BadWeights(f"{self.path} holds {scale.numel()} scales for {name}, expected 1 or "
                             f"{tensor.shape[0]}: download it again")  # fmt: skip
        rows = scale.numel(), *[1] * (tensor.ndim - 1)
        return Float8(tensor, scale.reshape(rows if scale.numel() > 1 else ()))

    def _add(self, path: Path) -> None:
        if kind := describe_other_kind(path):
            raise BadWeights(f"{path} is {kind}, wanted a file of weights: pass the name of one")
        if path.suffix != ".safetensors":
            raise BadWeights(f"{path} ends with {path.suffix!r}: pass .safetensors or "
                             f"{gguf_file.SUFFIX}")  # fmt: skip
        try:
            file: Any = safe_open(path, framework="pt")
            for name in file.keys():  # noqa: SIM118
                tensor = file.get_slice(name)
                self._add_tensor(path, file, name, tensor.get_dtype(), tuple(tensor.get_shape()))
        except BadWeights:
            raise
        except Exception as error:  # untrusted bytes may raise anything in the reader
            raise BadWeights(f"{path} cannot be read as safetensors: {error}; download it "
                             "again") from error  # fmt: skip

    def _add_tensor(
        self, path: Path, file: Any, name: str, dtype: str, shape: tuple[int, ...]
    ) -> None:
        if name.endswith(_UNUSED):
            return
        if dtype not in _DTYPES:
            raise BadWeights(f"{path} holds {name!r} as {dtype}: pass a file of "
                             f"{', '.join(_DTYPES)}")  # fmt: skip
        if name in self._files:
            raise BadWeights(f"{path} holds {name!r}, and another part too: download them again")
        self._files[name], self.shapes[name] = file, shape


class RenamedFile:
    """The tensors of a file under other names; `names` holds the file's name of each.

    `shapes` may be changed to others of as many numbers.
    """

    def __init__(self, file: TensorFile, names: Mapping[str, str]) -> None:
        self.path, self._file, self._names = file.path, file, names
        self.shapes = {name: file.shapes[old] for name, old in names.items()}

    def read(self, name: str) -> Packed:
        """Return a tensor as it is stored, in the shape that `shapes` says."""
        packed = self._file.read(self._names[name])
        return packed.reshape(self.shapes[name]) if isinstance(packed, Tensor) else packed


def open_tensors(paths: Sequence[Path]) -> TensorFile:
    """Return the tensors of a file, safetensors or GGUF, or of parts of safetensors.

    Raises BadWeights, BadSetting.
    """
    if len(paths) == 1 and paths[0].suffix == gguf_file.SUFFIX:
        return gguf_file.GgufFile(paths[0])
    return SafetensorsFiles(paths)
