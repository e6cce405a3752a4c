"""GGUF: tensors of any type, and damaged files, which end quickly and are named."""

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from filmgate.errors import BadWeights
from filmgate.weights.gguf_file import GgufFile
from filmgate.weights.packed import Quantized, unpack

CHANCE = np.random.default_rng(0)
PLAIN = CHANCE.standard_normal((3, 5)).astype(np.float32)
LARGE = CHANCE.standard_normal((4, 64)).astype(np.float32)
Q8 = gguf.GGMLQuantizationType.Q8_0


def write(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "wan")
    writer.add_array("list", ["some", "words"])
    writer.add_array("numbers", [1.5, 2.5])
    writer.add_bool("flag", True)
    writer.add_tensor("plain", PLAIN)
    writer.add_tensor("half", PLAIN.astype(np.float16))
    writer.add_tensor("large", gguf.quants.quantize(LARGE, Q8), raw_dtype=Q8)
    writer.add_tensor("brain", gguf.quants.quantize(PLAIN, gguf.GGMLQuantizationType.BF16),
                      raw_dtype=gguf.GGMLQuantizationType.BF16)  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_tensors_are_those_that_were_written(tmp_path: Path) -> None:
    file = GgufFile(write(tmp_path / "some.gguf"))
    assert file.architecture == "wan"
    assert file.shapes == {"plain": (3, 5), "half": (3, 5), "large": (4, 64), "brain": (3, 5)}
    plain, half, brain = (file.read(name) for name in ("plain", "half", "brain"))
    assert isinstance(plain, torch.Tensor)
    assert torch.equal(plain, torch.from_numpy(PLAIN))
    assert isinstance(half, torch.Tensor)
    assert torch.equal(half, torch.from_numpy(PLAIN).half())
    assert isinstance(brain, torch.Tensor)
    assert torch.equal(brain, torch.from_numpy(PLAIN).bfloat16())
    large = file.read("large")
    assert isinstance(large, Quantized)
    expected = gguf.quants.dequantize(gguf.quants.quantize(LARGE, Q8), Q8)
    np.testing.assert_array_equal(unpack(large, torch.float32).numpy(), expected)


def head(tensors: int, fields: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + rest


def text(words: bytes) -> bytes:
    return struct.pack("<Q", len(words)) + words


def info(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return (text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
            + struct.pack("<IQ", kind, offset))  # fmt: skip


MOST = (1 << 64) - 1
DAMAGED = {
    "empty": (b"", "is no GGUF file"),
    "another format": (b"PK\3\4" + bytes(64), "is no GGUF file"),
    "another version": (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
    "many tensors": (head(MOST, 0), "tensors and"),
    "many fields": (head(0, MOST), "fields"),
    "endless name": (head(0, 1, struct.pack("<Q", MOST)), "ends within its header"),
    "endless list": (head(0, 1, text(b"a") + struct.pack("<IIQ", 9, 4, MOST)), "ends within"),
    "endless words": (head(0, 1, text(b"a") + struct.pack("<IIQ", 9, 8, MOST)), "a list has"),
    "nested lists": (head(0, 1, text(b"a") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 20),
                     "a field has the type 9"),
    "unknown field": (head(0, 1, text(b"a") + struct.pack("<I", 99)), "a field has the type 99"),
    "no alignment": (head(0, 1, text(b"general.alignment") + struct.pack("<II", 4, 0)),
                     "aligned to 0"),
    "many dimensions": (head(1, 0, text(b"a") + struct.pack("<I", MOST >> 32)), "dimensions"),
    "unknown type": (head(1, 0, info(b"a", (32,), 77, 0)), "GGUF type 77"),
    "large tensor": (head(1, 0, info(b"a", (1 << 60, 1 << 60), 0, 0)), "does not fit"),
    "far tensor": (head(1, 0, info(b"a", (1,), 0, MOST)), "does not fit"),
    "half a block": (head(1, 0, info(b"a", (33,), 8, 0)) + bytes(999), "does not fit"),
    "same name": (head(2, 0, info(b"a", (1,), 0, 0) * 2) + bytes(99), "two tensors"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_file_is_named(kind: str, tmp_path: Path) -> None:
    data, why = DAMAGED[kind]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(data)
    with pytest.raises(BadWeights, match=why):
        GgufFile(path)


def test_file_cut_anywhere_is_damaged(tmp_path: Path) -> None:
    data = write(tmp_path / "some.gguf").read_bytes()
    path = tmp_path / "cut.gguf"
    for size in range(0, len(data) - 64, 13):
        path.write_bytes(data[:size])
        with pytest.raises(BadWeights):
            GgufFile(path)


def test_folder_and_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="is a folder"):
        GgufFile(tmp_path)
    with pytest.raises(BadWeights, match="cannot be read"):
        GgufFile(tmp_path / "none.gguf")
