"""Blocks of a network wherever their weights are: the same results, at most two at a time."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from filmgate.device.block_stream import Block, BlockStack, BlockWeights, Home
from filmgate.weights.packed import pack_float8, unpack

COUNT = 5


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16, device="meta")
        self.small = nn.Parameter(torch.empty(16, device="meta", dtype=torch.float64))

    def forward(self, states: Tensor, *, scale: float) -> Tensor:
        return torch.tanh(self.linear(states) * scale + self.small.float())


class Source:
    """Blocks made by rule; counts what is asked of it."""

    def __init__(self) -> None:
        self.reads, self.prepared = list[int](), list[int]()
        self.fails = set[int]()

    def read(self, index: int) -> Block:
        self.reads.append(index)
        if index in self.fails:
            self.fails.discard(index)
            raise OSError("the disk failed")
        chance = torch.Generator().manual_seed(index)
        # blocks of different sizes as they are stored
        weight: Any = torch.randn(16, 16, generator=chance)
        return {
            "linear.weight": pack_float8(weight) if index % 2 else weight,
            "linear.bias": torch.randn(16, generator=chance),
            "small": torch.randn(16, generator=chance, dtype=torch.float64),
        }

    def prepare(self, index: int, block: Block) -> Block:
        self.prepared.append(index)
        return {**block, "small": unpack(block["small"], torch.float64) * 3}

    def restore(self, index: int, block: Block) -> Mapping[str, Tensor]:
        return {name: one if isinstance(one, Tensor) else unpack(one, torch.float32)
                for name, one in block.items()}  # fmt: skip


def build(source: Source, resident: int, home: Home) -> BlockStack:
    weights = BlockWeights(COUNT, source.read, source.prepare, source.restore)
    return BlockStack(Layer(), weights, "cpu", resident, home)


def run(stack: BlockStack) -> Tensor:
    states = torch.linspace(-1, 1, 32).reshape(2, 16)
    for layer in stack.make_modules():
        states = layer(states, scale=0.5)
    return states


def test_results_are_equal_in_every_placement_and_pass() -> None:
    expected = run(build(Source(), COUNT, "memory"))
    assert expected.std() > 0.1
    homes: tuple[Home, ...] = ("memory", "disk")
    for home in homes:
        for resident in range(COUNT + 1):
            stack = build(Source(), resident, home)
            for _ in range(3):
                assert torch.equal(run(stack), expected), (home, resident)
            stack.close()


def test_blocks_in_memory_are_read_and_prepared_once() -> None:
    source = Source()
    stack = build(source, 2, "memory")
    for _ in range(3):
        run(stack)
    assert source.reads == source.prepared == list(range(COUNT))


def test_no_more_than_two_streamed_blocks_are_on_the_device() -> None:
    stack = build(Source(), 1, "disk")
    assert stack._feed is not None
    run(stack)
    assert len(stack._feed._slots) == 2
    largest = max(slot.buffer.nbytes for slot in stack._feed._slots)
    assert largest < 2 * (16 * 16 * 4 + 1024)
    stack.close()


def test_block_that_could_not_be_read_is_read_again() -> None:
    source = Source()
    expected = run(build(Source(), COUNT, "memory"))
    stack = build(source, 0, "disk")
    source.fails = {3}
    with pytest.raises(OSError, match="the disk failed"):
        run(stack)
    assert torch.equal(run(stack), expected)
    stack.close()
    stack.close()
