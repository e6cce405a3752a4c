"""Routes of uploads in one request, and what both ways to upload share."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Protocol
from urllib.parse import unquote

from fastapi import APIRouter, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from filmgate.errors import BadInput, JobConflict
from filmgate.service.api.answers import UploadAnswer, UploadListAnswer, describe_upload
from filmgate.service.api.context import Api, Reader, Submitter, describe_problems, get_api
from filmgate.service.api.problems import Problem
from filmgate.service.uploads.store import Upload, UploadWriter

WRITE_BYTES = 1 << 20  # at a time
IDLE_S = 60.0  # without a byte, after which an upload ends
LOOK_S = 0.5  # between looks whether another request wants to continue
_MAX_LENGTH = (1 << 60) - 1
_BINARY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

router = APIRouter(tags=["uploads"])


class Digest(Protocol):
    """What `hashlib.new` returns."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


@router.post(
    "/v1/uploads",
    operation_id="upload",
    status_code=201,
    responses={
        201: {"model": UploadAnswer},
        **describe_problems(
            "no-length", "too-large", "bad-input", "bad-setting", "quota-exceeded",
            "insufficient-storage",
        ),
    },
    openapi_extra=_BINARY,
)  # fmt: skip
async def upload_file(
    request: Request,
    caller: Submitter,
    upload_name: Annotated[
        str, Header(description="Name of the file, for messages; percent-encoded.")
    ] = "",
) -> JSONResponse:
    """Upload a video, or boxes, in one request; the body is the file.

    It is checked before the answer. To continue after a lost connection, use tus 1.0 at /v1/tus.
    """
    api = get_api(request)
    length = parse_length(request.headers.get("content-length"))
    name = unquote(upload_name, errors="replace")
    upload = await run_in_threadpool(create_upload, api, caller.tenant, length, name)
    try:
        writer = await run_in_threadpool(
            api.uploads.open_writer, upload, 0, has_checksum=False
        )  # fmt: skip
        await receive(request, writer)
        upload = await finish_upload(api, upload)
    except BaseException:  # a client that goes away does not know its id
        await run_in_threadpool(api.uploads.remove, upload)
        raise
    headers = {"Location": f"/v1/uploads/{upload.id}"}
    return JSONResponse(describe_upload(upload, upload.size_bytes), 201, headers)


@router.get(
    "/v1/uploads",
    operation_id="list_uploads",
    responses={200: {"model": UploadListAnswer}, **describe_problems()},
)
async def list_uploads(request: Request, caller: Reader) -> JSONResponse:
    """Return the uploads of the caller, the latest first."""
    api = get_api(request)

    def describe() -> list[dict[str, Any]]:
        uploads = api.uploads.list_uploads(caller.tenant)
        return [describe_upload(one, api.uploads.measure(one)) for one in uploads]

    return JSONResponse({"uploads": await run_in_threadpool(describe)})


@router.get(
    "/v1/uploads/{upload_id}",
    operation_id="get_upload",
    responses={200: {"model": UploadAnswer}, **describe_problems("unknown-upload")},
)
async def get_upload(request: Request, caller: Reader, upload_id: str) -> JSONResponse:
    """Return an upload; one whose bytes are all there is checked first."""
    api = get_api(request)

    def describe() -> dict[str, Any]:
        upload = api.uploads.get(caller.tenant, upload_id)
        with suppress(JobConflict):  # bytes are missing
            upload = api.uploads.finish(upload)
        return describe_upload(upload, api.uploads.read_offset(upload))

    async with api.turns.checks:
        return JSONResponse(await run_in_threadpool(describe))


@router.delete(
    "/v1/uploads/{upload_id}",
    operation_id="delete_upload",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is deleted."}, **describe_problems("unknown-upload")},
)
async def delete_upload(request: Request, caller: Submitter, upload_id: str) -> Response:
    """Delete an upload. A job that reads it fails."""
    await run_in_threadpool(remove_upload, get_api(request), caller.tenant, upload_id)
    return Response(status_code=204)


