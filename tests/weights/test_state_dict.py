"""Read files of weights: tensors and nothing else, with mismatches reported."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.errors import BadWeights
from filmgate.weights.state_dict import check_tensors, load_tensors

HELD = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def has_tensors(found: dict[str, Tensor]) -> bool:
    return found.keys() == HELD.keys() and all(torch.equal(found[k], HELD[k]) for k in HELD)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(HELD, tmp_path / "x.safetensors")
    assert has_tensors(load_tensors(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("wrapped", ["", "state_dict", "params_ema"])
def test_files_of_torch_are_read_if_they_hold_tensors_only(
    suffix: str, wrapped: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x{suffix}"
    torch.save({wrapped: HELD, "epoch": 3} if wrapped else HELD, path)
    assert has_tensors(load_tensors(path))


class Hostile:
    """An object whose unpickling creates a folder."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)

    def __init__(self, place: Path) -> None:
        self.place = place


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Hostile(tmp_path / "made")}, tmp_path / "x.pt")
    (tmp_path / "y.pth").write_bytes(pickle.dumps({"a": Hostile(tmp_path / "made")}, 2))
    for name in ("x.pt", "y.pth"):
        with pytest.raises(BadWeights, match="holds more than tensors"):
            load_tensors(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.safetensors", b"", "cannot be read as weights"),
        ("x.safetensors", b"\xff" * 100, "cannot be read as weights"),
        ("x.safetensors", b"\x02" + b"\0" * 7 + b"{}x", "cannot be read as weights"),
        ("x.pt", b"", "cannot be read as weights"),
        ("x.pt", b"\x80\x02]q\x00u.", "cannot be read as weights"),
        ("x.pt", b"PK\x03\x04" + b"\0" * 90, "cannot be read as weights"),
        ("x.bin", b"abc", r"ends with '\.bin': pass \.safetensors or one of \.pt"),
    ],
)
def test_damage_is_reported(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadWeights, match=message):
        load_tensors(tmp_path / name)


@pytest.mark.parametrize("held", [[1, 2], {"a": 3}, {1: torch.ones(1)}, {"state_dict": {"a": "x"}}])
def test_other_contents_are_refused(held: object, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(BadWeights, match=r"pass a file of (nothing but )?tensors by name"):
        load_tensors(tmp_path / "x.pt")


def test_other_names_and_shapes_are_counted() -> None:
    wanted = {"a.weight": (3, 2), "a.bias": (2,)} | {f"b{n}": (1,) for n in range(5)}
    with pytest.raises(BadWeights) as error:
        check_tensors(HELD | {"c": torch.tensor(1.0)}, wanted, Path("x.pt"))
    assert str(error.value) == (
        "x.pt holds 3 tensors, of another model or another version: 5 of 7 are missing: b0, b1, b2 "
        "...; 1 are unknown: c; 1 have another shape: a.weight is 2x3, expected 3x2; pass the "
        "file that filmgate models names"
    )
    assert check_tensors(HELD, {"a.weight": (2, 3), "a.bias": (2,)}, Path("x.pt")) is HELD
