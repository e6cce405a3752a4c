"""Routes of jobs: predict, submit, watch, list and cancel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from filmgate.jobs.queue.values import FINAL_STATES
from filmgate.service.api.access import Caller
from filmgate.service.api.answers import (
    JobAnswer,
    JobListAnswer,
    LinkAnswer,
    PlanAnswer,
    describe_job,
    describe_plan,
    describe_submitted,
)
from filmgate.service.api.context import (
    Api,
    Document,
    Reader,
    Submitter,
    describe_problems,
    find_job,
    get_api,
    get_correlation_id,
    get_place,
)
from filmgate.service.api.problems import Problem
from filmgate.service.keys import Scope
from filmgate.service.schema import parse_definition, parse_submission
from filmgate.service.views import JobView

MAX_WAIT_S = 60.0
_TURN_S = 20.0  # in which a request's turn must come
_OF_DOCUMENT = (
    "bad-json", "too-large", "bad-media-type", "bad-field", "bad-input", "unsupported",
    "bad-weights", "never-fits", "insufficient-storage", "unknown-upload",
)  # fmt: skip

router = APIRouter(tags=["jobs"])


def _body(name: str) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{name}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


@router.post(
    "/v1/plan",
    operation_id="plan",
    responses={200: {"model": PlanAnswer}, **describe_problems(*_OF_DOCUMENT, "not-planned")},
    openapi_extra=_body("JobDefinition"),
)
async def plan(request: Request, caller: Submitter, document: Document) -> JSONResponse:
    """Predict what a job takes, before it runs. Nothing is stored."""
    api = get_api(request)

    def predict() -> dict[str, Any]:
        definition = parse_definition(document, api.inputs.get_resolver(caller.tenant))
        return describe_plan(api.service.plan(definition))

    async with _take_turn(api.turns.plans, "not-planned"):
        return JSONResponse(await run_in_threadpool(predict))


@router.post(
    "/v1/jobs",
    operation_id="submit",
    status_code=202,
    responses={
        202: {"model": JobAnswer, "description": "The job is stored."},
        200: {"model": JobAnswer, "description": "An earlier request with this key stored it."},
        **describe_problems(
            *_OF_DOCUMENT, "key-reused", "too-many-jobs", "queue-full", "not-ready"
        ),
    },
    openapi_extra=_body("JobSubmission"),
)
async def submit(
    request: Request,
    caller: Submitter,
    document: Document,
    idempotency_key: Annotated[
        str | None,
        Header(description="The same key and request is the same job.", pattern=r"^[!-~]{1,200}$"),
    ] = None,
) -> JSONResponse:
    """Store a job. When the answer arrives, no crash and no power cut loses it.

    Without an answer, send the same request with the same Idempotency-Key again. What a job of a
    new kind takes is predicted after the answer (event `planned`); one that can never run here, or
    whose input is wrong, fails then. If that is known already, it is refused.
    """
    api, correlation_id = get_api(request), get_correlation_id(request)

    def store() -> tuple[dict[str, Any], bool]:
        wanted = parse_submission(document, api.inputs.get_resolver(caller.tenant))
        submitted = api.service.submit(
            caller.tenant,
            wanted.definition,
            key=idempotency_key,
            job_class=wanted.job_class,
            priority=wanted.priority,
            expires_after_s=wanted.expires_after_s,
            correlation_id=correlation_id,
            place=get_place(request),
        )
        return describe_submitted(submitted, api.inputs), submitted.is_new

    async with _take_turn(api.turns.submissions, "not-ready"):
        answer, is_new = await run_in_threadpool(store)
    headers = {"Location": f"/v1/{answer['name']}"}
    if not is_new:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(answer, 202 if is_new else 200, headers)


@router.get(
    "/v1/jobs",
    operation_id="list_jobs",
    responses={200: {"model": JobListAnswer}, **describe_problems("bad-setting")},
)
async def list_jobs(
    request: Request,
    caller: Reader,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    of_all: Annotated[bool, Query(description="Of all tenants; needs the scope admin.")] = False,
) -> JSONResponse:
    """Return jobs, the latest first."""
    if of_all:
        caller.require(Scope.ADMIN)
    api = get_api(request)
    tenant = None if of_all else caller.tenant

    def describe() -> dict[str, Any]:
        page = api.service.list(tenant, after, limit)
        return {"jobs": [describe_job(job, api.inputs) for job in page.items], "next": page.next}

    return JSONResponse(await run_in_threadpool(describe))


@router.get(
    "/v1/jobs/{job_id}",
    operation_id="get_job",
    responses={200: {"model": JobAnswer}, **describe_problems("unknown-job", "job-removed")},
)
async def get_job(
    request: Request,
    caller: Reader,
    job_id: str,
    wait: Annotated[
        float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait until it is done.")
    ] = 0.0,
) -> JSONResponse:
    """Return a job; with `wait` when it is done, or after so many seconds."""
    api = get_api(request)
    job = await _wait_until_done(api, caller, job_id, wait)
    return JSONResponse(describe_job(job, api.inputs))


@router.post(
    "/v1/jobs/{job_id}:cancel",
    operation_id="cancel_job",
    responses={
        200: {"model": JobAnswer},
        **describe_problems("unknown-job", "job-removed", "job-conflict"),
    },
)
async def cancel_job(request: Request, caller: Submitter, job_id: str) -> JSONResponse:
    """Cancel a job: at once if it waits, else when its worker has stopped.

    Cancelling twice changes nothing. A job that has ended otherwise: 409.
    """
    api = get_api(request)

    def cancel() -> dict[str, Any]:
        find_job(api, caller, job_id)
        return describe_job(api.service.cancel(job_id), api.inputs)

    return JSONResponse(await run_in_threadpool(cancel))


@router.post(
    "/v1/jobs/{job_id}:link",
    operation_id="link_job",
    responses={200: {"model": LinkAnswer}, **describe_problems("unknown-job", "job-removed")},
)
async def link_job(request: Request, caller: Reader, job_id: str) -> JSONResponse:
    """Return addresses of the result and the preview that need no key, for ten minutes.

    For a player, or a link to download: a browser sends no key with them.
    """
    api = get_api(request)
    job = await run_in_threadpool(find_job, api, caller, job_id)
    token = api.gate.sign_link(job.id, job.tenant)
    place = f"/v1/jobs/{job.id}"
    return JSONResponse(
        {name: f"{place}/{name}?token={token}" for name in ("result", "preview")},
        headers={"Cache-Control": "no-store"},
    )


@asynccontextmanager
async def _take_turn(turns: asyncio.Semaphore, problem: str) -> AsyncIterator[None]:
    """Wait for one's turn, and hold it. Raises Problem if it does not come in time."""
    try:
        await asyncio.wait_for(turns.acquire(), _TURN_S)
    except TimeoutError as error:
        raise Problem(problem, "other requests take all the time: try again later",
                      retry_after_s=_TURN_S) from error  # fmt: skip
    try:
        yield
    finally:
        turns.release()


async def _wait_until_done(api: Api, caller: Caller, job_id: str, wait_s: float) -> JobView:
    """Return the job as soon as it is final, or after the wait."""
    until = time.monotonic() + wait_s
    with api.changes.watch(job_id) as changed:
        while True:
            changed.clear()
            job = await run_in_threadpool(find_job, api, caller, job_id)
            rest = until - time.monotonic()
            if job.state in FINAL_STATES or rest <= 0 or api.changes.is_closed:
                return job
            try:
                await asyncio.wait_for(changed.wait(), rest)
            except TimeoutError:
                continue
