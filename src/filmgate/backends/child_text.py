"""What a child process writes as text, and what that and its end tell about a crash."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import wait

from filmgate.backends.death_causes import count_oom_kills, explain_exit_code, explain_signal
from filmgate.backends.spawn import SHOW_STACKS, ChildProcess
from filmgate.backends.text_pipe import Connection, read_text

KEPT_LINES = 50  # of standard error, for crash reports


class ChildText:
    """The standard error and the stacks of a child; `show` gets the former as it comes."""

    def __init__(self, child: ChildProcess, show: Callable[[bytes], object]) -> None:
        self._child, self._show = child, show
        self._oom_kills = count_oom_kills()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._last_line, self._stack = b"", b""

    @property
    def pipes(self) -> list[Connection]:
        """The pipes that are open, to wait for and to pass to `read`."""
        return [pipe for pipe in (self._child.stderr, self._child.stacks) if not pipe.closed]

    @property
    def lines(self) -> tuple[str, ...]:
        """The last lines of its standard error."""
        last = [self._last_line.decode(errors="replace")] if self._last_line else []
        return (*self._lines, *last)

    @property
    def stack(self) -> str:
        """The stacks of its threads, "" if it sent none."""
        return self._stack.decode(errors="replace")

    def read(self, ready: Sequence[object]) -> None:
        """Read what is in those of its pipes that are `ready`."""
        for pipe in self.pipes:
            if pipe not in ready:
                continue
            text = read_text(pipe)
            if not text:
                pipe.close()
            elif pipe is self._child.stacks:
                self._stack += text
            else:
                self._show(text)
                *complete, self._last_line = (self._last_line + text).split(b"\n")
                self._lines += [
                    line.decode(errors="replace").removesuffix("\r") for line in complete
                ]

    def read_rest(self) -> None:
        """Read all that is in the pipes."""
        while ready := wait(self.pipes, 0.0):
            self.read(ready)

    def request_stack(self) -> None:
        """Ask for the stack of every thread, and wait for it for a second.

        The handler of the signal is C code: it works if Python hangs. On Windows a thread of the
        child answers, so it does not.
        """
        child = self._child
        if sys.platform == "win32":
            with suppress(OSError):
                child.control.send(SHOW_STACKS)
        elif child.process.pid:
            with suppress(ProcessLookupError):
                os.kill(child.process.pid, signal.SIGUSR1)
        while not child.stacks.closed and wait([child.stacks], 1.0):
            self.read([child.stacks])
            if self._stack.count(b"\n") and not wait([child.stacks], 0.1):
                break

    def explain_end(self) -> tuple[str, str]:
        """Return why the process ended, and who caused it, "" if that is unknown."""
        self.read_rest()
        code = self._child.process.exitcode
        if code is None or code >= 0:
            return explain_exit_code(code), ""
        cause = signal.Signals(-code).name
        return cause, explain_signal(cause, self._oom_kills, count_oom_kills())
