"""Files that the queue writes for its jobs, in a folder of each job, and their removal."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from filmgate.errors import BadSetting, DiskFull
from filmgate.jobs.queue import checks
from filmgate.jobs.queue.changes import find_job
from filmgate.jobs.queue.database import Database, Transaction
from filmgate.jobs.queue.values import FINAL_STATES

FOLDER_SUFFIX = ".files"
_BATCH = 100  # jobs that are removed in one transaction
_KEEP_REMOVED = 10  # times as long as a finished job, its id is known to be removed


class JobFiles:
    """The folder DATABASE.files with a folder for each job; only listed files are ever deleted.

    A file is listed in the database before it is created.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.folder = database.path.with_name(database.path.name + FOLDER_SUFFIX)

    def add(self, job_id: str, name: str) -> Path:
        """Return the path for a new file of a job, in a folder that exists.

        Raises BadSetting if the name is no plain one or exists, UnknownJob, DiskFull.
        """
        checks.check_text(name, checks.FILE, "name of the file")
        with self._database.write() as change:
            job = find_job(change, job_id)
            path = self.folder / job.id / name
            if os.path.lexists(path) and not _is_listed(change, job.id, name):
                raise BadSetting(f"{path} exists, and the queue did not write it: use another name")
            change.change("INSERT OR IGNORE INTO file VALUES (?, ?)", job.id, name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskFull.of(path.parent, error) from error
        return path

    def list_paths(self, job_id: str) -> list[Path]:
        """Return the paths of the files of a job, whether they exist or not."""
        with self._database.read() as view:
            rows = view.rows("SELECT name FROM file WHERE job = ? ORDER BY name", job_id)
        names = [checks.check_text(row["name"], checks.FILE, "name of a file") for row in rows]
        return [self.folder / job_id / name for name in names]

    def remove_finished(self, older_than_s: float) -> list[str]:
        """Remove the jobs that finished so long ago, with their files; return their ids.

        Files that the queue did not write, such as a result in a user's folder, stay. An
        interrupted removal is completed by the next one. Raises DiskFull.
        """
        removed: list[str] = []
        while ids := self._remove_rows(older_than_s):
            removed += ids
        self._delete_files()
        return removed

    def _remove_rows(self, older_than_s: float) -> list[str]:
        states = ", ".join(f"'{state}'" for state in FINAL_STATES)
        with self._database.write() as change:
            latest_ms = change.now_ms - int(older_than_s * 1000)
            rows = change.rows(
                f"SELECT id FROM job WHERE finished_ms <= ? AND state IN ({states}) "
                "ORDER BY finished_ms LIMIT ?",
                latest_ms, _BATCH,
            )  # fmt: skip
            for row in rows:
                change.change("INSERT INTO removed VALUES (?, ?)", row["id"], change.now_ms)
                change.change("DELETE FROM job WHERE id = ?", row["id"])
            forgotten_ms = change.now_ms - int(older_than_s * 1000 * _KEEP_REMOVED)
            change.change(
                "DELETE FROM removed WHERE time_ms < ? AND job NOT IN (SELECT job FROM file)",
                forgotten_ms,
            )
        return [row["id"] for row in rows]

    def _delete_files(self) -> None:
        """Delete the listed files of removed jobs, then their rows, then empty folders."""
        with self._database.read() as view:
            rows = view.rows("SELECT job, name FROM file WHERE job IN (SELECT job FROM removed)")
        gone: list[tuple[str, str]] = []
        for job_id, name in rows:
            checks.check_text(job_id, checks.ID, "id")
            checks.check_text(name, checks.FILE, "name of a file")
            if _delete_file(self.folder / job_id / name):
                gone.append((job_id, name))
        for job_id in {job_id for job_id, _ in gone}:
            with suppress(OSError):  # it holds files of the user
                (self.folder / job_id).rmdir()
        if gone:
            with self._database.write() as change:
                for job_id, name in gone:
                    change.change("DELETE FROM file WHERE job = ? AND name = ?", job_id, name)


def _is_listed(change: Transaction, job_id: str, name: str) -> bool:
    return change.row("SELECT 1 FROM file WHERE job = ? AND name = ?", job_id, name) is not None


def _delete_file(path: Path) -> bool:
    """Delete a regular file, never through a link; return whether it is gone."""
    try:
        if stat.S_ISREG(os.lstat(path).st_mode) and not path.parent.is_symlink():
            path.unlink()
    except FileNotFoundError:
        return True
    except OSError:  # in use on Windows, or no permission: the next removal tries again
        return False
    return True
