"""A pipe for what a child process writes as text, also while it crashes."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TypeAlias

if sys.platform == "win32":
    import msvcrt
    from multiprocessing import context
    from multiprocessing.connection import Pipe, PipeConnection
    from threading import Thread

    Connection: TypeAlias = PipeConnection

    class TextEnd:
        """The child's end: a file descriptor, which a spawned process gets as a handle."""

        def __init__(self, descriptor: int) -> None:
            self._descriptor = descriptor

        def __reduce__(self) -> tuple[object, ...]:
            process = context.get_spawning_popen()
            assert process is not None, "it is only sent to a process that starts"
            handle = process.duplicate_for_child(msvcrt.get_osfhandle(self._descriptor))
            return _receive_end, (handle,)

        def fileno(self) -> int:
            """Return the file descriptor."""
            return self._descriptor

        def close(self) -> None:
            """Close it."""
            os.close(self._descriptor)

    def _receive_end(handle: int) -> TextEnd:
        return TextEnd(msvcrt.open_osfhandle(handle, os.O_WRONLY))

    def open_text_pipe() -> tuple[Connection, TextEnd]:
        """Return the parent's end, for `wait` and `read_text`, and the child's.

        A C program writes only to pipes that `wait` cannot wait for: a thread forwards the text.
        """
        descriptor, end = os.pipe()
        reader, writer = Pipe(duplex=False)
        Thread(target=_forward, args=(descriptor, writer), name="text pipe", daemon=True).start()
        return reader, TextEnd(end)

    def _forward(descriptor: int, writer: Connection) -> None:
        with writer, open(descriptor, "rb", buffering=0) as file:
            try:
                while text := file.read(1 << 13):
                    writer.send_bytes(text)
            except OSError:  # the parent has closed its end
                pass

    def read_text(pipe: Connection) -> bytes:
        """Return the text that is in the pipe, b"" at its end."""
        try:
            return pipe.recv_bytes()
        except (EOFError, OSError):
            return b""

else:
    from multiprocessing.connection import Connection as Connection
    from multiprocessing.connection import Pipe

    TextEnd: TypeAlias = Connection

    def open_text_pipe() -> tuple[Connection, TextEnd]:
        """Return the parent's end, for `wait` and `read_text`, and the child's."""
        return Pipe(duplex=False)

    def read_text(pipe: Connection) -> bytes:
        """Return the text that is in the pipe, b"" at its end."""
        return os.read(pipe.fileno(), 1 << 16)


def write_utf8() -> None:
    """Write standard output and error as UTF-8 from now on.

    Windows gives pipes and files a code page of the system, which lacks most names of files.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):  # a child without a console has one that nothing can write to
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")
