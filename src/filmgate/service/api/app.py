"""The app: routes, and what is around them."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import Scope

from filmgate import __version__
from filmgate.errors import FilmgateError
from filmgate.jobs.queue.values import FINAL_STATES
from filmgate.service.api.answers import ProblemAnswer
from filmgate.service.api.context import Api, refuse_unknown_parameters
from filmgate.service.api.metrics import Metrics
from filmgate.service.api.middleware import QUIET_PATHS, RequestBorder
from filmgate.service.api.problems import Problem
from filmgate.service.api.routes import events, health, jobs, results, tasks, tus, uploads
from filmgate.service.api.routes.tasks import make_schemas
from filmgate.service.page import build_routes
from filmgate.tasks.settings import shorten

DESCRIPTION = """Jobs of Filmgate over HTTP.

A job is an operation: it is stored when `POST /v1/jobs` answers, and `done` when it has an `error`
or a `response`. Errors are problem+json with a stable `type`. Send an `Idempotency-Key` with each
job: then a request whose answer was lost can be sent again."""

PARTS = (jobs, events, results, uploads, tus, tasks, health)
CLEAN_S = 600.0  # between looks for uploads that have expired
_MAX_TRACEBACK = 4000  # characters, of its end: the log takes no more
# Its own traces hold queries, and so the tokens of links; those of a service are in telemetry/.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False, "metrics": False, "logs": False, "auto_configure": False,
}  # fmt: skip
_STATUSES = {404: "not-found", 405: "bad-method"}


def build_app(api: Api, hosts: frozenset[str]) -> FastAPI:
    """Return the app. `hosts`: names that are served, empty for all."""

    @asynccontextmanager
    async def live(_: FastAPI) -> AsyncIterator[None]:
        api.changes.open()
        cleaning = asyncio.create_task(_clean(api))
        try:
            yield
        finally:
            cleaning.cancel()
            api.changes.close()

    app = FastAPI(
        title="Filmgate",
        version=__version__,
        lifespan=live,
        docs_url=None,  # they load scripts from other hosts
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        telemetry=_NO_TELEMETRY,
        routes=list[BaseRoute](build_routes()),
    )
    app.state.api = api
    app.state.metrics = Metrics(api.service.read_metrics, api.uploads.measure_used)
    for part in PARTS:
        app.include_router(part.router, dependencies=[Depends(refuse_unknown_parameters)])
    app.add_exception_handler(RequestValidationError, _refuse_request)
    app.add_exception_handler(HTTPException, _refuse_address)
    app.add_middleware(
        RequestBorder,
        hosts=hosts,
        hide=api.inputs.hide_places,
        observe=partial(_observe, api, app.state.metrics),
        report=partial(_report, api),
        traces=api.service.traces,
    )
    app.openapi = make_document  # type: ignore[method-assign]  # as FastAPI documents
    return app


def _observe(api: Api, metrics: Metrics, scope: Scope, status: int, seconds: float) -> None:
    """Count an answered request, and write it to the log unless a machine asks every few seconds.

    The query is left out: it may hold the token of a link.
    """
    metrics.observe_request(scope, status, seconds)
    if scope["path"] not in QUIET_PATHS:
        api.service.log.info(
            "request",
            method=scope["method"],
            path=scope["path"][:500],
            status=status,
            seconds=round(seconds, 4),
            correlation_id=scope["correlation_id"],
        )


def _report(api: Api, correlation_id: str, error: BaseException, scope: Scope) -> None:
    """Write an unexpected error to the log, with its traceback."""
    api.service.log.error(
        "request_failed",
        method=scope["method"],
        path=scope["path"][:500],
        correlation_id=correlation_id,
        traceback="".join(traceback.format_exception(error))[-_MAX_TRACEBACK:],
    )


async def _refuse_request(_: Request, error: Exception) -> Response:
    """Turn what FastAPI found wrong with a parameter into a problem."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    raise Problem("bad-request", f"{name} is {shorten(first.get('input'))}: {first['msg']}")


async def _refuse_address(_: Request, error: Exception) -> Response:
    """Turn an address that has no route, or not for this method, into a problem."""
    assert isinstance(error, HTTPException)
    kind = _STATUSES.get(error.status_code, "bad-request")
    detail = f"{error.detail}: GET /v1/openapi.json lists the addresses"
    raise Problem(kind, detail, headers=error.headers)


async def _clean(api: Api) -> None:
    """Remove expired uploads, now and every few minutes."""
    while True:
        with suppress(FilmgateError):  # a full disk: the next time
            await run_in_threadpool(_remove_expired, api)
        await asyncio.sleep(CLEAN_S)


def _remove_expired(api: Api) -> None:
    used, after = set[Path](), None
    while True:
        page = api.service.list(None, after, 1000)
        for job in page.items:
            if job.state not in FINAL_STATES:
                used |= api.inputs.find_uploads(job.definition)
        if (after := page.next) is None:
            break
    api.uploads.remove_expired(used)


@cache
def make_document() -> dict[str, Any]:
    """Return the OpenAPI document; the schemas of tasks are made from their dataclasses."""
    document = get_openapi(
        title="Filmgate",
        version=__version__,
        description=DESCRIPTION,
        routes=[route for part in PARTS for route in part.router.routes],
    )
    components = document["components"]["schemas"]
    components |= make_schemas()
    components[ProblemAnswer.__name__] = ProblemAnswer.model_json_schema()
    for operations in document["paths"].values():
        for operation in operations.values():
            if "HTTPValidationError" in str(operation["responses"].get("422")):  # ours is a 400
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    return document
