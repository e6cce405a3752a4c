"""Routes of what a job made: its result, in ranges, and the preview of the latest frame."""

from __future__ import annotations

import base64
import os
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from starlette.datastructures import MutableHeaders

from filmgate.errors import JobConflict
from filmgate.service.api.access import Caller
from filmgate.service.api.context import describe_problems, find_job, get_api
from filmgate.service.api.problems import Problem
from filmgate.service.keys import Scope
from filmgate.service.views import ResultFile

_RANGE = re.compile(
    r"bytes=\s*(\d{1,18}-\d{0,18}|-\d{1,18})(\s*,\s*(\d{1,18}-\d{0,18}|-\d{1,18}))*"
)
_SHOWN = ("video/", "image/")  # media types that a browser may show in the page's origin
_TOKEN = Query(description="Of an address that POST /v1/jobs/{job_id}:link returned.")
_FILE = {
    "description": "The file.",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}

router = APIRouter(tags=["results"])


@router.head("/v1/jobs/{job_id}/result", include_in_schema=False)
@router.get(
    "/v1/jobs/{job_id}/result",
    operation_id="get_result",
    response_class=FileResponse,
    responses={
        200: _FILE,
        206: {**_FILE, "description": "The part of the file that `Range` names."},
        304: {"description": "The client has the file: `If-None-Match` names it."},
        **describe_problems("unknown-job", "job-removed", "job-conflict", "bad-range"),
    },
)
async def get_result(
    request: Request,
    job_id: str,
    partial: Annotated[
        bool, Query(description="What can be played so far, of a job that has not ended.")
    ] = False,
    inline: Annotated[bool, Query(description="To show it, not to save it.")] = False,
    token: Annotated[str | None, _TOKEN] = None,
) -> Response:
    """Download the result of a job. `ETag` is its SHA-256."""
    api, caller = get_api(request), _identify(request, job_id, token)

    def find() -> tuple[ResultFile, os.stat_result, str]:
        job = find_job(api, caller, job_id)
        try:
            file = api.service.open_result(job_id, partial=partial)
            return file, os.stat(file.path), api.inputs.name_result(job, file.name)
        except FileNotFoundError as error:
            raise JobConflict(f"the result of job {job_id} is not there any more: submit the job "
                              "again") from error  # fmt: skip

    file, stat, name = await run_in_threadpool(find)
    headers = _make_headers(file)
    if headers.get("ETag") in _list_tags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    _check_range(request, stat.st_size)
    is_shown = inline and file.media_type.startswith(_SHOWN)
    return FileResponse(
        file.path,
        headers=headers,
        media_type=file.media_type,
        filename=name,
        stat_result=stat,
        content_disposition_type="inline" if is_shown else "attachment",
    )


@router.get(
    "/v1/jobs/{job_id}/preview",
    operation_id="get_preview",
    response_class=Response,
    responses={
        200: {
            "description": "JPEG: the latest frame, before, after, or one next to the other.",
            "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        },
        **describe_problems("unknown-job", "job-removed", "no-preview"),
    },
)
async def get_preview(
    request: Request,
    job_id: str,
    side: Annotated[
        Literal["both", "before", "after"],
        Query(description="The source's, the result's, or both."),
    ] = "both",
    token: Annotated[str | None, _TOKEN] = None,
) -> Response:
    """Return an image of the latest frame of a job, before and after."""
    api, caller = get_api(request), _identify(request, job_id, token)

    def find() -> bytes | None:
        find_job(api, caller, job_id)
        return api.service.read_preview(job_id, side)

    data = await run_in_threadpool(find)
    if data is None:
        raise Problem("no-preview", f"job {job_id} has no frame yet: ask again", retry_after_s=1.0)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "no-store"})


def _identify(request: Request, job_id: str, token: str | None) -> Caller:
    """Return who asks, by the token of a link or by the key."""
    gate = get_api(request).gate
    if token is not None:
        return gate.check_link(job_id, token)
    caller = gate.identify(request.headers.get("authorization"))
    caller.require(Scope.READ)
    return caller


def _make_headers(file: ResultFile) -> dict[str, str]:
    headers = {"Cache-Control": "private, no-cache", "Content-Security-Policy": "sandbox"}
    if file.sha256:
        digest = base64.b64encode(bytes.fromhex(file.sha256)).decode()
        headers |= {"ETag": f'"{file.sha256}"', "Repr-Digest": f"sha-256=:{digest}:"}
    return headers


def _list_tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _check_range(request: Request, size: int) -> None:
    """Remove a Range that is none, as HTTP wants it. Raises Problem for one outside of the file."""
    header = request.headers.get("range")
    if header is None:
        return
    parts = [part.strip().partition("-") for part in header.removeprefix("bytes=").split(",")]
    if not _RANGE.fullmatch(header) or any(
        first and last and int(first) > int(last) for first, _, last in parts
    ):
        del MutableHeaders(scope=request.scope)["range"]
        return
    if not any(int(first) < size if first else int(last) for first, _, last in parts):
        raise Problem("bad-range", f"the range {header[:60]} is outside of the {size} bytes of the "
                      "file", headers={"Content-Range": f"bytes */{size}"})  # fmt: skip
