"""Settings of torch are fixed in stages, and the caller's again behind them."""

import ctypes
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame
from filmgate.core.instrumentation.torch_settings import _PARTS, fix_torch_settings
from filmgate.core.prefetch import map_threads
from filmgate.testing import make_sample_video, run_chain

BACKENDS: Any = torch.backends  # its parts since torch 2.9 have no type hints


def read_settings() -> dict[str, Any]:
    backends = torch.backends
    parts = {name: attrgetter(name)(backends).fp32_precision for name in _PARTS}
    cudnn = backends.cudnn
    return {**parts, "benchmark": cudnn.benchmark, "deterministic": cudnn.deterministic}


FIXED = {**dict.fromkeys(_PARTS, "ieee"), "benchmark": False, "deterministic": True}


@contextmanager
def keep_settings() -> Any:
    """Restore them after a test that changes them."""
    before, precision = read_settings(), torch.get_float32_matmul_precision()
    try:
        yield before
    finally:
        BACKENDS.fp32_precision = "none"
        torch.set_float32_matmul_precision(precision)
        for name in _PARTS:
            attrgetter(name)(torch.backends).fp32_precision = before[name]
        torch.backends.cudnn.benchmark = before["benchmark"]


def test_stages_compute_float32_as_float32_and_callers_as_they_want() -> None:
    found = list[dict[str, Any]]()

    def note(frames: Sequence[Frame]) -> Sequence[Frame]:
        found.append(read_settings())
        return frames

    with keep_settings():
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.set_float32_matmul_precision("medium")
        theirs = read_settings()
        assert theirs != FIXED
        run_chain(Chain((each(note), Chain((each(note),)))), make_sample_video(2))
        assert found == [FIXED] * 4
        assert read_settings() == theirs
        assert torch.get_float32_matmul_precision() == "medium"


def test_settings_are_restored_after_an_error_and_only_by_the_last_of_several() -> None:
    with keep_settings() as before:
        with pytest.raises(KeyError), fix_torch_settings():
            raise KeyError
        assert read_settings() == before
        first, second = fix_torch_settings(), fix_torch_settings()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert read_settings() == FIXED
        second.__exit__(None, None, None)
        assert read_settings() == before


def test_what_a_part_has_from_its_parent_is_not_restored_as_its_own() -> None:
    with keep_settings():
        BACKENDS.cudnn.conv.fp32_precision = "none"
        BACKENDS.fp32_precision = "tf32"
        with fix_torch_settings():
            assert read_settings() == FIXED
        assert BACKENDS.cudnn.conv.fp32_precision == "tf32"
        BACKENDS.fp32_precision = "ieee"
        assert BACKENDS.cudnn.conv.fp32_precision == "ieee"


def test_torch_before_2_9_has_other_names_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = SimpleNamespace(benchmark=True, deterministic=False, allow_tf32=True)
    calls = list[str]()
    old = SimpleNamespace(
        backends=SimpleNamespace(cudnn=cudnn),
        get_num_threads=lambda: 1,
        get_float32_matmul_precision=lambda: "high",
        set_float32_matmul_precision=calls.append,
    )
    monkeypatch.setitem(sys.modules, "torch", old)
    with fix_torch_settings():
        assert calls == ["highest"]
        assert vars(cudnn) == {"benchmark": False, "deterministic": True, "allow_tf32": False}
    assert calls == ["highest", "high"]
    assert vars(cudnn) == {"benchmark": True, "deterministic": False, "allow_tf32": True}


@pytest.fixture
def count_threads() -> Callable[[], int]:
    """Return what counts the threads of OpenMP in the thread that calls it, as torch has it."""
    maps = Path("/proc/self/maps")
    found = re.search(r"/\S*libgomp\S*", maps.read_text()) if maps.exists() else None
    if not found:
        pytest.skip("torch has no libgomp here")
    library = ctypes.CDLL(found[0])
    return lambda: int(library.omp_get_max_threads())


def run_in_thread(function: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_the_number_of_threads_counts_in_the_thread_that_computes(
    count_threads: Callable[[], int],
) -> None:
    """OpenMP knows the number by thread, and a run computes in a thread of its own."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)

        def compute() -> int:
            with fix_torch_settings():
                return count_threads()

        assert run_in_thread(compute) == 3
        assert run_in_thread(count_threads) != 3
    finally:
        torch.set_num_threads(before)


def test_torch_adds_no_threads_to_those_of_map_threads(count_threads: Callable[[], int]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        meet = Barrier(2)

        def count(_: int) -> int:
            meet.wait(10)
            return count_threads()

        assert map_threads(count, [0, 1], 2) == [1, 1]
        assert count_threads() == torch.get_num_threads() == 3
        assert map_threads(lambda _: count_threads(), [0, 1], 1) == [3, 3]
    finally:
        torch.set_num_threads(before)


def test_torch_is_not_loaded_for_it() -> None:
    script = """
import sys
from filmgate.core.instrumentation.torch_settings import fix_torch_settings
with fix_torch_settings():
    assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
