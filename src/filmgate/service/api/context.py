"""What the routes share, and what each takes from a request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from filmgate.errors import BadField, UnknownJob
from filmgate.service.api.access import Caller, Gatekeeper
from filmgate.service.api.answers import ProblemAnswer
from filmgate.service.api.changes import JobChanges
from filmgate.service.api.inputs import InputFiles
from filmgate.service.api.problems import MEDIA_TYPE, TYPES, Problem
from filmgate.service.documents.json_document import MAX_BYTES, read_object
from filmgate.service.job_service import JobService
from filmgate.service.keys import Scope
from filmgate.service.uploads.store import UploadStore
from filmgate.service.views import JobView

_BODY_S = 30.0  # in which a document must arrive
_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Turns:
    """How many of what takes long may happen at once, so that threads are left for the rest."""

    plans: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    submissions: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(16))
    checks: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of the server."""

    service: JobService
    uploads: UploadStore
    inputs: InputFiles
    gate: Gatekeeper
    changes: JobChanges
    turns: Turns


def get_api(request: Request) -> Api:
    """Return the parts of the server that handles a request."""
    api: Api = request.app.state.api
    return api


def get_correlation_id(request: Request) -> str:
    """Return the id that ties together what belongs to a request, in logs and answers."""
    return str(request.scope.get("correlation_id", ""))


def get_place(request: Request) -> str:
    """Return where in a trace a request is, "" if it is not traced."""
    return str(request.scope.get("place", ""))


_BEARER = HTTPBearer(auto_error=False, description="A key: fg_ID_SECRET, from filmgate keys add.")


def require(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency: the caller, who has the scope."""

    async def get_caller(request: Request, _: Annotated[Any, Security(_BEARER)]) -> Caller:
        caller = get_api(request).gate.identify(request.headers.get("authorization"))
        caller.require(scope)
        return caller

    return get_caller


Reader = Annotated[Caller, Depends(require(Scope.READ))]
Submitter = Annotated[Caller, Depends(require(Scope.SUBMIT))]
MetricsReader = Annotated[Caller, Depends(require(Scope.METRICS))]


async def refuse_unknown_parameters(request: Request) -> None:
    """Raise Problem for a parameter that the route does not have: it is a mistyped one."""
    operations = request.app.openapi()["paths"].get(request.scope["route"].path, {})
    operation = operations.get(request.method.lower(), operations.get("get", {}))
    listed = operation.get("parameters", ())
    known = {parameter["name"] for parameter in listed if parameter["in"] == "query"}
    for name in request.query_params:
        if name not in known:
            what = f"pass one of {', '.join(sorted(known))}" if known else "omit it"
            raise Problem("bad-request", f"there is no parameter {name[:40]!a}: {what}")


async def read_document(request: Request) -> dict[str, Any]:
    """Return the JSON object that is the body of a request. Raises Problem."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem("bad-media-type", f"the body is {media_type[:60]!a}: send application/json")
    try:
        data = await asyncio.wait_for(_read_body(request), _BODY_S)
    except TimeoutError as error:
        raise Problem("bad-request", f"the body did not arrive in {_BODY_S:.0f} s: send it at "
                      "once") from error  # fmt: skip
    try:
        return read_object(data)
    except BadField as error:
        raise Problem("bad-json", str(error), more={"pointer": error.pointer}) from error


Document = Annotated[dict[str, Any], Depends(read_document)]


def find_job(api: Api, caller: Caller, job_id: str) -> JobView:
    """Return a job that the caller may see. Raises UnknownJob, also for another tenant's job."""
    if _JOB_ID.fullmatch(job_id):
        job = api.service.get(job_id)
        if caller.sees(job.tenant):
            return job
    raise UnknownJob(f"there is no job {job_id[:64]!a}: check its id")


def describe_problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that can answer with these problems, for OpenAPI."""
    common = ("bad-request", "no-key", "not-allowed", "wrong-host", "too-many-requests", "internal")
    statuses: dict[int, list[str]] = {}
    for kind in dict.fromkeys((*kinds, *common)):
        statuses.setdefault(TYPES[kind].status, []).append(TYPES[kind].title)
    schema = {"$ref": f"#/components/schemas/{ProblemAnswer.__name__}"}
    return {
        status: {
            "description": "; ".join(titles),
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status, titles in sorted(statuses.items())
    }


async def _read_body(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise Problem("too-large", f"the document has more than {MAX_BYTES} bytes: shorten it")
    return bytes(data)
