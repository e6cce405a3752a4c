"""Pins thread counts while a run lasts."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from filmgate.core.instrumentation.memory import return_freed_memory
from filmgate.core.plan import Plan


@contextmanager
def pinned(plan: Plan) -> Iterator[None]:
    """The plan's thread counts, while the `with` lasts: they move the last bits of results.

    How freed memory is given back stays as the plan said: it can't be undone.
    """
    import cv2

    before, torch = cv2.getNumThreads(), sys.modules.get("torch")
    torch_before = torch.get_num_threads() if torch else 0
    if plan.return_freed_memory:
        return_freed_memory()
    try:
        cv2.setNumThreads(plan.opencv_threads)
        if torch:
            torch.set_num_threads(plan.torch_threads)
        yield
    finally:
        cv2.setNumThreads(before)
        if torch:
            torch.set_num_threads(torch_before)
