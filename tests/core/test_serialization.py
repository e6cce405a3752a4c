"""Serialization: plain values are restored bit for bit, others refused with their path."""

import math
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from typing_extensions import TypeAliasType

from filmgate.core import serialization
from filmgate.core.frame import Frame, Position
from filmgate.core.serialization import dumps, loads
from filmgate.errors import FilmgateError, StageContractError

Scalar = TypeVar("Scalar", bound=np.generic)
Named = TypeAliasType("Named", np.ndarray)
Generic = TypeAliasType("Generic", np.ndarray[Any, np.dtype[Scalar]], type_params=(Scalar,))


@dataclass(frozen=True)
class Pair:
    left: Any
    right: Any = None


@dataclass
class Loose:
    value: int = 0


def equal(a: Any, b: Any) -> bool:
    """Compare bit for bit: nan equals nan, -0.0 is not 0.0, 1 is not True."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return bool(a.hex() == b.hex())  # nan too, except for its payload
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, dict):
        return equal(tuple(a.items()), tuple(b.items()))
    if isinstance(a, Pair):
        return equal((a.left, a.right), (b.left, b.right))
    if isinstance(a, np.ndarray):
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    return bool(a == b)


arrays = npst.arrays(
    st.sampled_from(["?", "u1", "u2", "i4", "i8", "f2", "f4", "f8", "c8", ">i2"]),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3),
)
leaves = (
    st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.fractions() | arrays
)
plain = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.booleans(), inner, max_size=4)
        | st.builds(Pair, inner, st.none() | inner)
    ),
    max_leaves=12,
)


@given(plain)
def test_plain_values_are_restored_bit_for_bit(value: Any) -> None:
    assert equal(loads(dumps(value)), value)


@given(plain)
def test_the_bytes_depend_only_on_the_value(value: Any) -> None:
    data = dumps(value)
    assert dumps(value) == data
    assert dumps(loads(data)) == data


def test_a_frame_is_restored_with_its_extras() -> None:
    frame = Frame(3, Fraction(1, 8), Fraction(1, 24), np.arange(6).reshape(2, 3), {"cut": True})
    restored = loads(dumps(frame))
    assert (restored.position, restored.duration, restored.extras) == (
        frame.position,
        frame.duration,
        {"cut": True},
    )
    assert equal(restored.image, frame.image)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float16", "bfloat16", "float32"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_tensors_are_restored(dtype: str, shape: tuple[int, ...]) -> None:
    import torch

    tensor = (torch.arange(math.prod(shape)).reshape(shape) * 3).to(getattr(torch, dtype))
    restored = loads(dumps((tensor,)))[0]
    assert restored.dtype == tensor.dtype
    assert restored.shape == tensor.shape
    assert torch.equal(restored, tensor)


def test_gpu_tensors_are_restored_on_the_cpu_if_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    entry = {"dtype": "int64", "shape": [4], "device": "cuda:1"}
    blob = torch.arange(4).numpy().tobytes()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert torch.equal(serialization._decode_tensor(entry, blob), torch.arange(4))
    assert serialization._decode_tensor({**entry, "shape": [0]}, b"").device.type == "cpu"


def test_fields_may_have_a_type_that_a_type_statement_names() -> None:
    for hint in (Named, Generic[np.float32]):  # NDArray is such a name from NumPy 2.5 on
        cls = make_dataclass("Aliased", [("grid", hint)], frozen=True)
        cls.__module__ = __name__
        globals()["Aliased"] = cls
        grid = np.arange(4, dtype=np.float32)
        assert equal(loads(dumps(cls(grid))).grid, grid)
        with pytest.raises(FilmgateError, match="wanted"):
            loads(dumps(cls("text")))


def test_views_of_arrays_and_tensors_are_restored() -> None:
    import torch

    array = np.arange(24).reshape(4, 6)[::2, ::-3]
    tensor = torch.arange(12.0).reshape(3, 4).T[1:]
    restored = loads(dumps((array, tensor)))
    assert equal(restored[0], array.copy())
    assert torch.equal(restored[1], tensor)


def test_an_image_referenced_twice_is_written_once() -> None:
    image = np.zeros(10_000, np.uint8)
    data = dumps((image, {"again": image}))
    assert len(data) < 11_000
    first, second = loads(data)
    assert first is second["again"]


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ([1], "state is"),
        ((0, {1}), r"state\[1\] is"),
        ({"a": (1, [2])}, r"state\['a'\]\[1\] is"),
        (Pair(1, Loose()), r"state\.right is Loose"),
        ((np.float32(1),), r"state\[0\] is"),
        (np.array([object()]), "state is"),
        (Pair(lambda: 0), r"state\.left is"),
        (iter(()), "state is"),
        (True + 1j, "state is"),
    ],
)
def test_what_is_not_plain_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(StageContractError, match=f"^{path}.*use bool int float"):
        dumps(value)


def test_a_class_that_is_not_loaded_is_not_imported() -> None:
    data = dumps(Position(1, Fraction(2)))
    renamed = data.replace(b"filmgate.core.frame:Position", b"filmgate_core_frame:Position")
    with pytest.raises(FilmgateError, match="not loaded"):
        loads(renamed)
    code = f"from filmgate.core.serialization import loads; loads({dumps(Pair(1))!r})"
    result = run_python(["-c", code])
    assert "which this program has not loaded" in result.stderr


def test_only_dataclasses_are_called() -> None:
    data = dumps(Pair(1)).replace(f"{__name__}:Pair".encode(), f"{__name__}:math".encode())
    with pytest.raises((FilmgateError, ValueError)):
        loads(data)


def run_python(arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
