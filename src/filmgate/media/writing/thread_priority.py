"""Keep the priority of threads that an encoder changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def keep_priority() -> Iterator[None]:
    """Give all threads of this process the scheduling back that this one had before the `with`.

    SVT-AV1, opened by root, makes its threads and the one that opens it real-time threads of the
    highest priority: other programs of the machine then hardly run. Does nothing but on Linux.
    """
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in _list_threads():
            with suppress(OSError):  # it has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)


def _list_threads() -> list[int]:
    with suppress(OSError):  # no /proc
        return [int(name) for name in os.listdir("/proc/self/task")]
    return []
