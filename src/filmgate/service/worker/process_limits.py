"""What a child process of the service asks of its system for itself."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path


def prefer_as_victim(score: int) -> None:
    """Let the kernel end this process rather than the server if memory runs out (Linux).

    `score`: 0 to 1000, the larger the sooner.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(score))
