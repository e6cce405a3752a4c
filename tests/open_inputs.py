"""Which inputs Filmgate opened and did not close by itself."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import av
from av.container import InputContainer


def is_open(container: InputContainer) -> bool:
    """Whether `container` has not been closed."""
    try:
        container.start_time  # noqa: B018 - it raises
    except AssertionError:
        return False
    return True


@contextmanager
def watch_inputs() -> Iterator[list[str]]:
    """Yield a list; at the end it names the inputs that their owner did not close.

    They are kept alive, so that only a call of `close` closes them, and not by a generator that
    the garbage collector found.
    """
    opened: list[InputContainer] = []
    collected: list[InputContainer] = []
    before: list[InputContainer] = []
    left: list[str] = []
    av_open = av.open

    def keep(file: Any, *args: Any, **options: Any) -> Any:
        container = av_open(file, *args, **options)
        caller = sys._getframe(1).f_globals["__name__"]
        if isinstance(container, InputContainer) and caller.startswith("filmgate."):
            opened.append(container)
        return container

    def compare(phase: str, _: object) -> None:
        if phase == "start":
            alone = threading.active_count() == 1  # another one may close its input meanwhile
            before[:] = [container for container in opened if alone and is_open(container)]
        else:
            collected.extend(container for container in before if not is_open(container))

    gc.callbacks.append(compare)
    try:
        with patch.object(av, "open", keep):
            yield left
    finally:
        gc.callbacks.remove(compare)
    left += [container.name for container in opened if is_open(container)]
    left += [f"{container.name}, by the collector" for container in collected]
