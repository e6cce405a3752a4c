"""Upload a file to a service by tus 1.0: it continues where an earlier process stopped."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from filmgate.errors import BadInput, JobConflict, NotConnected, UnknownUpload
from filmgate.service.client.answers import RemoteUpload, parse
from filmgate.service.client.connection import Connection, Passing, read_object
from filmgate.storage.fingerprint import ProgressCallback, ignore_progress

if TYPE_CHECKING:
    from hashlib import _Hash

CHUNK_BYTES = 8 << 20
_TUS: Mapping[str, str] = MappingProxyType({"Tus-Resumable": "1.0.0"})
_TYPE = "application/offset+octet-stream"
_TRIES = 2  # with a file that arrives as another one
_CONFLICTS = 3  # with another process that sends the same upload, after which we make our own


def upload_file(
    connection: Connection, path: Path, on_progress: ProgressCallback = ignore_progress
) -> str:
    """Return the id of an upload of the file; what the service has of it is not sent again.

    Raises BadInput, also if the service refuses the file; UploadQuota, NotConnected.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if not size:
                raise BadInput(f"{path} is empty: get an intact copy")
            for attempt in range(_TRIES):
                source = _Source(file, size)
                upload = _send(connection, path.name, source, on_progress, is_new=attempt > 0)
                if upload.problem:
                    raise BadInput(f"the service refuses {path}: {upload.problem}")
                if upload.sha256 == source.hash_to(size):
                    return upload.id
                connection.ask("DELETE", f"/v1/uploads/{upload.id}")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}. Pass another file") from error
    raise NotConnected(f"the service at {connection.server} has other bytes than {path}: submit it "
                       "again when nothing changes the file")  # fmt: skip


class _Source:
    """A file that is sent, and the SHA-256 of its beginning."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self.size = file, size
        self._digest: _Hash = hashlib.sha256()
        self._hashed = 0

    def read(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(count)

    def hash_to(self, end: int) -> str:
        """Return the SHA-256 of the first `end` bytes; later ones can be asked for, not earlier."""
        while self._hashed < end:
            data = self.read(self._hashed, min(CHUNK_BYTES, end - self._hashed))
            if not data:
                break
            self._digest.update(data)
            self._hashed += len(data)
        return self._digest.hexdigest()


def _send(
    connection: Connection, name: str, source: _Source, on_progress: ProgressCallback, is_new: bool
) -> RemoteUpload:
    """Return a complete upload of the source; with `is_new` nothing is reused."""
    upload = None if is_new else _find(connection, name, source)
    address = f"/v1/tus/{upload.id}" if upload else _create(connection, name, source.size)
    attempts, conflicts = connection.make_attempts(), 0
    while True:
        try:
            _send_rest(connection, address, source, on_progress)
            break
        except UnknownUpload:  # it has expired
            address = _create(connection, name, source.size)
        except JobConflict as error:
            conflicts += 1
            if conflicts == _CONFLICTS:
                address = _create(connection, name, source.size)
            attempts.pause(error)
    answer = connection.ask("GET", f"/v1/uploads/{address.rpartition('/')[2]}")
    return parse(RemoteUpload, read_object(answer), connection.server)


def _find(connection: Connection, name: str, source: _Source) -> RemoteUpload | None:
    """Return an upload of the same file, or the beginning of one of the same name and size."""
    answer = connection.ask("GET", "/v1/uploads")
    listed = read_object(answer).get("uploads", [])
    uploads = parse(tuple[RemoteUpload, ...], listed, connection.server)
    same = [upload for upload in uploads if upload.size_bytes == source.size]
    for upload in same:
        if upload.state == "complete" and upload.sha256 == source.hash_to(source.size):
            return upload
    return next((one for one in same if one.state == "partial" and one.name == name), None)


def _create(connection: Connection, name: str, size: int) -> str:
    """Return the address of a new upload."""
    metadata = f"filename {b64encode(name.encode(errors='replace')).decode()}"
    headers = {**_TUS, "Upload-Length": str(size), "Upload-Metadata": metadata}
    answer = connection.ask("POST", "/v1/tus", headers=headers)
    place = answer.headers.get("location", "").rpartition("/")[2]
    if not place.isalnum():
        raise NotConnected(f"{connection.server} does not say where to upload: check the address")
    return f"/v1/tus/{place}"


def _send_rest(
    connection: Connection, address: str, source: _Source, on_progress: ProgressCallback
) -> None:
    """Send what is missing. Raises JobConflict if another process sends the same upload."""
    attempts = connection.make_attempts()
    offset = _read_offset(connection, address)
    while offset < source.size:
        on_progress("uploading", offset, source.size)
        chunk = source.read(offset, CHUNK_BYTES)
        digest = b64encode(hashlib.sha256(chunk).digest()).decode()
        headers = {**_TUS, "Content-Type": _TYPE, "Upload-Offset": str(offset),
                   "Upload-Checksum": f"sha256 {digest}"}  # fmt: skip
        try:
            connection.ask_once("PATCH", address, content=chunk, headers=headers)
            offset += len(chunk)
            attempts.succeed()
        except Passing as passing:
            attempts.pause(passing.error, passing.retry_after_s)
            offset = _read_offset(connection, address)
        if not chunk:
            raise BadInput("the file became shorter while it was uploaded: submit it again")
    on_progress("uploading", source.size, source.size)


def _read_offset(connection: Connection, address: str) -> int:
    """Return how many bytes the service has."""
    text = connection.ask("HEAD", address, headers=_TUS).headers.get("upload-offset", "")
    if not text.isdecimal():
        raise NotConnected(f"{connection.server} does not say how much it has of the upload: check "
                           "the address")  # fmt: skip
    return int(text)
