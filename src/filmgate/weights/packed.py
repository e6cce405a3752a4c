"""Tensors as they are stored to take less memory: 8-bit floats with scales, and blocks of GGUF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

_LARGEST = 448.0  # of float8_e4m3fn
_SMALLEST_SCALE = 2.0**-100


@dataclass(frozen=True, slots=True)
class Float8:
    """A tensor in float8_e4m3fn; times `scale`, float32, it is the tensor that was meant.

    `scale` has a number for each row, as (rows, 1 ...), or one for all.
    """

    data: Tensor
    scale: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor that was meant."""
        return tuple(self.data.shape)


@dataclass(frozen=True, slots=True)
class Quantized:
    """A tensor in blocks of GGUF: bytes, their kind (GGMLQuantizationType), and its shape."""

    data: Tensor
    kind: int
    shape: tuple[int, ...]


Packed = Tensor | Float8 | Quantized


def pack_float8(tensor: Tensor) -> Float8:
    """Return the tensor in 8 bits, each row scaled so that its largest number is 448."""
    numbers = tensor.float()
    largest = numbers.abs().amax(dim=tuple(range(1, numbers.ndim)), keepdim=True)
    scale = (largest / _LARGEST).clamp(min=_SMALLEST_SCALE)
    return Float8((numbers / scale).to(torch.float8_e4m3fn), scale)


def unpack(packed: Packed, dtype: torch.dtype) -> Tensor:
    """Return the tensor that was meant, in `dtype`, on the device that it is on."""
    if isinstance(packed, Tensor):
        return packed.to(dtype)
    if isinstance(packed, Float8):
        return (packed.data.float() * packed.scale).to(dtype)
    from diffusers.quantizers.gguf.utils import dequantize_functions

    block, size = get_block(packed.kind)
    blocks = packed.data.reshape(-1, size)
    numbers: Tensor = dequantize_functions[packed.kind](blocks, block, size, torch.float32)
    return numbers.reshape(packed.shape).to(dtype)


def take_rows(packed: Packed, rows: Tensor) -> Packed:
    """Return some rows of a matrix; the others are neither read nor unpacked."""
    if isinstance(packed, Tensor):
        return packed[rows]
    if isinstance(packed, Float8):
        data = packed.data.view(torch.uint8)[rows].view(packed.data.dtype)
        return Float8(data, packed.scale[rows] if packed.scale.ndim else packed.scale)
    height, width = packed.shape
    data = packed.data.reshape(height, -1)[rows]
    return Quantized(data.flatten(), packed.kind, (len(rows), width))


def list_tensors(packed: Packed) -> tuple[Tensor, ...]:
    """Return the tensors that it is stored in."""
    if isinstance(packed, Tensor):
        return (packed,)
    return (packed.data, packed.scale) if isinstance(packed, Float8) else (packed.data,)


def with_tensors(packed: Packed, tensors: Sequence[Tensor]) -> Packed:
    """Return the same, stored in other tensors, such as copies on another device."""
    if isinstance(packed, Tensor):
        return tensors[0]
    return Float8(*tensors) if isinstance(packed, Float8) else replace(packed, data=tensors[0])


def count_bytes(packed: Packed) -> int:
    """Return how many bytes it takes."""
    return sum(tensor.nbytes for tensor in list_tensors(packed))


@cache
def get_block(kind: int) -> tuple[int, int]:
    """Return the numbers and the bytes of a block of GGUF."""
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(kind)]
    return int(block), int(size)
