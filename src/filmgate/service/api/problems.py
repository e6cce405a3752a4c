"""Errors as answers: problem+json (RFC 9457), each type with its status and its page."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from fastapi.responses import JSONResponse

from filmgate import errors

MEDIA_TYPE = "application/problem+json"
PLACE = "/v1/problems/"


@dataclass(frozen=True, slots=True)
class ProblemType:
    """A kind of problem. `can_retry`: the same request can succeed later."""

    status: int
    title: str
    can_retry: bool = False


# The types are part of the API: clients compare them.
TYPES: Mapping[str, ProblemType] = MappingProxyType(
    {
        "bad-json": ProblemType(400, "The body is not the JSON document that was wanted"),
        "bad-request": ProblemType(400, "A part of the request is not valid"),
        "no-key": ProblemType(401, "The request has no valid API key"),
        "not-allowed": ProblemType(403, "The API key does not allow this"),
        "foreign-origin": ProblemType(403, "The request came from another web site"),
        "not-found": ProblemType(404, "There is nothing at this address"),
        "unknown-job": ProblemType(404, "There is no such job"),
        "unknown-upload": ProblemType(404, "There is no such upload"),
        "no-preview": ProblemType(404, "The job has no preview yet", True),
        "bad-method": ProblemType(405, "This address does not have the method"),
        "job-conflict": ProblemType(409, "The job is in another state"),
        "upload-conflict": ProblemType(409, "The upload is at another byte"),
        "job-removed": ProblemType(410, "The job was removed after its time was up"),
        "no-length": ProblemType(411, "The request does not say how long its body is"),
        "bad-protocol": ProblemType(412, "The version of tus is another one"),
        "too-large": ProblemType(413, "The body is larger than allowed"),
        "bad-media-type": ProblemType(415, "The body has another type"),
        "bad-range": ProblemType(416, "The range is outside of the file"),
        "wrong-host": ProblemType(421, "The host is not one of this server"),
        "bad-field": ProblemType(422, "A field of the document is not valid"),
        "bad-setting": ProblemType(422, "A setting is not valid"),
        "bad-input": ProblemType(422, "The input is no video that can be read"),
        "unsupported": ProblemType(422, "The input cannot be used for this"),
        "bad-weights": ProblemType(422, "The weights are missing or damaged"),
        "never-fits": ProblemType(422, "The job does not fit on this machine"),
        "key-reused": ProblemType(422, "The idempotency key was used for another request"),
        "too-many-requests": ProblemType(429, "The API key has made too many requests", True),
        "too-many-jobs": ProblemType(429, "Too many jobs of this API key wait", True),
        "wrong-checksum": ProblemType(460, "The bytes do not have the checksum", True),
        "internal": ProblemType(500, "The service failed", True),
        "queue-full": ProblemType(503, "Too many jobs wait", True),
        "not-ready": ProblemType(503, "The service is not ready", True),
        "not-planned": ProblemType(503, "The prediction of memory and time failed", True),
        "quota-exceeded": ProblemType(507, "The uploads take all the space that they may use"),
        "insufficient-storage": ProblemType(507, "The disk of the service is full", True),
        "job-failed": ProblemType(500, "The job failed"),
        "job-cancelled": ProblemType(409, "The job was cancelled"),
        "job-expired": ProblemType(410, "The job did not start in time"),
    }
)

# The first that an error is an instance of.
_ERRORS: tuple[tuple[type[errors.FilmgateError], str], ...] = (
    (errors.BadField, "bad-field"),
    (errors.BadSetting, "bad-setting"),
    (errors.BadInput, "bad-input"),
    (errors.Unsupported, "unsupported"),
    (errors.BadWeights, "bad-weights"),
    (errors.DoesNotFit, "never-fits"),
    (errors.KeyReused, "key-reused"),
    (errors.JobConflict, "job-conflict"),
    (errors.UnknownJob, "unknown-job"),
    (errors.UnknownUpload, "unknown-upload"),
    (errors.UploadQuota, "quota-exceeded"),
    (errors.QueueFull, "queue-full"),
    (errors.NotPlanned, "not-planned"),
    (errors.DiskFull, "insufficient-storage"),
    (errors.Busy, "not-ready"),
)


class Problem(Exception):
    """An answer that is an error. `more`: further members of its document."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        retry_after_s: float | None = None,
        more: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind, self.detail, self.retry_after_s = kind, detail, retry_after_s
        self.more, self.headers = more or {}, headers or {}


def explain_error(error: errors.FilmgateError) -> Problem:
    """Return the answer for an error of Filmgate."""
    kind = next((kind for cls, kind in _ERRORS if isinstance(error, cls)), "internal")
    more: dict[str, Any] = {}
    retry_after_s = None
    if isinstance(error, errors.BadField):
        more = {"pointer": error.pointer}
    elif isinstance(error, errors.DoesNotFit):
        more = {"needed_bytes": error.needed_bytes}
    elif isinstance(error, errors.UnknownJob) and error.was_removed:
        kind = "job-removed"
    elif isinstance(error, errors.QueueFull):
        kind = "too-many-jobs" if error.of_tenant else kind
        retry_after_s = error.retry_after_s
    elif TYPES[kind].can_retry:
        retry_after_s = 10.0
    return Problem(kind, str(error), retry_after_s=retry_after_s, more=more)


def describe_problem(problem: Problem, correlation_id: str) -> dict[str, Any]:
    """Return the document of a problem."""
    kind = TYPES[problem.kind]
    return {
        "type": PLACE + problem.kind,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "retryable": kind.can_retry,
        "correlation_id": correlation_id,
        **problem.more,
    }


def make_response(problem: Problem, correlation_id: str) -> JSONResponse:
    """Return the answer; the time to wait has jitter, so that clients do not return at once."""
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(choose_retry_after(problem.retry_after_s))
    document = describe_problem(problem, correlation_id)
    return JSONResponse(document, document["status"], headers, MEDIA_TYPE)


def choose_retry_after(seconds: float) -> int:
    """Return an integer of seconds from `seconds` to twice that, at least 1, each as likely."""
    return max(1, round(random.uniform(seconds, 2 * seconds)))
