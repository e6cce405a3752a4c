"""What may go into the queue: bounds of every value, checked on the way in and on the way out."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from filmgate.errors import BadSetting
from filmgate.jobs.queue.clock import MAX_MS
from filmgate.jobs.queue.values import Demand, JobClass, JobRequest, Segment

MAX_REQUEST_BYTES = 1 << 20
MAX_DATA_BYTES = 64 << 10  # of an event, a result or a crash report
MAX_DEPTH = 32  # of JSON
MAX_BYTES = 1 << 50  # of memory or of a file
MAX_SECONDS = 1e9
MAX_PRIORITY = 100
MAX_COUNT = 1 << 40
MAX_TEXT = 4000  # characters of a message
NAME = r"[\w.@:-]{1,100}"  # of tenants, workers, devices
ID = r"[A-Za-z0-9_-]{1,64}"
KEY = r"[!-~]{1,200}"  # visible ASCII
FILE = r"(?!\.)[\w.-]{1,100}"
SHA256 = r"[0-9a-f]{64}"
WORD = r"[a-z][a-z0-9_]{0,39}"  # kinds of events, reasons


def check_text(value: object, pattern: str, what: str) -> str:
    """Return the text if all of it matches. Raises BadSetting."""
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise BadSetting(f"{what} is {value!r:.80}, wanted text that matches {pattern}: change it")
    return value


def check_count(value: object, low: int, high: int, what: str) -> int:
    """Return the integer if it is from `low` to `high`. Raises BadSetting."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadSetting(f"{what} is {value!r:.40}, wanted an integer from {low} to {high}")
    return value


def check_number(value: object, high: float, what: str) -> float:
    """Return the number if it is from 0 to `high`. Raises BadSetting."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= high:  # type: ignore[arg-type, operator]
        raise BadSetting(f"{what} is {value!r:.40}, wanted a number from 0 to {high:g}")
    return float(value)  # type: ignore[arg-type]


def dump_json(value: Mapping[str, Any], max_bytes: int, what: str) -> str:
    """Return an object as JSON with sorted keys, the same text for the same value.

    Raises BadSetting for other values than JSON has, more than `max_bytes`, or nesting deeper than
    32.
    """
    if not _is_plain(value, MAX_DEPTH) or not isinstance(value, Mapping):
        raise BadSetting(f"{what} is not a JSON object: pass text keys, finite numbers, and at "
                         f"most {MAX_DEPTH} levels")  # fmt: skip
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > max_bytes:
        raise BadSetting(f"{what} has {len(text)} bytes as JSON, at most {max_bytes}: shorten it")
    return text


def load_json(text: str, max_bytes: int, what: str) -> dict[str, Any]:
    """Return the object that `dump_json` wrote. Raises BadSetting for anything else."""
    try:
        value = json.loads(text) if len(text) <= max_bytes else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not _is_plain(value, MAX_DEPTH):
        raise BadSetting(f"{what} is {text!r:.80}, wanted a JSON object")
    return value


def _is_plain(value: object, depth: int) -> bool:
    if isinstance(value, str):  # the most frequent first: a server checks every row that it reads
        return value.isascii() or not re.search("[\ud800-\udfff]", value)
    if value is None or isinstance(value, int):
        return value is None or abs(value) < 1 << 63
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict | Mapping):
        if depth <= 0:
            return False
        for key, item in value.items():
            if not isinstance(key, str) or not _is_plain(item, depth - 1):
                return False
        return True
    if isinstance(value, list | tuple):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    return False


def check_demand(demand: Demand) -> None:
    """Raise BadSetting for a prediction out of bounds."""
    check_count(demand.device_bytes, 0, MAX_BYTES, "device_bytes")
    check_count(demand.host_bytes, 0, MAX_BYTES, "host_bytes")
    check_number(demand.seconds, MAX_SECONDS, "seconds")


def encode_request(request: JobRequest) -> tuple[str, str]:
    """Check a request; return it as JSON, and the SHA-256 that makes two requests the same.

    What is predicted is not part of it: a second measurement may differ. Raises BadSetting.
    """
    check_text(request.tenant, NAME, "tenant")
    check_count(request.priority, -MAX_PRIORITY, MAX_PRIORITY, "priority")
    if request.job_class not in set(JobClass):
        raise BadSetting(f"job_class is {request.job_class!r:.40}, wanted one of "
                         f"{', '.join(JobClass)}")  # fmt: skip
    if request.key is not None:
        check_text(request.key, KEY, "key")
    if request.expires_after_s is not None:
        check_number(request.expires_after_s, MAX_SECONDS, "expires_after_s")
    check_demand(request.demand)
    text = dump_json(request.job, MAX_REQUEST_BYTES, "job")
    return text, hash_request(
        request.tenant, str(request.job_class), request.priority, request.expires_after_s, text
    )


def hash_request(
    tenant: str, job_class: str, priority: int, expires_after_s: float | None, text: str
) -> str:
    """Return the SHA-256 of a request; `text`: its job as JSON."""
    expires = None if expires_after_s is None else round(expires_after_s * 1000)
    parts = json.dumps([tenant, job_class, priority, expires, text])
    return hashlib.sha256(parts.encode()).hexdigest()


def check_segment(segment: Segment) -> None:
    """Raise BadSetting for a segment out of bounds."""
    check_count(segment.number, 0, MAX_COUNT, "number of the segment")
    check_count(segment.frames, 0, MAX_COUNT, "frames")
    check_count(segment.size_bytes, 0, MAX_BYTES, "size_bytes")
    check_text(segment.sha256, SHA256, "sha256")
    check_text(segment.name, FILE, "name of the segment")
    check_number(segment.device_s, MAX_SECONDS, "device_s")


def check_time(value: object, what: str) -> int:
    """Return a time in ms if it can be one. Raises BadSetting."""
    return check_count(value, 0, MAX_MS, what)
