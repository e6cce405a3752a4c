"""Opening weights: tensors and nothing else, and mismatches told."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from filmgate.errors import BadWeights
from filmgate.weights.state_dict import fitting, tensors

HELD = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}


def same(found: dict[str, Tensor]) -> bool:
    return found.keys() == HELD.keys() and all(torch.equal(found[k], HELD[k]) for k in HELD)


def test_safetensors_are_opened(tmp_path: Path) -> None:
    save_file(HELD, tmp_path / "x.safetensors")
    assert same(tensors(tmp_path / "x.safetensors"))


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("wrapped", ["", "state_dict", "params_ema"])
def test_what_torch_saved_is_opened_when_it_holds_tensors_only(
    suffix: str, wrapped: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x{suffix}"
    torch.save({wrapped: HELD, "epoch": 3} if wrapped else HELD, path)
    assert same(tensors(path))


class Stranger:
    """What pickle would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)

    def __init__(self, place: Path) -> None:
        self.place = place


def test_a_strangers_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Stranger(tmp_path / "made")}, tmp_path / "x.pt")
    (tmp_path / "y.pth").write_bytes(pickle.dumps({"a": Stranger(tmp_path / "made")}, 2))
    for name in ("x.pt", "y.pth"):
        with pytest.raises(BadWeights, match="holds more than tensors"):
            tensors(tmp_path / name)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("x.safetensors", b"", "can't be read as weights"),
        ("x.safetensors", b"\xff" * 100, "can't be read as weights"),
        ("x.safetensors", b"\x02" + b"\0" * 7 + b"{}x", "can't be read as weights"),
        ("x.pt", b"", "can't be read as weights"),
        ("x.pt", b"\x80\x02]q\x00u.", "can't be read as weights"),
        ("x.pt", b"PK\x03\x04" + b"\0" * 90, "can't be read as weights"),
        ("x.bin", b"abc", r"ends with '\.bin': wanted \.safetensors or one of \.pt"),
    ],
)
def test_damage_is_told(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadWeights, match=said):
        tensors(tmp_path / name)


@pytest.mark.parametrize("held", [[1, 2], {"a": 3}, {1: torch.ones(1)}, {"state_dict": {"a": "x"}}])
def test_what_is_no_tensors_by_name_is_told(held: object, tmp_path: Path) -> None:
    torch.save(held, tmp_path / "x.pt")
    with pytest.raises(BadWeights, match=r"wanted (nothing but )?tensors by name"):
        tensors(tmp_path / "x.pt")


def test_other_names_and_shapes_are_told_with_counts() -> None:
    wanted = {"a.weight": (3, 2), "a.bias": (2,)} | {f"b{n}": (1,) for n in range(5)}
    with pytest.raises(BadWeights) as error:
        fitting(HELD | {"c": torch.tensor(1.0)}, wanted, Path("x.pt"))
    assert str(error.value) == (
        "x.pt holds 3 tensors, of another model or another version: 5 of 7 are missing: b0, b1, b2 "
        "...; 1 are not known: c; 1 have another shape: a.weight is 2x3, wanted 3x2; wanted the "
        "file that filmgate models names"
    )
    assert fitting(HELD, {"a.weight": (2, 3), "a.bias": (2,)}, Path("x.pt")) is HELD
