"""A model of the peers in bench/serving.py: it does what a request says."""

import os
import signal
import time

TIMEOUT_S = 8  # of a request, and of a step


def act(what: str) -> str:
    """Do nothing, or fail: raise, crash, kill, hang."""
    if what == "raise":
        raise RuntimeError("CUDA out of memory")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "kill":
        os.kill(os.getpid(), 9)
    if what == "hang":
        time.sleep(1000)
    return "done"
