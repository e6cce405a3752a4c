"""Settings of torch that change the bits of results, fixed while a stage is called."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from threading import Lock
from typing import Any

# Parts of torch.backends with a precision of their own, from torch 2.9 on.
_PARTS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


class _FixedSettings:
    """Settings are changed by the first of several threads, and restored by the last."""

    def __init__(self) -> None:
        self._lock, self._users, self._restore = Lock(), 0, list[Callable[[], None]]()

    @contextmanager
    def use(self) -> Iterator[None]:
        with self._lock:
            torch: Any = sys.modules.get("torch")
            if hasattr(torch, "backends"):  # else it is being imported
                torch.get_num_threads()  # or OpenMP takes its own number in a new thread
                self._restore = self._restore or _fix(torch)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                while not self._users and self._restore:
                    self._restore.pop()()


_SETTINGS = _FixedSettings()


def fix_torch_settings() -> Any:
    """Compute float32 as float32 inside the `with`, by the same algorithms every time.

    No TF32 and no bfloat16 in its place, and cuDNN neither times algorithms to choose one nor
    takes one whose results vary. The number of threads is that of `torch.set_num_threads` in this
    thread too. The caller's settings are restored. Torch is not loaded for it.
    """
    return _SETTINGS.use()


@contextmanager
def limit_torch_threads() -> Iterator[Callable[[], None]]:
    """Yield what each of several threads calls first: torch then adds no threads of its own."""
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "set_num_threads"):
        yield lambda: None
        return
    count = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(1)
    finally:
        torch.set_num_threads(count)  # for threads that start later


def _fix(torch: Any) -> list[Callable[[], None]]:
    """Change the settings; return what restores them."""
    backends = torch.backends
    restore = [
        _replace(backends.cudnn, "benchmark", False),
        _replace(backends.cudnn, "deterministic", True),
    ]
    if hasattr(backends, "fp32_precision"):
        return restore + [_fix_precision(backends, name) for name in _PARTS]
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    restore.append(lambda: torch.set_float32_matmul_precision(precision))
    return [*restore, _replace(backends.cudnn, "allow_tf32", False)]


def _fix_precision(backends: Any, name: str) -> Callable[[], None]:
    """Set the precision of one part; one that it has from its parent is not restored as its own."""
    part, parent = attrgetter(name)(backends), attrgetter(name.partition(".")[0])(backends)
    inherited = getattr(parent, "fp32_precision", backends.fp32_precision)
    own = "none" if part.fp32_precision == inherited else part.fp32_precision
    part.fp32_precision = "ieee"
    return lambda: setattr(part, "fp32_precision", own)


def _replace(owner: Any, name: str, value: object) -> Callable[[], None]:
    old = getattr(owner, name)
    setattr(owner, name, value)
    return lambda: setattr(owner, name, old)
