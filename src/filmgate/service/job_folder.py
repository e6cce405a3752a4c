"""The folder of a job: its result, its run, its samples and its preview."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filmgate.errors import Busy, FilmgateError
from filmgate.jobs.queue.job_queue import JobQueue
from filmgate.jobs.run_directory import RunDirectory
from filmgate.service.contracts import Preview
from filmgate.service.schema import RESULT_NAME
from filmgate.storage.atomic import write_atomic

RUN = "run"  # the folder of an unfinished run, in that of its job
PREVIEWS = {"both": "preview.jpg", "before": "preview-before.jpg", "after": "preview-after.jpg"}
SAMPLES = tuple(
    f"sample-{place}-{side}.jpg" for place in ("first", "middle", "last") for side in ("in", "out")
)
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TEMPORARY = re.compile(r"\.filmgate-[0-9a-f]{8}\.new")  # of `write_atomic`


class JobFolder:
    """The files of one job of a queue. They are listed there before they are written."""

    def __init__(self, queue: JobQueue, job_id: str) -> None:
        self._queue, self._job_id = queue, job_id
        self.path = queue.files.folder / job_id

    @property
    def run(self) -> Path:
        """The folder of its run."""
        return self.path / RUN

    def prepare(self, result: str, *, samples: bool) -> None:
        """Create the folder and list the files that a worker will write. Raises DiskFull."""
        for name in (result, *(SAMPLES if samples else ())):
            self._queue.files.add(self._job_id, name)

    def clear(self, *, keep_parts: bool) -> None:
        """Remove what a worker that was killed has left; without `keep_parts` run and result too.

        Previews and samples stay.
        """
        remove_leftovers(self.path)
        if not keep_parts:
            for path in self._queue.files.list_paths(self._job_id):
                if path.stem == RESULT_NAME and not self.path.is_symlink():
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
            remove_run(self.path)

    def find_playable(self) -> Path | None:
        """Return a video of what is done so far, None if there is none."""
        with suppress(OSError):
            for path in sorted(self.run.glob("playable.*")):
                if path.is_file() and not path.is_symlink():
                    return path
        return None

    def write_preview(self, preview: Preview) -> None:
        """Store a preview. Raises OSError, DiskFull."""
        images = {"both": preview.combined, "before": preview.before, "after": preview.after}
        for side, name in PREVIEWS.items():
            write_atomic(self._queue.files.add(self._job_id, name), images[side])

    def read_preview(self, side: str) -> bytes | None:
        """Return a stored preview, None if there is none."""
        with suppress(OSError):
            return (self.path / PREVIEWS[side]).read_bytes()
        return None


def remove_run(folder: Path) -> None:
    """Remove the run in the folder of a job; files that no run wrote stay."""
    directory = RunDirectory(folder / RUN)
    with suppress(FilmgateError, OSError, Busy):
        if not directory.path.is_symlink() and directory.is_run:
            with directory.lock():
                directory.remove()
    for path in (directory.path, folder):
        with suppress(OSError):
            path.rmdir()  # if nothing else is in it


def remove_leftovers(folder: Path) -> None:
    """Remove files in a folder that a process was killed while it wrote."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)


def find_orphans(files: Path, known: Iterable[str]) -> list[Path]:
    """Return the folders of jobs that the queue does not have any more."""
    kept = set(known)
    with suppress(OSError):
        return [
            path
            for path in sorted(files.iterdir())
            if _ID.fullmatch(path.name) and path.is_dir() and path.name not in kept
        ]
    return []
