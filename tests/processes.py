"""Kill processes on any system, as a crash of the machine would."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import psutil

# The signal to pass to `os.kill`, and the exit code of a process that it ended.
KILL = 9
KILLED = 9 if sys.platform == "win32" else -9
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
