"""Changes of several threads that share one commit, because syncing the disk is what takes time."""

from __future__ import annotations

import copy
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_MOST_CHANGES = 64  # that share a commit
_TIMEOUT_S = 1.0  # before a thread commits itself what another one was to commit


class _Group:
    """Changes that are committed together. `error`: why they are not there."""

    def __init__(self) -> None:
        self.size = 0
        self.error: BaseException | None = None
        self.ended = threading.Event()


class SharedCommits:
    """Runs changes one after another, and commits those together whose threads wait for a turn.

    No one reads what is not committed: who reads commits it first.
    """

    def __init__(
        self, connection: sqlite3.Connection, explain: Callable[[sqlite3.Error], Exception]
    ) -> None:
        """`explain` turns an error of SQLite into ours, before another thread has its turn."""
        self._connection, self._explain = connection, explain
        self._lock = threading.RLock()
        self._counting, self._arriving = threading.Lock(), 0  # threads that wait to change
        self._group: _Group | None = None
        self._depth = 0  # of reads and changes that the thread with the lock is in

    @contextmanager
    def change(self) -> Iterator[None]:
        """Make a change: it is durable when the `with` ends, and not there if that raises."""
        self._count(1)
        with self._lock:
            self._count(-1)
            if self._group and self._depth:
                raise self._explain(sqlite3.OperationalError("a change within a change"))
            try:
                group = self._begin()
                self._depth += 1
                try:
                    yield
                except BaseException as error:
                    self._undo(group, error)
                    raise
                finally:
                    self._depth -= 1
                group.size += 1
            except sqlite3.Error as error:
                raise self._explain(error) from error
            finally:
                if self._group and not self._is_joined():
                    self._commit()
        while not group.ended.wait(_TIMEOUT_S):
            with self._lock:
                if self._group is group:
                    self._commit()
        if group.error is not None:
            raise copy.copy(group.error)

    @contextmanager
    def read(self) -> Iterator[None]:
        """Read; also in a change, whose thread sees what it has changed."""
        with self._lock:
            if self._group and not self._depth:
                self._commit()
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Commit what is not, and close the connection."""
        with self.read(), suppress(sqlite3.Error):
            self._connection.close()

    def _is_joined(self) -> bool:
        """Return whether another change will join those that are to be committed."""
        assert self._group is not None, "there are some"
        return self._arriving > 0 and self._depth == 0 and self._group.size < _MOST_CHANGES

    def _count(self, change: int) -> None:
        with self._counting:
            self._arriving += change

    def _begin(self) -> _Group:
        if self._group is None:
            self._connection.execute("BEGIN IMMEDIATE")
            self._group = _Group()
        else:
            self._connection.execute("SAVEPOINT change")
        return self._group

    def _undo(self, group: _Group, error: BaseException) -> None:
        """Undo one change; those before it stay, unless SQLite has undone them too."""
        try:
            if not group.size:
                self._end(None)
            elif self._connection.in_transaction:
                self._connection.execute("ROLLBACK TO change")
                self._connection.execute("RELEASE change")
            else:
                self._end(error)
        except sqlite3.Error as worse:
            self._end(worse)

    def _commit(self) -> None:
        try:
            self._connection.execute("COMMIT")
        except BaseException as error:  # noqa: BLE001 - every thread of the group raises it
            self._end(error)
        else:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        """End the group; what is not committed is undone."""
        group, self._group = self._group, None
        assert group is not None, "there is one"
        group.error = self._explain(error) if isinstance(error, sqlite3.Error) else error
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        finally:
            group.ended.set()
