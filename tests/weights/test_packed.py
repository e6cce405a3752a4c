"""Tensors in 8 bits and in blocks of GGUF, unpacked as their authors do."""

import gguf
import numpy as np
import pytest
import torch

from filmgate.weights.packed import (
    Float8,
    Quantized,
    count_bytes,
    get_block,
    list_tensors,
    pack_float8,
    unpack,
    with_tensors,
)


def test_float8_keeps_rows_of_any_size_within_a_sixteenth() -> None:
    chance = torch.Generator().manual_seed(0)
    tensor = torch.randn(8, 64, generator=chance) * torch.logspace(-6, 6, 8)[:, None]
    tensor[3] = 0
    packed = pack_float8(tensor)
    back = unpack(packed, torch.float32)
    assert count_bytes(packed) == 8 * 64 + 8 * 4
    largest = tensor.abs().amax(dim=1, keepdim=True)
    assert (back - tensor).abs().le(tensor.abs() / 15.9 + largest / 2**17).all()
    assert torch.equal(back[3], torch.zeros(64))
    assert (back - tensor)[0].abs().sum() > 0  # 8 bits are fewer than 32


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K",
                                  "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"])  # fmt: skip
def test_blocks_of_gguf_are_unpacked_as_by_its_own_package(name: str) -> None:
    kind = {one.name: one for one in gguf.GGMLQuantizationType}[name]
    block, size = get_block(int(kind))
    chance = np.random.default_rng(0)
    data = chance.integers(0, 256, (4, 2 * size), dtype=np.uint8)
    if name in ("Q4_0", "Q8_0"):  # of numbers, to have real scales too
        data = gguf.quants.quantize(chance.standard_normal((4, 2 * block), np.float32), kind)
    expected = np.nan_to_num(gguf.quants.dequantize(data, kind), nan=0, posinf=0, neginf=0)
    packed = Quantized(torch.from_numpy(data), int(kind), (4, 2 * block))
    found = torch.nan_to_num(unpack(packed, torch.float32), nan=0, posinf=0, neginf=0).numpy()
    assert found.shape == (4, 2 * block)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-6 * np.abs(expected).max())


def test_tensors_can_be_replaced_by_copies() -> None:
    for packed in (torch.ones(2), pack_float8(torch.ones(2, 2)), Quantized(torch.ones(3), 2, (4,))):
        copies = [tensor + 1 for tensor in map(torch.Tensor.float, list_tensors(packed))]
        copied = with_tensors(packed, copies)
        assert type(copied) is type(packed)
        for one, other in zip(list_tensors(copied), copies, strict=True):
            assert one is other
    assert Float8(torch.ones(2, 3), torch.ones(())).shape == (2, 3)
