"""The converter of ncnn's files: the numbers arrive where they belong, and damage is refused."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from filmgate.errors import BadWeights
from tests.models.ncnn import convert

SCALE, CHANNELS = 2, 4
PARAM = """7767517
9 10
Input in 0 1 data
Split split 1 2 data a b
Convolution c0 1 1 b c 0=4 1=3 4=1 5=1 6=108
PReLU p1 1 1 c d 0=4
Convolution c2 1 1 d e 0=12 1=3 4=1 5=1 6=432
PixelShuffle s3 1 1 e f 0=2
Interp i4 1 1 a g 0=1 1=2.0e+00 2=2.0e+00
BinaryOp add5 2 1 f g out
Interp half 1 1 out output 0=3 1=5.0e-01 2=5.0e-01
"""


def make_numbers() -> tuple[bytes, dict[str, torch.Tensor]]:
    """Return a .bin of PARAM, and its tensors."""
    rng = np.random.default_rng(0)
    data, tensors = b"", {}
    for n, (inputs, outputs) in ((0, (3, CHANNELS)), (2, (CHANNELS, 3 * SCALE**2))):
        weights = rng.normal(size=(outputs, inputs, 3, 3)).astype("<f2")
        bias = rng.normal(size=outputs).astype("<f4")
        data += struct.pack("<I", 0x01306B47) + weights.tobytes() + bias.tobytes()
        tensors[f"body.{n}.weight"] = torch.from_numpy(weights.astype(np.float32))
        tensors[f"body.{n}.bias"] = torch.from_numpy(bias)
        if not n:
            slopes = rng.normal(size=outputs).astype("<f4")
            data += slopes.tobytes()
            tensors["body.1.weight"] = torch.from_numpy(slopes)
    return data, tensors


def write(folder: Path, param: str, numbers: bytes) -> tuple[Path, Path]:
    paths = folder / "net.param", folder / "net.bin"
    paths[0].write_text(param)
    paths[1].write_bytes(numbers)
    return paths


def test_numbers_are_named_as_in_the_published_network(tmp_path: Path) -> None:
    numbers, wanted = make_numbers()
    found = convert(*write(tmp_path, PARAM, numbers))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


DAMAGE: dict[str, tuple[Callable[[str], str], Callable[[bytes], bytes], str]] = {
    "short": (str, lambda data: data[:-1], "ends at byte"),
    "long": (str, lambda data: data + b"\0" * 4, "wanted 1,168"),
    "float32": (str, lambda data: b"\0" * 4 + data[4:], "the flag 0x0 at 0"),
    "infinite": (str, lambda data: data[:4] + b"\x00\x7c" + data[6:], "not finite"),
    "magic": (lambda text: "1" + text, bytes, "no list of layers"),
    "binary": (lambda text: text.replace("4=1", "4=\0", 1), bytes, "no list of layers"),
    "other layers": (lambda text: text.replace("PReLU", "ReLU"), bytes, "not the chain"),
    "strided": (lambda text: text.replace("4=1", "3=2 4=1", 1), bytes, "wanted {0: 4, 1: 3"),
    "huge": (lambda text: text.replace("0=4 1=3", "0=99999999 1=3"), bytes, "a Convolution with"),
    "other order": (lambda text: text.replace("1 1 d e", "1 1 c e"), bytes, "takes ('c',)"),
    "not added": (lambda text: text.replace("2 1 f g out", "2 1 f f out"), bytes, "not added"),
    "multiplied": (lambda text: text.replace("f g out", "f g out 0=2"), bytes, "not added"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name: str, tmp_path: Path) -> None:
    change_param, change_numbers, message = DAMAGE[name]
    numbers, _ = make_numbers()
    paths = write(tmp_path, change_param(PARAM), change_numbers(numbers))
    with pytest.raises(BadWeights) as caught:
        convert(*paths)
    assert message in str(caught.value)
