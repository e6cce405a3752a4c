"""Why there is no GPU, as the user can act on it."""

import pytest
import torch

from filmgate.device import diagnosis
from filmgate.device.diagnosis import explain_no_gpu
from filmgate.planning.device_memory import explain_unused_vram
from filmgate.planning.limits import Limits


@pytest.mark.parametrize(
    ("cuda", "driver", "reason"),
    [
        (None, False, "is a build for the CPU"),
        ("13.2", False, "there is no NVIDIA driver"),
        ("13.2", True, "the driver shows no GPU that torch, built for CUDA 13.2, can use"),
    ],
)
def test_reason_without_a_gpu(
    cuda: str | None, driver: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(diagnosis, "_has_driver", lambda: driver)
    assert reason in explain_no_gpu()
    notice = explain_unused_vram(Limits(vram="8GB"))
    assert notice.startswith("--vram 8GB has no effect: ")
    assert reason in notice
    assert explain_unused_vram(Limits()) == ""


def test_nothing_is_said_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert explain_no_gpu() == ""
    assert explain_unused_vram(Limits(vram="8GB")) == ""
