"""Kill processes on any system, as a crash of the machine would."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from contextlib import suppress

import psutil

# The signal to pass to `os.kill`, and the exit code of a process that it ended.
KILL = 9
KILLED = 9 if sys.platform == "win32" else -9
CRASHED = 0xC0000005 if sys.platform == "win32" else -11  # of an access violation, or SIGSEGV
# The option of `Popen` for a process that `kill_group` ends with all its children.
NEW_GROUP = sys.platform != "win32"


def kill_group(pid: int) -> None:
    """Kill a process, started with `start_new_session=NEW_GROUP`, and all its children."""
    if sys.platform == "win32":
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    os.kill(one.pid, KILL)
    else:
        with suppress(ProcessLookupError):
            os.killpg(pid, KILL)


# What a crash report says of a process that was killed, and of one that crashed.
KILL_CAUSE = "exit code 9" if sys.platform == "win32" else "SIGKILL"
CRASH_CAUSE = "exit code 0xC0000005 (access violation)" if sys.platform == "win32" else "SIGSEGV"


def crash() -> None:
    """Crash this process, as a fault in native code does."""
    if sys.platform == "win32":
        vars(faulthandler)["_raise_exception"](0xC0000005)
    else:
        os.kill(os.getpid(), signal.SIGSEGV)


def count_descriptors(process: psutil.Process) -> int:
    """Return how many files and pipes a process has open; Windows counts other things as well."""
    return 0 if sys.platform == "win32" else process.num_fds()


def wait_for_threads(count: int) -> None:
    """Wait until `count` threads are left: on Windows one reads each pipe of text to its end."""
    end = time.monotonic() + 10
    while threading.active_count() > count and time.monotonic() < end:
        time.sleep(0.01)
