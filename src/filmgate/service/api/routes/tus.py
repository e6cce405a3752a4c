"""Resumable uploads: the protocol tus 1.0 with creation, checksum, termination and expiration.

See https://tus.io/protocols/resumable-upload. An upload here is the same as one of /v1/uploads.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from email.utils import formatdate
from types import MappingProxyType

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from starlette.requests import ClientDisconnect

from filmgate.errors import JobConflict
from filmgate.service.api.access import Caller
from filmgate.service.api.context import Api, Submitter, get_api
from filmgate.service.api.problems import Problem
from filmgate.service.api.routes.uploads import (
    create_upload,
    finish_upload,
    parse_length,
    receive,
    remove_upload,
)
from filmgate.service.uploads.store import Upload

VERSION = "1.0.0"
ALGORITHMS = ("sha256", "sha1", "md5")
STOP_S = 5.0  # in which an older request of the same upload ends
_HEADERS = MappingProxyType({"Tus-Resumable": VERSION, "Cache-Control": "no-store"})
_MAX_METADATA = 8192

router = APIRouter(include_in_schema=False)


@router.options("/v1/tus")
@router.options("/v1/tus/{upload_id}")
async def describe_protocol(request: Request) -> Response:
    """Return what the server can do."""
    headers = {
        **_HEADERS,
        "Tus-Version": VERSION,
        "Tus-Extension": "creation,checksum,termination,expiration",
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
        "Tus-Max-Size": str(get_api(request).uploads.limits.file_bytes),
    }
    return Response(status_code=204, headers=headers)


@router.post("/v1/tus")
async def create(request: Request, caller: Submitter) -> Response:
    """Reserve an upload; its address is in `Location`."""
    check_version(request)
    api = get_api(request)
    if "upload-length" not in request.headers:
        raise Problem("bad-request", "there is no Upload-Length: send the size of the file")
    length = parse_length(request.headers["upload-length"])
    name = parse_metadata(request.headers.get("upload-metadata", "")).get("filename", "")
    upload = await run_in_threadpool(create_upload, api, caller.tenant, length, name)
    return _answer(api, upload, 201, {"Location": f"/v1/tus/{upload.id}"})


@router.head("/v1/tus/{upload_id}")
async def find_offset(request: Request, caller: Submitter, upload_id: str) -> Response:
    """Return how many bytes are stored; a request that still writes is stopped."""
    check_version(request)
    api = get_api(request)
    upload, offset = await run_in_threadpool(_measure, api, caller, upload_id)
    more = {"Upload-Offset": str(offset), "Upload-Length": str(upload.size_bytes)}
    if upload.name:
        name = base64.b64encode(upload.name.encode()).decode()
        more["Upload-Metadata"] = f"filename {name}"
    return _answer(api, upload, 200, more)


@router.patch("/v1/tus/{upload_id}")
async def append(request: Request, caller: Submitter, upload_id: str) -> Response:
    """Append bytes. The offset in the answer is durable, and so is what came before a break."""
    check_version(request)
    api = get_api(request)
    if request.headers.get("content-type", "") != "application/offset+octet-stream":
        raise Problem("bad-media-type", "the body of PATCH has another type: send "
                      "application/offset+octet-stream")  # fmt: skip
    offset = parse_length(request.headers.get("upload-offset", "none"))
    checksum = parse_checksum(request.headers.get("upload-checksum"))
    upload, at = await run_in_threadpool(_measure, api, caller, upload_id)
    try:
        writer = await run_in_threadpool(
            api.uploads.open_writer, upload, offset, has_checksum=checksum is not None
        )
    except JobConflict as error:
        raise Problem("upload-conflict", str(error), headers={"Upload-Offset": str(at)}) from error
    try:
        await receive(request, writer, checksum)
    except ClientDisconnect:
        return Response(status_code=204)  # its client has gone; what came is stored
    upload = api.uploads.get(caller.tenant, upload_id)
    if writer.offset == upload.size_bytes:
        upload = await finish_upload(api, upload)
    return _answer(api, upload, 204, {"Upload-Offset": str(writer.offset)})


@router.delete("/v1/tus/{upload_id}")
async def terminate(request: Request, caller: Submitter, upload_id: str) -> Response:
    """Delete an upload."""
    check_version(request)
    await run_in_threadpool(remove_upload, get_api(request), caller.tenant, upload_id)
    return Response(status_code=204, headers=dict(_HEADERS))


def check_version(request: Request) -> None:
    """Raise Problem unless the client speaks this version of tus."""
    version = request.headers.get("tus-resumable", "")
    if version != VERSION:
        raise Problem("bad-protocol", f"Tus-Resumable is {version[:20]!a}: send {VERSION}",
                      headers={"Tus-Version": VERSION})  # fmt: skip


def parse_metadata(header: str) -> dict[str, str]:
    """Return the pairs of an Upload-Metadata header. Raises Problem."""
    if len(header) > _MAX_METADATA:
        raise Problem("bad-request", f"Upload-Metadata has {len(header)} characters: send at most "
                      f"{_MAX_METADATA}")  # fmt: skip
    pairs: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in header.split(","))):
        name, _, value = pair.partition(" ")
        try:
            text = base64.b64decode(value, validate=True).decode(errors="replace")
        except (binascii.Error, ValueError) as error:
            raise Problem("bad-request", f"Upload-Metadata has {name[:40]!a} with a value that is "
                          "not base64: encode it") from error  # fmt: skip
        pairs[name] = text
    return pairs


def parse_checksum(header: str | None) -> tuple[str, bytes] | None:
    """Return algorithm and digest of an Upload-Checksum header. Raises Problem."""
    if header is None:
        return None
    name, _, value = header.partition(" ")
    if name not in ALGORITHMS:
        raise Problem("bad-request", f"the checksum is of {name[:20]!a}: use one of "
                      f"{', '.join(ALGORITHMS)}")  # fmt: skip
    try:
        return name, base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("bad-request", "the checksum is not base64: encode it") from error


def _measure(api: Api, caller: Caller, upload_id: str) -> tuple[Upload, int]:
    """Return an upload and its durable bytes, after an older request that wrote it has ended."""
    api.uploads.stop_writer(api.uploads.get(caller.tenant, upload_id), STOP_S)
    upload = api.uploads.get(caller.tenant, upload_id)
    return upload, api.uploads.read_offset(upload)


def _answer(api: Api, upload: Upload, status: int, more: Mapping[str, str]) -> Response:
    headers = {**_HEADERS, **more}
    if upload.file is None:
        expires_s = upload.touched_s + api.uploads.limits.partial_s
        headers["Upload-Expires"] = formatdate(expires_s, usegmt=True)
    return Response(status_code=status, headers=headers)
