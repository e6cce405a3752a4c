"""Read files in the format GGUF: tensors by name, many of them quantized.

The header is parsed here, with every count and offset checked against the size of the file: the
reader of the package gguf trusts them, and a damaged file keeps it busy for years.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from filmgate.errors import BadSetting, BadWeights
from filmgate.installation import advise_install
from filmgate.storage.file_kind import describe_other_kind
from filmgate.weights.packed import Packed, Quantized, get_block

SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MOST_TENSORS, _MOST_FIELDS, _MOST_HEADER = 1 << 16, 1 << 16, 1 << 25
_MOST_DIMENSIONS, _MOST_DEPTH = 8, 4
_STRING, _ARRAY, _UINT32 = 8, 9, 4
_SIZES = MappingProxyType({0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8})
_PLAIN = MappingProxyType({0: torch.float32, 1: torch.float16, 30: torch.bfloat16})  # by kind


@dataclass(frozen=True, slots=True)
class _Entry:
    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


class GgufFile:
    """The tensors of a GGUF file, read from the disk when they are asked for.

    `architecture`: what the file says its network is, "" if nothing. `shapes`: of tensors, by name.
    Raises BadWeights for a damaged file and for kinds of blocks that cannot be read here, and
    BadSetting without the package gguf.
    """

    def __init__(self, path: Path) -> None:
        kinds = _list_kinds()
        if kind := describe_other_kind(path):
            raise BadWeights(f"{path} is {kind}, wanted a file of weights: pass the name of one")
        self.path = path
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                header = _Header(path, file.read(min(size, _MOST_HEADER)), size)
        except OSError as error:
            raise BadWeights(f"{path} cannot be read: {error.strerror}; check the disk and the "
                             "file's permissions") from error  # fmt: skip
        self.architecture = header.architecture
        self._entries = header.entries
        wrong = sorted({entry.kind for entry in self._entries.values()} - kinds.keys())
        if wrong:
            raise BadWeights(f"{path} holds tensors of the GGUF type {wrong[0]}: pass a file of "
                             f"types {', '.join(kinds.values())}")  # fmt: skip
        self._bytes: Tensor = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8)
        self.shapes: Mapping[str, tuple[int, ...]] = {
            name: entry.shape for name, entry in self._entries.items()
        }

    def read(self, name: str) -> Packed:
        """Return a tensor as it is stored."""
        entry = self._entries[name]
        data = self._bytes[entry.start : entry.start + entry.size]
        if entry.kind not in _PLAIN:
            return Quantized(data, entry.kind, entry.shape)
        plain = _PLAIN[entry.kind]
        if data.storage_offset() % plain.itemsize:
            data = data.clone()
        return data.view(plain).reshape(entry.shape)


class _Header:
    """What the first bytes of a GGUF file say. Raises BadWeights."""

    def __init__(self, path: Path, data: bytes, size: int) -> None:
        self.architecture, self.entries = "", dict[str, _Entry]()
        self._path, self._data, self._at = path, data, 0
        if data[:4] != _MAGIC:
            raise BadWeights(f"{path} is no GGUF file: it starts with {data[:4]!r}")
        self._at = 4
        version = self._number("<I")
        if version not in _VERSIONS:
            raise BadWeights(f"{path} has version {version} of GGUF: pass one of version 2 or 3")
        tensors, fields = self._number("<Q"), self._number("<Q")
        if tensors > _MOST_TENSORS or fields > _MOST_FIELDS:
            raise self._damaged(f"it says that it has {tensors} tensors and {fields} fields")
        alignment = self._read_fields(fields)
        infos = [self._read_info() for _ in range(tensors)]
        start = -(-self._at // alignment) * alignment
        for name, shape, kind, offset in infos:
            if name in self.entries:
                raise self._damaged(f"two tensors are called {name[:80]!r}")
            count = prod(shape)
            block, bytes_ = get_block(kind) if kind not in _PLAIN else (1, _PLAIN[kind].itemsize)
            last = shape[-1] if shape else 1
            if last % block or start + offset + count // block * bytes_ > size:
                raise self._damaged(f"{name[:80]!r} of {shape} does not fit into {size:,} bytes")
            self.entries[name] = _Entry(shape, kind, start + offset, count // block * bytes_)

    def _read_fields(self, count: int) -> int:
        """Skip all fields but two, and return how tensors are aligned."""
        alignment = 32
        for _ in range(count):
            name, kind = self._string(), self._number("<I")
            if name == "general.architecture" and kind == _STRING:
                self.architecture = self._string()
            elif name == "general.alignment" and kind == _UINT32:
                alignment = self._number("<I")
                if alignment not in (1 << k for k in range(3, 17)):
                    raise self._damaged(f"tensors are aligned to {alignment} bytes")
            else:
                self._skip(kind)
        return alignment

    def _read_info(self) -> tuple[str, tuple[int, ...], int, int]:
        name, dimensions = self._string(), self._number("<I")
        if dimensions > _MOST_DIMENSIONS:
            raise self._damaged(f"{name[:80]!r} has {dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(dimensions))[::-1]
        kind, offset = self._number("<I"), self._number("<Q")
        if kind not in _list_kinds():
            raise BadWeights(f"{self._path} holds {name[:80]!r} of the GGUF type {kind}: pass a "
                             f"file of types {', '.join(_list_kinds().values())}")  # fmt: skip
        return name, shape, kind, offset

    def _skip(self, kind: int, depth: int = 0) -> None:
        if kind == _STRING:
            self._string()
        elif kind in _SIZES:
            self._take(_SIZES[kind])
        elif kind == _ARRAY and depth < _MOST_DEPTH:
            inner, count = self._number("<I"), self._number("<Q")
            if inner in _SIZES:
                self._take(count * _SIZES[inner])
                return
            if count > len(self._data):  # each has a byte at least
                raise self._damaged(f"a list has {count} entries")
            for _ in range(count):
                self._skip(inner, depth + 1)
        else:
            raise self._damaged(f"a field has the type {kind}")

    def _string(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8", "replace")

    def _number(self, form: str) -> int:
        number: int = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return number

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self._at:
            raise self._damaged("it ends within its header")
        self._at += count
        return self._data[self._at - count : self._at]

    def _damaged(self, why: str) -> BadWeights:
        return BadWeights(f"{self._path} is damaged: {why}; download it again")


@cache
def _list_kinds() -> Mapping[int, str]:
    """Return the names of the types that can be read, by number. Raises BadSetting."""
    try:
        import gguf  # noqa: F401
        from diffusers.quantizers.gguf.utils import dequantize_functions
    except ImportError as error:
        raise BadSetting(f"a GGUF file needs {error.name}: it is not installed. Run "
                         f"{advise_install('gguf')}") from error  # fmt: skip
    quantized = {int(kind): str(kind.name) for kind in dequantize_functions}
    return {0: "F32", 1: "F16", 30: "BF16"} | quantized
