"""A child process that prints nothing on the terminal, at whatever moment its parent is killed."""

from __future__ import annotations

import sys
from multiprocessing.context import SpawnProcess
from typing import Any

from filmgate.backends.text_pipe import TextEnd

if sys.platform == "win32":

    class SilentProcess(SpawnProcess):
        """A process that is spawned. Its target makes `stderr` its standard error."""

        def __init__(self, *, stderr: TextEnd, **settings: Any) -> None:
            super().__init__(**settings)

else:
    import io
    import os
    import signal
    from multiprocessing import popen_spawn_posix, spawn, util
    from multiprocessing.context import set_spawning_popen
    from multiprocessing.process import BaseProcess
    from multiprocessing.reduction import dump

    class SilentProcess(SpawnProcess):
        """A process that is spawned; `stderr` is its standard error from its first moment.

        What its interpreter prints because its parent was killed goes into a pipe without a
        reader. SIGINT is blocked: its target unblocks it.
        """

        def __init__(self, *, stderr: TextEnd, **settings: Any) -> None:
            super().__init__(**settings)
            self._stderr: TextEnd | None = stderr  # until it starts

        @staticmethod
        def _Popen(process_obj: BaseProcess) -> popen_spawn_posix.Popen:  # noqa: N802
            assert isinstance(process_obj, SilentProcess)
            stderr, process_obj._stderr = process_obj._stderr, None  # the rest is pickled
            assert stderr is not None, "it is started once"
            return _Popen(process_obj, stderr.fileno())

    class _Popen(popen_spawn_posix.Popen):
        """As multiprocessing starts a process, with two more statements in its first program.

        It does not start the process that cleans up shared memory, of which workers have none.
        """

        def __init__(self, process: BaseProcess, stderr: int) -> None:
            self._descriptors = [stderr]
            super().__init__(process)

        def duplicate_for_child(self, fd: int) -> int:
            """Return the number of `fd` in the child, which is the same."""
            self._descriptors.append(fd)
            return fd

        def _launch(self, process: BaseProcess) -> None:
            data = io.BytesIO()
            set_spawning_popen(self)
            try:
                dump(spawn.get_preparation_data(process.name), data)
                dump(process, data)
            finally:
                set_spawning_popen(None)
            sentinel, held = os.pipe()  # the child holds it while it lives
            receiver, sender = os.pipe()
            self.finalizer = util.Finalize(self, _close, (sentinel, sender))
            try:
                words = spawn.get_command_line(pipe_handle=receiver)
                program = words.index("-c") + 1
                words[program] = f"import os; os.dup2({self._descriptors[0]}, 2); {words[program]}"
                descriptors = [*self._descriptors, receiver, held]
                self.pid, self.sentinel = _start(words, descriptors), sentinel
                with open(sender, "wb", closefd=False) as file:
                    file.write(data.getbuffer())
            finally:
                os.close(receiver)
                os.close(held)

    def _start(words: list[str], descriptors: list[int]) -> int:
        """Start a program that gets these descriptors and cannot be interrupted."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        program = os.fsencode(spawn.get_executable())
        try:
            return util.spawnv_passfds(program, words, sorted({*descriptors}))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _close(*descriptors: int) -> None:
        for descriptor in descriptors:
            os.close(descriptor)
