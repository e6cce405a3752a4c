"""Tensors that pretend to be on a CUDA device raise where real ones do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from filmgate.core.serialization import dumps, loads
from filmgate.core.values import count_bytes
from filmgate.testing.fake_cuda import CudaTensor, fake_cuda

pytestmark = pytest.mark.usefixtures("no_gradients")
HERE = torch.arange(6.0).view(2, 3)

MIXES: dict[str, Callable[[Tensor], object]] = {
    "sum": lambda there: there + HERE,
    "sum, in place": lambda there: HERE.clone().add_(there),
    "product": lambda there: torch.mm(HERE, there.T),
    "both in one": lambda there: torch.cat([there, HERE]),
    "a network": lambda there: nn.Conv2d(1, 1, 1)(there[None, None]),
    "a weight": lambda there: functional.conv2d(there[None, None], torch.ones(1, 1, 1, 1)),
    "places on the device": lambda there: HERE[there[0, :1].long()],
    "values to set": lambda there: there.index_put_((torch.tensor([0]),), HERE[:1]),
    "array": lambda there: there.numpy(),
    "array by numpy": np.asarray,
    "into an array": lambda there: np.copyto(np.zeros((2, 3)), there),
    "too many maps for cuDNN": lambda there: functional.grid_sample(
        there.new_zeros(65_536, 1, 1, 1), there.new_zeros(65_536, 1, 1, 2), align_corners=True
    ),
}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("name", MIXES)
def test_what_cuda_refuses_is_refused(name: str, inference: bool) -> None:
    with torch.inference_mode(inference), fake_cuda():
        there = HERE.to("cuda")
        with pytest.raises((RuntimeError, TypeError), match=r"device|cuDNN"):
            MIXES[name](there)


def both(function: Callable[[Tensor], Any]) -> tuple[Any, Any]:
    """Return what a function gives on the pretended device, and on the CPU."""
    here = function(HERE.clone())
    with fake_cuda():
        return function(HERE.cuda()), here


SAME: dict[str, Callable[[Tensor], Any]] = {
    "a number": lambda x: 2 * x + torch.tensor(3.0),
    "in place": lambda x: (x.view(3, 2)[1:].mul_(7), x)[1],
    "set": lambda x: _set(x, 9.0),
    "set by place": lambda x: x.index_put_((torch.tensor([1]),), x[:1] * 8),
    "places": lambda x: x[torch.tensor([1, 0])],
    "out": lambda x: (torch.lerp(x, x + 1, 0.5, out=(y := torch.empty_like(x))[:, :]), y)[1],
    "copied to": lambda x: x.copy_(HERE + 1),
    "strided": lambda x: x.as_strided((2, 2), (1, 2)),
    "drawn larger": lambda x: functional.interpolate(x[None, None], (5, 7), mode="bilinear"),
    "sampled": lambda x: functional.grid_sample(
        x[None, None], x.new_zeros(1, 2, 2, 2), align_corners=True
    ),
    "several": lambda x: x.max(1),
    "made there": lambda x: torch.arange(3, device=x.device) + x.new_tensor([1.0, 2.0, 3.0]),
    "made there by default": lambda x: _make(x.device),
    "autocast off": lambda x: _multiply_without_autocast(x).contiguous(),
    "a network": lambda x: _build(x.device)(x[None, None]),
    "float16": lambda x: x.half().sigmoid(),
}


def _set(x: Tensor, value: float) -> Tensor:
    x[:, 1] = value
    return x


def _make(device: torch.device) -> Tensor:
    with device:
        return torch.ones(2)


def _multiply_without_autocast(x: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return x @ x.T


def _build(device: torch.device) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2)).to(device).eval()


@pytest.mark.parametrize("name", SAME)
def test_results_stay_on_the_device_and_have_the_same_bits(name: str) -> None:
    found, wanted = both(SAME[name])
    for one, other in zip(found, wanted, strict=True):
        assert one.device == torch.device("cuda", 0)
        assert one.dtype == other.dtype
        assert torch.equal(one.cpu(), other)
        assert one.tolist() == other.tolist()


def test_tensors_go_to_the_device_and_back() -> None:
    with fake_cuda():
        there = HERE.to("cuda:0")
        assert type(there.cpu()) is type(there.to("cpu")) is Tensor
        there.add_(1)
        assert torch.equal(HERE, torch.arange(6.0).view(2, 3))
        target = torch.zeros(2, 3)
        target[...] = there
        assert torch.equal(target, HERE + 1)
        assert float(there.max()) == 6.0
        assert there.numpy(force=True).sum() == 21
        assert repr(there).endswith("on cuda:0")
        assert there.is_cuda
        assert count_bytes(there) == 24
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]


def test_a_state_on_the_device_is_a_plain_value() -> None:
    with fake_cuda():
        state = loads(dumps((HERE.cuda(), HERE)))
        assert [value.device.type for value in state] == ["cuda", "cpu"]
        assert isinstance(state[0], CudaTensor)
        assert torch.equal(state[0].cpu(), HERE)
    assert loads(dumps((HERE,)))[0].device.type == "cpu"
