"""Uploaded files: each under a name of the server's, with its description next to it.

An upload is `ID.data` and `ID.json` in one folder. Its offset is the size of the data, and is
reported only after that is durable.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from filmgate.errors import BadInput, BadSetting, DiskFull, JobConflict, UnknownUpload, UploadQuota
from filmgate.service.uploads.check import Check, CheckedFile, check_upload
from filmgate.storage.atomic import fsync_directory, write_atomic
from filmgate.tasks.settings import make_adapter
from filmgate.units import GIB, format_bytes

_ID = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"([0-9a-f]{32})\.(data|json)")
_MAX_JSON = 1 << 20
_MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """How much may be uploaded and how long it is kept. Bytes and seconds."""

    file_bytes: int = 50 * GIB
    tenant_bytes: int = 200 * GIB
    tenant_files: int = 1000
    free_bytes: int = GIB  # of the disk, which stay free
    partial_s: float = 86_400.0  # without progress
    complete_s: float = 7 * 86_400.0  # since a job used it


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload as its description says. `touched_s`: of the wall clock, its latest use.

    `checked_bytes`: bytes whose checksum is known to be right; None: all of them. `file` of one
    that is complete and checked, `problem` of one that was refused.
    """

    id: str
    tenant: str
    name: str
    size_bytes: int
    touched_s: float
    checked_bytes: int | None = None
    file: CheckedFile | None = None
    problem: str = ""


