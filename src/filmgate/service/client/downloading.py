"""Download a result: resumed after a break, compared with its SHA-256 before it gets its name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.errors import DiskFull, FilmgateError, NotConnected, OutputExists
from filmgate.service.client.connection import Connection, Passing
from filmgate.storage.atomic import replace_durably
from filmgate.storage.fingerprint import ProgressCallback, ignore_progress, sha256_of

if TYPE_CHECKING:
    import httpx2

    from filmgate.service.client.answers import RemoteResult

_SILENCE_S = 60.0
_TRIES = 2  # with a file that arrives as another one


def download_result(
    connection: Connection,
    job_id: str,
    result: RemoteResult,
    path: Path,
    *,
    overwrite: bool = False,
    on_progress: ProgressCallback = ignore_progress,
) -> Path:
    """Download the result to `path` and return that.

    A download that was stopped leaves `.NAME.SHA.part` next to it, from which the next continues.
    Raises OutputExists, DiskFull, NotConnected, JobConflict.
    """
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists: choose another name, or pass --overwrite")
    part = path.with_name(f".{path.name}.{result.sha256[:16]}.part")
    try:
        for _ in range(_TRIES):
            _fetch(connection, job_id, result, part, on_progress)
            if sha256_of(part) == result.sha256:
                replace_durably(part, path)
                return path
            part.unlink()
    except OSError as error:
        raise DiskFull.of(part, error) from error
    raise NotConnected(f"the result of job {job_id} arrived with another SHA-256 than "
                       f"{result.sha256}: it was deleted; download it again")  # fmt: skip


def download_partial(connection: Connection, job_id: str, path: Path, overwrite: bool) -> Path:
    """Download what can be played so far of a job that has not ended."""
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists: choose another name, or pass --overwrite")
    part = path.with_name(f".{path.name}.part")
    attempts = connection.make_attempts()
    while True:
        try:
            with (
                connection.stream("GET", f"/v1/jobs/{job_id}/result", params={"partial": 1},
                                  read=False) as answer,
                part.open("wb") as file,
            ):  # fmt: skip
                for data in answer.iter_bytes():
                    file.write(data)
            replace_durably(part, path)
            return path
        except Passing as passing:
            attempts.pause(passing.error, passing.retry_after_s)
        except OSError as error:
            raise DiskFull.of(part, error) from error
        finally:
            part.unlink(missing_ok=True)


def _fetch(
    connection: Connection,
    job_id: str,
    result: RemoteResult,
    part: Path,
    on_progress: ProgressCallback,
) -> None:
    """Download what is missing of the result into `part`."""
    attempts = connection.make_attempts()
    if part.exists() and part.stat().st_size > result.size_bytes:  # not by us
        part.unlink()
    while (have := part.stat().st_size if part.exists() else 0) < result.size_bytes:
        # The tag is that of this result: of another one all of it comes.
        headers = {"Range": f"bytes={have}-", "If-Range": f'"{result.sha256}"'} if have else {}
        try:
            with connection.stream("GET", f"/v1/jobs/{job_id}/result", headers=headers, read=False,
                                   timeout_s=_SILENCE_S) as answer:  # fmt: skip
                mode = "ab" if _starts_at(answer, have) else "wb"
                with part.open(mode) as file:
                    for data in answer.iter_bytes():
                        file.write(data)
                        attempts.succeed()
                        on_progress("downloading", file.tell(), result.size_bytes)
        except Passing as passing:
            attempts.pause(passing.error, passing.retry_after_s)
        else:
            if part.stat().st_size <= have:
                attempts.pause(_explain_short(result, have))
    part.touch()  # also of no bytes


def _starts_at(answer: httpx2.Response, offset: int) -> bool:
    """Return whether an answer continues at `offset`; else it is the complete file."""
    return answer.status_code == 206 and answer.headers.get("content-range", "").startswith(
        f"bytes {offset}-"
    )


def _explain_short(result: RemoteResult, have: int) -> FilmgateError:
    return NotConnected(f"the service sent {have} bytes and says that the result has "
                        f"{result.size_bytes}: download it again")  # fmt: skip
