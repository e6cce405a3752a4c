"""What the processes of the service ask of their system for themselves."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

_MOST_FILES = 65_536


def allow_many_files() -> None:
    """Allow this process as many open files as its system lets it have: each client takes one."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        if soft != resource.RLIM_INFINITY and soft < most:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def prefer_as_victim(score: int) -> None:
    """Let the kernel end this process rather than the server if memory runs out (Linux).

    `score`: 0 to 1000, the larger the sooner.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(score))