class UploadStore:
    """The uploads in one folder, which this process alone changes. Safe to call from any thread."""

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], float],
        limits: UploadLimits | None = None,
        check: Check = check_upload,
    ) -> None:
        """Open the folder, or create it; `clock` gives wall time. Raises DiskFull."""
        self.folder, self.limits = folder, limits or UploadLimits()
        self._clock, self._check = clock, check
        self._lock = threading.RLock()
        self._writers: dict[str, UploadWriter] = {}
        self._checking: dict[str, threading.Lock] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._uploads = {upload.id: upload for upload in self._read_folder()}
        except OSError as error:
            raise DiskFull.of(folder, error) from error

    def create(self, tenant: str, size_bytes: int, name: str = "") -> Upload:
        """Reserve an upload of so many bytes. Raises BadSetting, UploadQuota, DiskFull."""
        limits = self.limits
        if not 0 < size_bytes <= limits.file_bytes:
            raise BadSetting(f"the upload has {size_bytes} bytes: wanted 1 to {limits.file_bytes}")
        upload = Upload(
            id=secrets.token_hex(16),
            tenant=tenant,
            name=clean_name(name),
            size_bytes=size_bytes,
            touched_s=self._clock(),
        )
        with self._lock:
            own = [one for one in self._uploads.values() if one.tenant == tenant]
            used = sum(one.size_bytes for one in own if not one.problem)
            if used + size_bytes > limits.tenant_bytes or len(own) >= limits.tenant_files:
                raise UploadQuota(
                    f"{len(own)} uploads have {format_bytes(used)}, and this one has "
                    f"{format_bytes(size_bytes)}: at most {limits.tenant_files} and "
                    f"{format_bytes(limits.tenant_bytes)} are kept, so delete some"
                )
            missing = sum(
                one.size_bytes - self.measure(one)
                for one in self._uploads.values()
                if not one.problem  # which has lost its bytes
            )
            with _translate(self.folder):
                free = shutil.disk_usage(self.folder).free - missing - limits.free_bytes
                if size_bytes > free:
                    raise DiskFull(
                        f"an upload of {format_bytes(size_bytes)} does not fit on the disk of the "
                        f"service, which has {format_bytes(max(0, free))} for uploads: delete "
                        "uploads, or try again later"
                    )
                self.get_data_path(upload).touch(exist_ok=False)
                self._store(upload)
        return upload

    def get(self, tenant: str, upload_id: str) -> Upload:
        """Return an upload of a tenant. Raises UnknownUpload."""
        upload = self._uploads.get(upload_id) if _ID.fullmatch(upload_id) else None
        if upload is None or upload.tenant != tenant:
            raise UnknownUpload(f"there is no upload {upload_id[:40]!a}: upload the file again")
        return upload

    def list_uploads(self, tenant: str) -> list[Upload]:
        """Return the uploads of a tenant, the latest first."""
        with self._lock:
            own = [one for one in self._uploads.values() if one.tenant == tenant]
        return sorted(own, key=lambda one: -one.touched_s)

    def read_offset(self, upload: Upload) -> int:
        """Return how many bytes are there, after making them durable.

        Bytes of a part whose checksum was not compared are cut off.
        """
        if upload.file is not None:
            return upload.size_bytes
        with self._lock, _translate(self.folder):
            if upload.id in self._writers:
                return self._writers[upload.id].durable_bytes
            with self.get_data_path(upload).open("rb+") as file:
                if upload.checked_bytes is not None:
                    file.truncate(upload.checked_bytes)
                os.fsync(file.fileno())
                return file.seek(0, os.SEEK_END)

    def open_writer(self, upload: Upload, offset: int, *, has_checksum: bool) -> UploadWriter:
        """Return what appends to the upload, from `offset` on.

        Raises JobConflict if it is at another offset, complete, or another request writes it. With
        a checksum, bytes count only when `keep` was called.
        """
        with self._lock:
            if upload.id in self._writers:
                raise JobConflict(f"another request writes upload {upload.id}: try again")
            at = self.read_offset(upload)
            if offset != at or upload.problem or upload.file is not None:
                raise JobConflict(f"upload {upload.id} is at byte {at}, and the request at "
                                  f"{offset}: continue there")  # fmt: skip
            with _translate(self.folder):
                if has_checksum != (upload.checked_bytes is not None):
                    upload = replace(upload, checked_bytes=at if has_checksum else None)
                    self._store(upload)
                writer = UploadWriter(self, upload, at)
            self._writers[upload.id] = writer
            return writer

    def stop_writer(self, upload: Upload, timeout_s: float) -> None:
        """Ask the request that writes the upload to stop, as its client has gone; wait for it."""
        with self._lock:
            writer = self._writers.get(upload.id)
        if writer is not None:
            writer.is_asked_to_stop = True
            writer.ended.wait(timeout_s)

    def finish(self, upload: Upload) -> Upload:
        """Check a complete upload, once, and return it. Raises JobConflict if bytes are missing.

        One that is refused loses its bytes.
        """
        with self._lock:
            check = self._checking.setdefault(upload.id, threading.Lock())
        with check:
            upload = self.get(upload.tenant, upload.id)
            if upload.file is not None or upload.problem:
                return upload
            at = self.read_offset(upload)
            if at != upload.size_bytes:
                raise JobConflict(f"upload {upload.id} has {at} of {upload.size_bytes} bytes: send "
                                  "the rest")  # fmt: skip
            path = self.get_data_path(upload)
            try:
                upload = replace(upload, file=self._check(path, upload.name or "the upload"))
            except BadInput as error:
                upload = replace(upload, problem=str(error)[:2000])
            with self._lock, _translate(self.folder):
                upload = replace(upload, touched_s=self._clock(), checked_bytes=None)
                self._store(upload)
                if upload.problem:
                    os.truncate(path, 0)
                self._checking.pop(upload.id, None)
        return upload

    def resolve(self, tenant: str, upload_id: str) -> Path:
        """Return the file of a complete upload, for a job.

        Raises UnknownUpload, JobConflict if it is not complete, BadInput if it was refused.
        """
        upload = self.finish(self.get(tenant, upload_id))
        if upload.problem:
            raise BadInput(upload.problem)
        with self._lock, _translate(self.folder):
            self._store(replace(upload, touched_s=self._clock()))
        return self.get_data_path(upload)

    def remove(self, upload: Upload) -> None:
        """Delete an upload; a request that writes it ends."""
        with self._lock:
            if (writer := self._writers.pop(upload.id, None)) is not None:
                writer.is_asked_to_stop = True
            self._uploads.pop(upload.id, None)
            with suppress(FileNotFoundError), _translate(self.folder):
                self._get_json_path(upload).unlink()
            with suppress(OSError):  # on Windows while it is open; deleted at the next start
                self.get_data_path(upload).unlink()

    def remove_expired(self, used: Collection[Path]) -> list[str]:
        """Delete what has expired and is not `used` by a job; return the ids."""
        now, removed = self._clock(), []
        with self._lock:
            for upload in list(self._uploads.values()):
                kept_s = self.limits.complete_s if upload.file else self.limits.partial_s
                path = self.get_data_path(upload)
                is_old = now - upload.touched_s > kept_s
                if is_old and upload.id not in self._writers and path not in used:
                    self.remove(upload)
                    removed.append(upload.id)
        return removed

    def measure(self, upload: Upload) -> int:
        """Return how many bytes are there now, durable or not."""
        with suppress(OSError):
            return min(self.get_data_path(upload).stat().st_size, upload.size_bytes)
        return 0

    def measure_used(self) -> int:
        """Return the bytes of all uploads."""
        with self._lock:
            return sum(self.measure(upload) for upload in self._uploads.values())

    def get_data_path(self, upload: Upload) -> Path:
        """Return the file with the bytes of an upload."""
        return self.folder / f"{upload.id}.data"

    def close_writer(self, upload: Upload) -> None:
        """End what `open_writer` began; the bytes so far are durable."""
        with self._lock:
            if self._writers.pop(upload.id, None) is not None and upload.id in self._uploads:
                with _translate(self.folder):
                    self._store(replace(upload, touched_s=self._clock()))

    def _store(self, upload: Upload) -> None:
        data = make_adapter(Upload).dump_json(upload)
        write_atomic(self._get_json_path(upload), data)
        self._uploads[upload.id] = upload

    def _get_json_path(self, upload: Upload) -> Path:
        return self.folder / f"{upload.id}.json"

    def _read_folder(self) -> Iterator[Upload]:
        """Yield the uploads; bytes without a description, or the reverse, are deleted.

        They are of an upload that was being created or deleted. A damaged description stays.
        """
        names = {path.name for path in self.folder.iterdir() if path.is_file()}
        for name in sorted(names):
            if (found := _FILE.fullmatch(name)) is None:
                continue
            other = f"{found[1]}.{'json' if found[2] == 'data' else 'data'}"
            if other not in names:
                (self.folder / name).unlink()
            elif found[2] == "json":
                upload = _read_description(self.folder / name)
                if upload is not None and upload.id == found[1]:
                    yield upload
        fsync_directory(self.folder)


