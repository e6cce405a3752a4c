"""The database of a queue: opened by one process, checked, and written in transactions."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filmgate.errors import BadInput, BadSetting, Busy, DiskFull, FilmgateError, NotLoaded
from filmgate.jobs.queue import tables
from filmgate.jobs.queue.clock import MAX_MS, Clock, QueueClock
from filmgate.jobs.queue.owner import hold_database
from filmgate.jobs.queue.shared_commits import SharedCommits
from filmgate.storage.atomic import fsync_directory, fsync_file
from filmgate.storage.file_kind import describe_other_kind

# Called with the id of a job that got an event, and state and reason if it has ended.
EventWatcher = Callable[[str, tuple[str, str] | None], None]
_HEADER = b"SQLite format 3\0"
_OLDEST_SQLITE = (3, 37)  # STRICT tables
_LOG_SUFFIX = "-wal"
_RESTORE = "Stop every server of it and restore a copy, or pass another path for a new queue"
_SHARED_SUFFIX = "-shm"
_LEAST_FREE = 1 << 20  # bytes; with less, a disk is full
_CAREFUL = ("PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
# Closing does not report what it could not copy from a log, so a new database has none until it is
# complete.
_CREATOR = (*_CAREFUL, "PRAGMA journal_mode = DELETE", "PRAGMA synchronous = FULL")
# Every commit is on the disk when it returns (FULL). EXCLUSIVE: whatever other processes do, no
# second connection exists, without which some versions of SQLite can damage their log.
_WRITER = (
    *_CAREFUL,
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)


class Database:
    """An open database. Threads may share it: one of them reads or writes at a time.

    Changes of several threads that wait for their turn share one commit.
    """

    def __init__(self, path: Path, clock: Clock, vfs: str = "") -> None:
        """Open or create the database; `vfs` names SQLite's access to files, "" is its own.

        Raises Busy if another process owns it, BadInput if it is damaged or no queue's, BadSetting
        if it cannot be created, NotLoaded, DiskFull.
        """
        self.path = path.resolve()
        self._vfs, self._broken, self._process = vfs, "", os.getpid()
        self.on_event: EventWatcher | None = None
        _check_library()
        _check_file(self.path)  # so that no lock file is written next to a foreign one
        with ExitStack() as stack:
            stack.enter_context(hold_database(self.path, clock))
            if _check_file(self.path):  # again: another process may just have created it
                self._create()
            self._check()
            self._connection = self._connect(self.path, "rw", _WRITER)
            self._commits = SharedCommits(self._connection, self._explain)
            stack.callback(self._commits.close)
            with self._translate():
                self._migrate()
                latest_ms = self._read_latest_ms()
            self.clock = QueueClock(clock, latest_ms)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Close the database and let another process own it."""
        self._stack.close()

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Change the database: all of it when the `with` ends, or nothing if it raises.

        When it returns, the change survives a power cut. Raises DiskFull: nothing is changed, and
        later calls may succeed if the disk was full; FilmgateError.
        """
        with self._translate(), self._commits.change():
            self._check_usable()  # again: another thread may just have failed
            change = Transaction(self._connection, self.clock.now_ms())
            yield change
            self._connection.execute("UPDATE clock SET now_ms = ?", (change.now_ms,))
        if self.on_event is not None:
            for job_id, final in change.jobs_with_events.items():
                self.on_event(job_id, final)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Read the database. Raises FilmgateError."""
        with self._commits.read(), self._translate():
            yield Transaction(self._connection, self.clock.now_ms())

    def _connect(self, path: Path, mode: str, settings: Sequence[str]) -> sqlite3.Connection:
        """Return a connection; SQLite itself never creates a database here."""
        uri = f"{path.as_uri()}?mode={mode}" + (f"&vfs={self._vfs}" if self._vfs else "")
        with self._translate():
            connection = sqlite3.connect(
                uri, uri=True, timeout=0, isolation_level=None, check_same_thread=False
            )
            connection.row_factory = sqlite3.Row
            connection.text_factory = _decode
            try:
                for setting in settings:
                    connection.execute(setting)
            except sqlite3.Error:
                connection.close()
                raise
        return connection

    def _create(self) -> None:
        """Create the database under a hidden name and rename it, so that it is complete."""
        part = self.path.with_name(f".{self.path.name[:100]}.new")
        for name in (part.name, f"{part.name}{_LOG_SUFFIX}", f"{part.name}-journal"):
            self.path.with_name(name).unlink(missing_ok=True)  # of a process that was killed
        connection = self._connect(part, "rwc", _CREATOR)
        try:
            with self._translate():
                connection.execute("BEGIN IMMEDIATE")
                _apply_steps(connection, 0)
                connection.execute(f"PRAGMA application_id = {tables.APPLICATION_ID}")
                connection.execute("COMMIT")
                connection.execute("PRAGMA journal_mode = WAL")
        finally:
            connection.close()
        try:
            fsync_file(part)
            os.rename(part, self.path)
            fsync_directory(self.path.parent)
        except OSError as error:
            raise DiskFull.of(self.path, error) from error

    def _check(self) -> None:
        """Raise BadInput unless the database is intact and has the tables of its version.

        The connection only reads: one that can write would change the file when it is closed.
        """
        connection = self._connect(self.path, "ro", _CAREFUL)
        try:
            with self._translate():
                found = self._find_damage(connection)
        finally:
            connection.close()
        if found:
            raise self._explain_damage(found)
        with suppress(OSError):  # only the reading connection uses it
            os.unlink(self.path.with_name(self.path.name + _SHARED_SUFFIX))

    def _find_damage(self, connection: sqlite3.Connection) -> str:
        """Return what is wrong with the database, "" if nothing. Raises BadInput if it is newer."""
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(tables.STEPS):
            raise BadInput(
                f"{self.path} has version {version} of the queue's tables, and this version of "
                f"filmgate reads up to {len(tables.STEPS)}: install the newer one, or pass another "
                "path"
            )
        (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            return str(found)
        if connection.execute("PRAGMA foreign_key_check").fetchone():
            return "a row refers to another one that does not exist"
        if version < 1 or _read_schema(connection) != _make_schema(version):
            return f"its tables are not those of version {version}"
        return ""

    def _migrate(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version < len(tables.STEPS):
            self._connection.execute("BEGIN IMMEDIATE")
            _apply_steps(self._connection, version)
            self._connection.execute("COMMIT")

    def _read_latest_ms(self) -> int:
        row = self._connection.execute("SELECT now_ms FROM clock").fetchone()
        if row is None or not 0 <= row[0] <= MAX_MS:
            raise self._explain_damage("it has no time")
        return int(row[0])

    @contextmanager
    def _translate(self) -> Iterator[None]:
        """Turn SQLite's errors into ours; after a failed disk, refuse everything."""
        self._check_usable()
        try:
            yield
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except UnicodeDecodeError as error:  # of SQLite's message, which quotes the damage
            raise self._explain_damage("its tables have names that are no text") from error

    def _check_usable(self) -> None:
        if self._broken:
            raise FilmgateError(self._broken)
        if os.getpid() != self._process:
            raise FilmgateError(
                f"{self.path} was opened by process {self._process}, not by this one: a queue does "
                "not cross a fork"
            )

    def _explain(self, error: sqlite3.Error) -> FilmgateError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return DiskFull(f"{DiskFull.of(self.path, full)}".partition("; the same")[0]
                            + "; what was acknowledged is stored")  # fmt: skip
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Busy(f"{self.path} is in use by another process: stop it, or use another queue")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            damage = self._explain_damage(str(error))
            self._broken = str(damage)
            return damage
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return BadSetting(f"cannot write {self.path}: {error}. Check its permissions and those "
                              "of its folder")  # fmt: skip
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM):
            # What of the last change is on the disk is unknown: only opening it again tells.
            self._broken = (
                f"cannot use {self.path} any more: {error}{self._describe_space()}. Check its disk "
                "and start the server again: what was acknowledged is stored"
            )
            return DiskFull(self._broken)
        if "closed database" in str(error):
            return FilmgateError(f"{self.path} is closed: open the queue again")
        return FilmgateError(f"{self.path}: {error}, which is a bug of filmgate: report it")

    def _describe_space(self) -> str:
        """Return that the disk is full if it is: SQLite calls that an error of the disk as well."""
        with suppress(OSError):
            if shutil.disk_usage(self.path.parent).free < _LEAST_FREE:
                return ", and no space is left"
        return ""

    def _explain_damage(self, found: str) -> BadInput:
        return BadInput(f"{self.path} is damaged: {found[:300]}. Nothing was changed. {_RESTORE}")


class Transaction:
    """What may be done between the begin and the end of a change; `now_ms` is its time.

    `jobs_with_events`: the ids of jobs that got an event in it, with state and reason if it is
    their last one.
    """

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self._connection, self.now_ms = connection, now_ms
        self.jobs_with_events: dict[str, tuple[str, str] | None] = {}

    def change(self, statement: str, *values: object) -> int:
        """Run a statement and return how many rows it changed."""
        return self._connection.execute(statement, values).rowcount

    def row(self, statement: str, *values: object) -> sqlite3.Row | None:
        """Return the first row, None if there is none."""
        row: sqlite3.Row | None = self._connection.execute(statement, values).fetchone()
        return row

    def rows(self, statement: str, *values: object) -> list[sqlite3.Row]:
        """Return all rows."""
        return self._connection.execute(statement, values).fetchall()

    def value(self, statement: str, *values: object) -> Any:
        """Return the first value of the first row."""
        return self._connection.execute(statement, values).fetchone()[0]


def _decode(text: bytes) -> str:
    return text.decode(errors="replace")  # damaged text is found by what checks the value


def _check_library() -> None:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        wanted = ".".join(map(str, _OLDEST_SQLITE))
        raise NotLoaded(
            f"SQLite is version {sqlite3.sqlite_version}, and the queue needs {wanted} or newer: "
            "install a Python that comes with it"
        )


def _check_file(path: Path) -> bool:
    """Return whether the database is new. Raises BadInput if the file is not a queue's.

    Only its header is read, so that a foreign database is not even opened.
    """
    if kind := describe_other_kind(path):
        raise BadSetting(f"{path} is {kind}, wanted the file of a queue: choose another path")
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except FileNotFoundError:
        log = path.with_name(path.name + _LOG_SUFFIX)
        if os.path.lexists(log):
            raise BadInput(
                f"{path} does not exist, but {log.name} does, which holds the latest changes of a "
                "database that was moved or removed: restore both, or move it away"
            ) from None
        return True
    except OSError as error:
        raise BadSetting(f"cannot read {path}: {error.strerror}. Choose another path") from error
    application = int.from_bytes(header[68:72], "big")
    if not header.startswith(_HEADER) or application != tables.APPLICATION_ID:
        raise BadInput(
            f"{path} is not the database of a queue, or its beginning is damaged. Nothing was "
            "changed. Restore a copy, or pass another path for a new queue"
        )
    return False


def _apply_steps(connection: sqlite3.Connection, version: int) -> None:
    for step in tables.STEPS[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(tables.STEPS)}")


def _read_schema(connection: sqlite3.Connection) -> Sequence[tuple[str, ...]]:
    rows = connection.execute(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'"
    )
    return sorted(tuple(map(str, row)) for row in rows)


def _make_schema(version: int) -> Sequence[tuple[str, ...]]:
    """Return the tables and indexes as the steps up to `version` make them."""
    connection = sqlite3.connect(":memory:")
    try:
        for step in tables.STEPS[:version]:
            for statement in step:
                connection.execute(statement)
        return _read_schema(connection)
    finally:
        connection.close()
