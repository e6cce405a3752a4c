"""Ctrl-C and SIGTERM during a run."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def polite() -> Iterator[None]:
    """SIGTERM is Ctrl-C here; a second one does not disturb the cleaning up after the first."""

    def stop(*_: object) -> None:
        for name in (signal.SIGINT, signal.SIGTERM):
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
