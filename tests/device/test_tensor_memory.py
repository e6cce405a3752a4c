"""Live bytes of tensors, for new and known shapes."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.device.tensor_memory import LiveMemory

MB = 1 << 20


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_live_bytes_follow_the_tensors(device: str) -> None:
    with torch.inference_mode(), LiveMemory() as live:
        a = torch.ones(MB, dtype=torch.uint8, device=device)
        assert live.bytes == MB
        b = a + a
        assert (live.bytes, live.peak) == (2 * MB, 2 * MB)
        view = b[::2].view(2, -1)
        assert live.bytes == 2 * MB, "a view takes none"
        del b
        assert live.bytes == 2 * MB, "which the view keeps"
        del view
        assert (live.bytes, live.peak) == (MB, 2 * MB)


def test_a_known_shape_counts_like_a_new_one() -> None:
    def network(x: Tensor) -> Tensor:
        y = functional.interpolate(conv(x), scale_factor=2, mode="bilinear").relu_()
        one, two = y.chunk(2, 1)
        best, _ = torch.cat([one * two, one], 1).max(1)
        return functional.dropout(best, 0.5, training=False)  # hands on what it was given

    conv = nn.Conv2d(4, 8, 3, padding=1, device="meta").requires_grad_(False)
    peaks, shapes = [], []
    with torch.inference_mode(), LiveMemory() as live:
        for _ in range(3):
            live.peak = live.bytes
            made = network(torch.empty(1, 4, 64, 64, device="meta"))
            peaks.append((live.peak, live.bytes))
            shapes.append((made.shape, made.stride(), made.dtype))
            del made
            assert live.bytes == 0
    assert peaks[0] == peaks[1] == peaks[2]
    assert peaks[0][1] == 128 * 128 * 4
    assert len(set(shapes)) == 1


def test_other_arguments_give_another_result() -> None:
    x = torch.empty(2, 3, device="meta")
    with LiveMemory():
        assert [torch.sum(x, 0).shape, torch.sum(x, 1).shape, torch.sum(x, 0).shape] == [
            (3,), (2,), (3,)]  # fmt: skip
        assert torch.add(x, 1).dtype == torch.add(x, 1.0).dtype == torch.float32
        full = torch.empty(2, 3, dtype=torch.int32, device="meta")
        assert torch.mul(full, 1).dtype == torch.int32
        assert torch.mul(full, 1.0).dtype == torch.float32


def test_half_precision_convolutions_count_their_layout_copies() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, device="meta", dtype=torch.float16, bias=False)
    conv.requires_grad_(False)
    x = torch.empty(1, 4, 256, 256, dtype=torch.float16, device="meta")
    sizes = []
    for layouts in (False, True):
        with torch.inference_mode(), LiveMemory(layouts=layouts) as live:
            conv(x)
        sizes.append(live.peak)
    one = 4 * 256 * 256 * 2
    assert sizes == [one, 3 * one + 4 * 4 * 9 * 2]


def test_list_of_parts_takes_no_memory_each_time() -> None:
    x = torch.empty(4, 256, device="meta")
    with LiveMemory() as live:
        live.add(x)
        for _ in range(2):
            assert [part.shape for part in torch.unsafe_chunk(x, 2)] == [(2, 256)] * 2
    assert live.peak == x.nbytes
