"""Routes for whoever watches the service: is it alive, is it ready, its figures."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel

from filmgate.service.api.access import Caller
from filmgate.service.api.context import MetricsReader, describe_problems, get_api
from filmgate.service.api.metrics import FORMAT
from filmgate.service.api.problems import PLACE, TYPES, Problem

router = APIRouter(tags=["health"])


class WorkerAnswer(BaseModel):
    """A worker process."""

    name: str
    device: str
    state: str
    jobs_done: int
    message: str


class ReadinessAnswer(BaseModel):
    """Whether jobs are taken and run. Reasons and workers only for callers with a valid key."""

    is_ready: bool
    reasons: list[str]
    workers: list[WorkerAnswer]


@router.get(
    "/livez",
    operation_id="livez",
    response_class=PlainTextResponse,
    responses=describe_problems(),
)
async def report_life() -> Response:
    """Return that the server answers."""
    return PlainTextResponse("ok\n")


@router.get(
    "/readyz",
    operation_id="readyz",
    responses={
        200: {"model": ReadinessAnswer},
        503: {"model": ReadinessAnswer, "description": "Jobs are not taken, or not run."},
        **describe_problems(),
    },
)
async def report_readiness(request: Request) -> JSONResponse:
    """Return whether the queue can be written and a worker has really done a step."""
    api = get_api(request)
    readiness = await run_in_threadpool(api.service.report_readiness)
    is_ready = readiness.is_ready and not api.changes.is_closed
    answer = {"is_ready": is_ready, "reasons": [], "workers": []}
    if _knows(request):
        answer["reasons"] = api.inputs.hide_places(readiness.reasons)
        answer["workers"] = [
            {
                "name": worker.name,
                "device": worker.device,
                "state": worker.state,
                "jobs_done": worker.jobs_done,
                "message": api.inputs.hide_places(worker.message),
            }
            for worker in readiness.workers
        ]
    return JSONResponse(answer, 200 if is_ready else 503, {"Cache-Control": "no-store"})


@router.get(
    "/metrics",
    operation_id="metrics",
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **describe_problems(),
    },
)
async def show_metrics(request: Request, caller: MetricsReader) -> Response:
    """Return the figures of the service, as Prometheus reads them."""
    data = await run_in_threadpool(request.app.state.metrics.render)
    return Response(data, media_type=FORMAT)


@router.get(
    PLACE + "{kind}",
    operation_id="explain_problem",
    response_class=PlainTextResponse,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **describe_problems("not-found"),
    },
)
async def explain_problem(kind: str) -> Response:
    """Return what a type of problem means."""
    if kind not in TYPES:
        raise Problem("not-found", f"there is no problem {kind[:40]!a}: see docs/serve.md")
    known = TYPES[kind]
    retry = "The same request can succeed later." if known.can_retry else "Change the request."
    return PlainTextResponse(f"{known.title}. Status {known.status}. {retry}\n")


def _knows(request: Request) -> Caller | None:
    """Return the caller if there is a valid key, or none is needed."""
    try:
        return get_api(request).gate.identify(request.headers.get("authorization"))
    except Problem:
        return None
