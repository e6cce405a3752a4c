"""The log of a service: JSON lines, one for each thing that happened, in files that rotate."""

from __future__ import annotations

import json
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from filmgate.errors import BadSetting

NAME = "service.jsonl"
_FILE_BYTES, _FILES = 16 << 20, 5
_MAX_TEXT = 4000  # characters of a value


class _Lines(RotatingFileHandler):
    """Looks at the size of the open file; the library looks up its name twice for each line."""

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the library's name
        if self.stream is None:
            self.stream = self._open()
        size = os.fstat(self.stream.fileno()).st_size
        return size > 0 and size + len(record.msg) >= self.maxBytes


class ServiceLog:
    """Writes lines with a time, a level, an event and fields; safe to use from any thread.

    The field `correlation_id` is the same in every line about one request, from HTTP to the crash
    report of its worker.
    """

    def __init__(self, folder: Path) -> None:
        """Open the log in a folder, which is created. Raises BadSetting, NotLoaded."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handler = _Lines(
                folder / NAME,
                maxBytes=_FILE_BYTES,
                backupCount=_FILES,
                encoding="utf-8",
                delay=True,
            )
        except OSError as error:
            raise BadSetting(f"cannot write to {folder}: {error.strerror}. Choose another folder "
                             "for the service") from error  # fmt: skip
        self._handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk: the service continues
        self._render = _make_renderer()

    def info(self, event: str, **fields: Any) -> None:
        """Write that something happened."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write that something is wrong, and the service continues."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Write that something failed."""
        self._write("error", event, fields)

    def close(self) -> None:
        """Close the file."""
        self._handler.close()

    def _write(self, level: str, event: str, fields: dict[str, Any]) -> None:
        short = {k: v[:_MAX_TEXT] if isinstance(v, str) else v for k, v in fields.items()}
        line = self._render(level, event, short)
        # Without a logger, which would look for its caller at each line.
        self._handler.handle(logging.LogRecord(NAME, logging.INFO, "", 0, line, None, None))


def _make_renderer() -> Any:
    """Return what turns a level, an event and fields into a line: processors of structlog."""
    import structlog

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    render = structlog.processors.JSONRenderer(serializer=json.dumps, default=str)

    def make_line(level: str, event: str, fields: dict[str, Any]) -> str:
        line: Any = stamp(None, level, {"event": event, "level": level, **fields})
        return str(render(None, level, line))

    return make_line
