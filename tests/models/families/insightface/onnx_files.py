"""Write small networks as files of ONNX, without its library: the format is protobuf's."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Length = int | str  # a name: of any length
Shape = Sequence[Length]
_FLOAT, _INT64 = 1, 7


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    value = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    parts = []
    while True:
        value, low = value >> 7, value & 127
        parts.append(low | (128 if value else 0))
        if not value:
            return bytes(parts)


def tensor(name: str, values: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> bytes:
    """Return a constant of the graph."""
    kind = _INT64 if values.dtype == np.int64 else _FLOAT
    dims = b"".join(_number(1, length) for length in values.shape)
    return dims + _number(2, kind) + _bytes(8, name) + _bytes(9, values.tobytes())


def node(kind: str, inputs: str, output: str, **numbers: int | Sequence[int]) -> bytes:
    """Return an operation; `inputs` are names with spaces between them."""
    parts = [_bytes(1, name) for name in inputs.split()] + [_bytes(2, output), _bytes(4, kind)]
    for name, value in numbers.items():
        many = not isinstance(value, int)
        values = b"".join(_number(8, one) for one in value) if many else _number(3, value)  # type: ignore[union-attr,arg-type]
        parts.append(_bytes(5, _bytes(1, name) + values + _number(20, 7 if many else 2)))
    return b"".join(parts)


def write(
    path: Path, nodes: Sequence[bytes], constants: Sequence[bytes],
    inputs: Mapping[str, Shape], outputs: Mapping[str, Shape],
) -> Path:  # fmt: skip
    """Write a model of these operations, in order."""
    graph = [_bytes(1, one) for one in nodes] + [_bytes(2, "graph")]
    graph += [_bytes(5, one) for one in constants]
    graph += [_bytes(11, _describe(*one)) for one in inputs.items()]
    graph += [_bytes(12, _describe(*one)) for one in outputs.items()]
    opset = _bytes(8, _bytes(1, "") + _number(2, 13))
    path.write_bytes(_number(1, 8) + _bytes(7, b"".join(graph)) + opset)
    return path


def _describe(name: str, shape: Shape) -> bytes:
    lengths = [_number(1, one) if isinstance(one, int) else _bytes(2, one) for one in shape]
    dims = b"".join(_bytes(1, one) for one in lengths)
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, _FLOAT) + _bytes(2, dims)))
