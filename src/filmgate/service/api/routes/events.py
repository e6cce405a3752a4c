"""The events of a job as a stream of server-sent events, without a gap and without a double.

Events are rows of the queue with numbers from 1 on; the number is the id of the event in the
stream, so a client that comes back with Last-Event-ID continues after it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from filmgate.errors import UnknownJob
from filmgate.jobs.queue.values import FINAL_STATES
from filmgate.service.api.access import Caller
from filmgate.service.api.answers import describe_event, describe_progress
from filmgate.service.api.context import Api, Reader, describe_problems, find_job, get_api

TICK_S = 1.0  # between looks at the progress
KEEP_ALIVE_TICKS = 15
PAGE = 100
_MAX_NUMBER = (1 << 40) - 1

router = APIRouter(tags=["jobs"])
_TEXT = {"type": "string"}
_EVENTS = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One event; `data` is JSON.",
            "properties": {"id": _TEXT, "event": _TEXT, "data": _TEXT},
            "required": ["event", "data"],
        }
    }
}


@router.get(
    "/v1/jobs/{job_id}/events",
    operation_id="watch_job",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Events as they happen, until the job is done.", "content": _EVENTS},
        204: {"description": "The job is done and there is no event after `Last-Event-ID`."},
        **describe_problems("unknown-job", "job-removed"),
    },
)
async def watch_job(
    request: Request,
    caller: Reader,
    job_id: str,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=_MAX_NUMBER, description="Number of the event seen last.")
    ] = None,
    after: Annotated[int, Query(ge=0, le=_MAX_NUMBER, description="The same.")] = 0,
) -> Response:
    """Stream the events of a job, from the first or from the one after `Last-Event-ID`.

    `event` is the kind, `id` the number, `data` JSON. Events of the kind `live` have no id: they
    show how far the job is now, and are not stored.
    """
    api = get_api(request)
    start = after if last_event_id is None else last_event_id
    job = await run_in_threadpool(find_job, api, caller, job_id)
    if job.state in FINAL_STATES and start >= job.events:
        return Response(status_code=204)
    return StreamingResponse(
        _stream(api, caller, job_id, start),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _stream(api: Api, caller: Caller, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Yield events after the number `after` until the job is done or the server stops."""
    shown: Mapping[str, Any] | None = None
    quiet = 0
    yield b"retry: 1000\n\n"
    with api.changes.watch(job_id) as changed, suppress(UnknownJob):  # it was removed
        while not api.changes.is_closed:
            changed.clear()
            job = await run_in_threadpool(find_job, api, caller, job_id)
            while events := await run_in_threadpool(
                api.service.read_events, job_id, after, PAGE
            ):  # fmt: skip
                for event in events:
                    document = describe_event(event, api.inputs)
                    yield _format(event.kind, document, event.number)
                    after = event.number
                quiet = 0
            if job.state in FINAL_STATES:  # read before the events: they are all there
                return
            progress = describe_progress(job.progress) if job.progress else None
            if progress is not None and progress != shown:
                shown, quiet = progress, 0
                yield _format("live", progress)
            quiet += 1
            if quiet % KEEP_ALIVE_TICKS == 0:
                yield b": still here\n\n"
            try:
                await asyncio.wait_for(changed.wait(), TICK_S)
            except TimeoutError:
                continue


def _format(kind: str, document: Mapping[str, Any], number: int | None = None) -> bytes:
    first = "" if number is None else f"id: {number}\n"
    return f"{first}event: {kind}\ndata: {json.dumps(document)}\n\n".encode()
