"""Fix thread counts for the duration of a run."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from filmgate.core.instrumentation.memory import return_freed_memory
from filmgate.core.plan import Plan


@contextmanager
def pin_threads(plan: Plan, *, opencv: bool = True) -> Iterator[None]:
    """Use the plan's thread counts while the `with` lasts: they affect the last bits of results.

    How freed memory is returned to the system stays changed, because it cannot be undone. Without
    `opencv` that library is not imported, which takes time.
    """
    if plan.return_freed_memory:
        return_freed_memory()
    with ExitStack() as stack:
        if opencv:
            import cv2

            stack.callback(cv2.setNumThreads, cv2.getNumThreads())
            cv2.setNumThreads(plan.opencv_threads)
        if torch := sys.modules.get("torch"):
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(plan.torch_threads)
        yield
