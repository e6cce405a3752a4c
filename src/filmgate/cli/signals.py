"""Ctrl-C, Ctrl-Break and SIGTERM during a run."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGTERM and Ctrl-Break too; the cleanup ignores later ones."""
    names = [signal.SIGINT, signal.SIGTERM]
    if sys.platform == "win32":
        names.append(signal.SIGBREAK)

    def stop(*_: object) -> None:
        for name in names:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    handlers = {name: signal.signal(name, stop) for name in names}
    try:
        yield
    finally:
        for name, handler in handlers.items():
            signal.signal(name, handler)
