"""Ctrl-C, Ctrl-Break and SIGTERM during a run."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGTERM and Ctrl-Break too.

    After the first the process is about to end, and ignores all of them until it has: a second
    Ctrl-C neither cuts the cleanup short nor changes the exit code.
    """
    handlers = _get_handlers()
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        for name in handlers:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    for name in handlers:
        signal.signal(name, stop)
    try:
        yield
    finally:
        if not stopped:
            _set_handlers(handlers)


@contextmanager
def keep_handlers() -> Iterator[None]:
    """Leave the signal handlers as they are now: for a command in a process with other work."""
    handlers = _get_handlers()
    try:
        yield
    finally:
        _set_handlers(handlers)


def _get_handlers() -> dict[signal.Signals, Any]:
    names = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        names.append(signal.SIGBREAK)
    return {name: signal.getsignal(name) for name in names}


def _set_handlers(handlers: dict[signal.Signals, Any]) -> None:
    for name, handler in handlers.items():
        if signal.getsignal(name) is not handler:
            signal.signal(name, handler)
