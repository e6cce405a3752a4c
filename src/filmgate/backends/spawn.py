"""Start a process that imports what its job will need, and waits for the job.

This module imports little, so that the process starts while its parent still reads flags.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from filmgate.backends.text_pipe import open_text_pipe

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from filmgate.backends.text_pipe import Connection, TextEnd

WORKER = "filmgate worker"  # the name of the process
STOP = "stop"  # sent to it, before or after its job
SHOW_STACKS = "show stacks"  # sent to it where there is no signal for that


class ChildProcess:
    """A process, and the parent's ends of its pipes.

    Its job is sent to `control` as (function, arguments ...); the function gets the other ends of
    `messages` and `control` as well.
    """

    def __init__(
        self, process: BaseProcess, messages: Connection, control: Connection,
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


_started_early: list[ChildProcess] = []
_stacks: list[int] = []  # in the child: the descriptor to write stacks to


@contextmanager
def start_early(preload: Callable[[], object]) -> Iterator[None]:
    """Start a process that calls `preload`, for the first `take_child` inside the `with`.

    If none takes it, it is killed at the end: it has done nothing.
    """
    _started_early.append(_start(preload))
    try:
        yield
    finally:
        close_early()


def close_early() -> None:
    """Kill the process that was started early, if it has no job yet."""
    while _started_early:
        _started_early.pop().close()


def take_child() -> ChildProcess:
    """Return the process that was started early, or a new one. The caller closes it."""
    return _started_early.pop() if _started_early else _start(None)


def _start(preload: Callable[[], object] | None) -> ChildProcess:
    spawn = multiprocessing.get_context("spawn")
    (messages, sender), (receiver, control) = spawn.Pipe(duplex=False), spawn.Pipe(duplex=False)
    (stderr, to_stderr), (stacks, to_stacks) = open_text_pipe(), open_text_pipe()
    child_ends = (sender, receiver, to_stderr, to_stacks)
    process = spawn.Process(target=_wait, args=(preload, *child_ends), name=WORKER, daemon=True)
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


def show_stacks() -> None:
    """Send the stack of every thread of this child to its parent."""
    for descriptor in _stacks:
        faulthandler.dump_traceback(descriptor)


def _wait(
    preload: Callable[[], object] | None,
    sender: Connection, receiver: Connection, stderr: TextEnd, stacks: TextEnd,
) -> None:  # fmt: skip
    """Wait for the job in the child and run it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it, and stops us
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    faulthandler.enable(stacks.fileno())
    _stacks.append(stacks.fileno())
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, signal.SIG_IGN)
    else:
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
        function(*arguments, sender, receiver)
    os._exit(0)  # all files are closed, and unloading the libraries would take a while
