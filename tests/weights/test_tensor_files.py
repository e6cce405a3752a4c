"""Tensors of safetensors, read one by one: in parts, in 8 bits with scales, and damaged."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from filmgate.errors import BadWeights
from filmgate.weights.packed import Float8, unpack
from filmgate.weights.tensor_files import RenamedFile, SafetensorsFiles, open_tensors


def test_parts_are_one_file(tmp_path: Path) -> None:
    save_file({"a": torch.arange(3.0)}, tmp_path / "1.safetensors")
    save_file({"b": torch.arange(4.0)}, tmp_path / "2.safetensors")
    file = open_tensors([tmp_path / "1.safetensors", tmp_path / "2.safetensors"])
    assert file.shapes == {"a": (3,), "b": (4,)}
    renamed = RenamedFile(file, {"c": "b"})
    assert renamed.shapes == {"c": (4,)}
    assert torch.equal(unpack(renamed.read("c"), torch.float32), torch.arange(4.0))
    save_file({"b": torch.arange(4.0)}, tmp_path / "3.safetensors")
    with pytest.raises(BadWeights, match="holds 'b', and another part too"):
        open_tensors([tmp_path / "2.safetensors", tmp_path / "3.safetensors"])


@pytest.mark.parametrize("end", [".scale_weight", ".weight_scale"])
def test_weights_in_8_bits_have_the_scale_next_to_them(end: str, tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    weight = torch.tensor([[1.0, 2], [3, 4]])
    tensors = {"layer.weight": weight.to(torch.float8_e4m3fn), f"layer{end}": torch.tensor([0.5]),
               "other.weight": weight.to(torch.float8_e4m3fn), "scaled_fp8": torch.zeros(1),
               "layer.scale_input": torch.ones(1)}  # fmt: skip
    save_file(tensors, path)
    file = SafetensorsFiles([path])
    assert set(file.shapes) == {"layer.weight", "other.weight"}
    layer, other = file.read("layer.weight"), file.read("other.weight")
    assert isinstance(layer, Float8)
    assert torch.equal(unpack(layer, torch.float32), weight / 2)
    assert torch.equal(unpack(other, torch.float32), weight)
    path = tmp_path / "other.safetensors"
    save_file({**tensors, f"layer{end}": torch.ones(3)}, path)
    with pytest.raises(BadWeights, match=r"holds 3 scales for layer\.weight, expected 1 or 2"):
        SafetensorsFiles([path]).read("layer.weight")


def test_what_is_no_file_of_floats_is_named(tmp_path: Path) -> None:
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.arange(3)}, path)
    with pytest.raises(BadWeights, match="holds 'a' as I64: pass a file of F32"):
        open_tensors([path])
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(BadWeights, match="cannot be read as safetensors"):
        open_tensors([path])
    with pytest.raises(BadWeights, match="is a folder"):
        open_tensors([tmp_path])
    other = tmp_path / "some.ckpt"
    other.write_bytes(b"")
    with pytest.raises(BadWeights, match=r"ends with '\.ckpt': pass \.safetensors or \.gguf"):
        open_tensors([other])
    with pytest.raises(BadWeights, match="cannot be read"):
        open_tensors([tmp_path / "none.safetensors"])