class UploadWriter:
    """Appends to one upload, until `close`; `durable_bytes` are reported meanwhile."""

    def __init__(self, store: UploadStore, upload: Upload, offset: int) -> None:
        self.upload, self.durable_bytes, self.is_asked_to_stop = upload, offset, False
        self.ended = threading.Event()
        self._store, self._offset = store, offset
        self._file = store.get_data_path(upload).open("rb+")
        self._file.seek(offset)

    def close(self, rest: bytes = b"") -> None:
        """Append the `rest` as far as it belongs to the upload, and make everything durable.

        A part whose checksum was not compared is cut off.
        """
        try:
            with _translate(self._store.folder), self._file:
                self._file.write(rest[: self.upload.size_bytes - self._offset])
                self._file.flush()
                if self.upload.checked_bytes is not None:
                    self._file.truncate(self.upload.checked_bytes)
                os.fsync(self._file.fileno())
        finally:
            self._store.close_writer(self.upload)
            self.ended.set()

    @property
    def offset(self) -> int:
        """Where the next byte goes."""
        return self._offset

    def write(self, data: bytes) -> None:
        """Append bytes. Raises BadSetting if they are more than the upload has; DiskFull."""
        if self._offset + len(data) > self.upload.size_bytes:
            raise BadSetting(f"the request has more bytes than the {self.upload.size_bytes} of the "
                             "upload: send as many as were announced")  # fmt: skip
        with _translate(self._store.folder):
            self._file.write(data)
        self._offset += len(data)

    def keep(self) -> None:
        """Take the bytes so far as right: their checksum was compared."""
        if self.upload.checked_bytes is not None:
            self.upload = replace(self.upload, checked_bytes=self._offset)


def clean_name(name: str) -> str:
    """Return a client's name of a file for messages: its last part, without control characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(char for char in last if char.isprintable())[:_MAX_NAME]


def _read_description(path: Path) -> Upload | None:
    from pydantic import ValidationError

    try:
        with path.open("rb") as file:
            return make_adapter(Upload).validate_json(file.read(_MAX_JSON))
    except (OSError, ValidationError):
        return None


@contextmanager
def _translate(folder: Path) -> Iterator[None]:
    """Turn errors of the disk into DiskFull."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskFull.of(folder, error) from error