def create_upload(api: Api, tenant: str, length: int, name: str) -> Upload:
    """Reserve an upload. Raises Problem, UserError, DiskFull."""
    if length > api.uploads.limits.file_bytes:
        raise Problem("too-large", f"the file has {length} bytes, at most "
                      f"{api.uploads.limits.file_bytes} are taken: make it smaller")  # fmt: skip
    return api.uploads.create(tenant, length, name)


def remove_upload(api: Api, tenant: str, upload_id: str) -> None:
    """Delete an upload of a tenant. Raises UnknownUpload."""
    api.uploads.remove(api.uploads.get(tenant, upload_id))


async def finish_upload(api: Api, upload: Upload) -> Upload:
    """Check a complete upload and return it. Raises BadInput if it is refused."""
    async with api.turns.checks:
        upload = await run_in_threadpool(api.uploads.finish, upload)
    if upload.problem:
        raise BadInput(upload.problem)
    return upload


async def receive(
    request: Request, writer: UploadWriter, checksum: tuple[str, bytes] | None = None
) -> None:
    """Append the body of a request and make it durable, also when the client goes away.

    With a `checksum`, its algorithm and digest, the body counts if it has that. Raises Problem,
    ClientDisconnect.
    """
    digest = hashlib.new(checksum[0], usedforsecurity=False) if checksum else None
    pending = bytearray()
    try:
        async for data in _iter_body(request, writer):
            pending += data
            if len(pending) >= WRITE_BYTES:
                await _write(writer, pending, digest)
        await _write(writer, pending, digest)
        if checksum is not None and digest is not None:
            if digest.digest() != checksum[1]:
                raise Problem("wrong-checksum", f"the {checksum[0]} of the body is another one: "
                              "send it again")  # fmt: skip
            await run_in_threadpool(writer.keep)
    finally:
        await asyncio.shield(asyncio.ensure_future(run_in_threadpool(writer.close, bytes(pending))))


async def _write(writer: UploadWriter, pending: bytearray, digest: Digest | None) -> None:
    """Append what is pending, in a thread: the disk may be slow."""
    data = bytes(pending)
    pending.clear()

    def write() -> None:
        if digest is not None:
            digest.update(data)
        writer.write(data)

    await run_in_threadpool(write)


async def _iter_body(request: Request, writer: UploadWriter) -> AsyncIterator[bytes]:
    """Yield the parts of a body; stop if another request wants to continue with the upload."""
    stream = request.stream()
    heard = time.monotonic()
    part: asyncio.Future[bytes | None] | None = None
    try:
        while True:
            part = part or asyncio.ensure_future(_read_next(stream))
            done, _ = await asyncio.wait({part}, timeout=LOOK_S)
            if writer.is_asked_to_stop:
                raise Problem("upload-conflict", "another request continues this upload")
            if done:
                data, part, heard = part.result(), None, time.monotonic()
                if data is None:
                    return
                yield data
            elif time.monotonic() - heard > IDLE_S:
                raise Problem("bad-request", f"no byte came for {IDLE_S:.0f} s: continue the "
                              "upload later")  # fmt: skip
    finally:
        if part is not None:
            part.cancel()
            with suppress(asyncio.CancelledError, ClientDisconnect):
                await part


async def _read_next(stream: AsyncIterator[bytes]) -> bytes | None:
    return await anext(stream, None)


def parse_length(text: str | None) -> int:
    """Return the announced length of a body. Raises Problem."""
    if text is None:
        raise Problem("no-length", "the request has no Content-Length: send it, or use /v1/tus")
    if not (text.isascii() and text.isdecimal()) or int(text[:20]) > _MAX_LENGTH:
        raise Problem("bad-request", f"the length is {text[:40]!a}: send a number of bytes")
    return int(text)
