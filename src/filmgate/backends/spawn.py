"""Start a process that imports what its job will need, and waits for the job.

This module imports little, so that the process starts while its parent still reads flags.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from typing import TYPE_CHECKING

from filmgate.backends.silent_process import SilentProcess
from filmgate.backends.text_pipe import open_text_pipe

if TYPE_CHECKING:
    from typing import Self

    from filmgate.backends.text_pipe import Connection, TextEnd

WORKER = "filmgate worker"  # the name of the process
STOP = "stop"  # sent to it, before or after its job
SHOW_STACKS = "show stacks"  # sent to it where there is no signal for that


class ChildProcess:
    """A process, and the parent's ends of its pipes.

    Its job is sent to `control` as (function, arguments ...); the function gets the other ends of
    `messages` and `control` as well, and the descriptor of `stacks`.
    """

    def __init__(
        self, process: SilentProcess, messages: Connection, control: Connection,
        stderr: Connection, stacks: Connection,
    ) -> None:  # fmt: skip
        self.process, self.messages, self.control = process, messages, control
        self.stderr, self.stacks = stderr, stacks

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()
        for pipe in (self.messages, self.control, self.stderr, self.stacks):
            pipe.close()


class Workers:
    """Starts child processes. The first may wait for its job before anyone knows it.

    Leaving the `with` kills a process that was started early and got no job: it has done nothing.
    """

    def __init__(self) -> None:
        self._early: ChildProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_early(self, preload: Callable[[], object]) -> None:
        """Start the process that the next `take` returns; it calls `preload` meanwhile."""
        self.close()
        self._early = _start(preload)

    def take(self) -> ChildProcess:
        """Return the process that was started early, or a new one. The caller closes it."""
        early, self._early = self._early, None
        return early or _start(None)

    def close(self) -> None:
        """Kill the process that was started early, if it has no job yet."""
        if self._early is not None:
            self.take().close()


def _start(preload: Callable[[], object] | None) -> ChildProcess:
    (messages, sender), (receiver, control) = Pipe(duplex=False), Pipe(duplex=False)
    (stderr, to_stderr), (stacks, to_stacks) = open_text_pipe(), open_text_pipe()
    child_ends = (sender, receiver, to_stderr, to_stacks)
    process = SilentProcess(
        target=_wait, args=(preload, *child_ends), name=WORKER, daemon=True, stderr=to_stderr
    )
    try:
        process.start()
    except BaseException:
        for pipe in (messages, control, stderr, stacks):
            pipe.close()
        raise
    finally:
        for end in child_ends:
            end.close()
    return ChildProcess(process, messages, control, stderr, stacks)


def _wait(
    preload: Callable[[], object] | None,
    sender: Connection, receiver: Connection, stderr: TextEnd, stacks: TextEnd,
) -> None:  # fmt: skip
    """Wait for the job in the child and run it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it, and stops us
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    faulthandler.enable(stacks.fileno())
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)
    else:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        faulthandler.register(signal.SIGUSR1, stacks.fileno(), all_threads=True)
    if preload is not None:
        with suppress(Exception):  # the job raises it again, where it is reported
            preload()
    try:
        message = receiver.recv_bytes()
    except (EOFError, OSError):  # the parent is gone
        os._exit(0)
    job = pickle.loads(message)
    if job != STOP:
        function, *arguments = job
        function(*arguments, sender, receiver, stacks.fileno())
    os._exit(0)  # all files are closed, and unloading the libraries would take a while
