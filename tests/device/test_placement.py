"""The device and dtype that models run on, and networks loaded once."""

from pathlib import Path

import pytest
import torch

from filmgate.core.model_cache import ModelCache
from filmgate.device.placement import Placement, choose_device
from filmgate.errors import BadSetting, NotLoaded
from filmgate.tasks.upscale import Upscale


def test_auto_is_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for available, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        assert choose_device().device == device
    assert choose_device("cpu").device == "cpu"


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("cuda").device == "cuda"
    assert choose_device("cuda:0").device == "cuda:0"
    with pytest.raises(BadSetting, match=r"device is cuda:1, and torch finds cuda:0 here: pass"):
        choose_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(BadSetting, match="torch finds no CUDA device here: pass --device auto"):
        choose_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(BadSetting, match="torch finds no Apple GPU here"):
        choose_device("mps")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "CPU"])
def test_an_unknown_device_is_refused_by_every_task(name: str) -> None:
    with pytest.raises(BadSetting, match="pass auto, cpu, cuda, cuda:1 or mps"):
        Upscale(device=name)


def test_the_default_dtype_depends_on_the_device() -> None:
    cpu, gpu = Placement("cpu"), Placement("cuda:1")
    assert cpu.choose_dtype() == torch.float32
    assert gpu.choose_dtype() == torch.float16
    assert gpu.choose_dtype(half=False) == torch.float32
    assert gpu.choose_dtype("bfloat16") == cpu.choose_dtype("bfloat16") == torch.bfloat16


def test_a_network_that_does_not_fit_on_the_device_is_an_error_with_advice(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")

    def load(path: Path, device: str) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")

    message = (
        r"weights does not fit into the memory of cuda:1 \(CUDA out of memory. .* GiB\): close"
    )
    with pytest.raises(NotLoaded, match=message) as caught:
        Placement("cuda:1").load(load, tmp_path / "weights")
    assert caught.value.__context__ is None  # a traceback would keep what was loaded

    def fail(path: Path, device: str) -> None:
        raise RuntimeError("shape")

    with pytest.raises(RuntimeError, match="shape"):
        Placement().load(fail, tmp_path / "weights")


def test_a_network_is_loaded_once_until_its_file_changes(tmp_path: Path) -> None:
    calls = list[tuple[Path, str, str]]()

    def load(path: Path, dtype: str, device: str) -> object:
        calls.append((path, dtype, device))
        return object()

    file, models = tmp_path / "weights", ModelCache()
    file.write_bytes(b"1")
    one = choose_device("cpu", models).load(load, file, "float32")
    assert choose_device("cpu", models).load(load, file, "float32") is one
    assert calls == [(file, "float32", "cpu")]
    file.write_bytes(b"22")
    assert choose_device("cpu", models).load(load, file, "float32") is not one
