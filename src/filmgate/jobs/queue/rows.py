"""Rows of the database as values; whatever the queue cannot have written is an error."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from filmgate.errors import BadInput, BadSetting
from filmgate.jobs.queue import checks
from filmgate.jobs.queue.values import (
    Account,
    Attempt,
    AttemptEnd,
    Demand,
    JobClass,
    JobEvent,
    JobRecord,
    JobState,
    Segment,
)

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
JOB_COLUMNS = (
    "number, id, tenant, class, priority, device_bytes, host_bytes, seconds, state, reason, "
    "message, epoch, worker, crashes, failures, losses, segments, events, cancel, not_before_ms, "
    "expires_ms, submitted_ms, finished_ms, is_planned, raised"
)


def _explain(read: Callable[[sqlite3.Row], T]) -> Callable[[sqlite3.Row], T]:
    """Return `read` with its errors as BadInput that names the database."""

    def read_checked(row: sqlite3.Row) -> T:
        try:
            return read(row)
        except (BadSetting, ValueError) as error:
            raise BadInput(
                f"the queue's database is damaged: {error}. Stop the server and restore a copy"
            ) from error

    return read_checked


def _optional_time(value: object, what: str) -> int | None:
    return None if value is None else checks.check_time(value, what)


def _member(kind: type[E], value: str, what: str) -> E:
    try:
        return kind(value)
    except ValueError as error:
        raise BadSetting(f"{what} is {value!r:.40}, wanted one of {', '.join(kind)}") from error


@_explain
def read_job(row: sqlite3.Row) -> JobRecord:
    """Return a row of JOB_COLUMNS as a value. Raises BadInput."""
    demand = Demand(row["device_bytes"], row["host_bytes"], row["seconds"])
    checks.check_demand(demand)
    worker, most = row["worker"], checks.MAX_COUNT
    return JobRecord(
        id=checks.check_text(row["id"], checks.ID, "id"),
        number=checks.check_count(row["number"], 1, most, "number"),
        tenant=checks.check_text(row["tenant"], checks.NAME, "tenant"),
        job_class=_member(JobClass, row["class"], "class"),
        priority=checks.check_count(
            row["priority"], -checks.MAX_PRIORITY, checks.MAX_PRIORITY, "priority"
        ),
        demand=demand,
        state=_member(JobState, row["state"], "state"),
        reason=checks.check_text(row["reason"], f"({checks.WORD})?", "reason"),
        message=row["message"][: checks.MAX_TEXT],
        epoch=checks.check_count(row["epoch"], 0, most, "epoch"),
        worker=None if worker is None else checks.check_text(worker, checks.NAME, "worker"),
        crashes=checks.check_count(row["crashes"], 0, most, "crashes"),
        failures=checks.check_count(row["failures"], 0, most, "failures"),
        losses=checks.check_count(row["losses"], 0, most, "losses"),
        segments=checks.check_count(row["segments"], 0, most, "segments"),
        events=checks.check_count(row["events"], 0, most, "events"),
        is_cancel_requested=bool(checks.check_count(row["cancel"], 0, 1, "cancel")),
        not_before_ms=checks.check_time(row["not_before_ms"], "not_before_ms"),
        expires_ms=_optional_time(row["expires_ms"], "expires_ms"),
        submitted_ms=checks.check_time(row["submitted_ms"], "submitted_ms"),
        finished_ms=_optional_time(row["finished_ms"], "finished_ms"),
        is_planned=bool(checks.check_count(row["is_planned"], 0, 1, "is_planned")),
        raised=checks.check_count(row["raised"], 0, most, "raised"),
    )


@_explain
def read_segment(row: sqlite3.Row) -> Segment:
    """Return a row of the table of segments as a value. Raises BadInput."""
    segment = Segment(
        number=row["number"],
        frames=row["frames"],
        size_bytes=row["size_bytes"],
        sha256=row["sha256"],
        name=row["name"],
    )
    checks.check_segment(segment)
    return segment


@_explain
def read_event(row: sqlite3.Row) -> JobEvent:
    """Return a row of the table of events as a value. Raises BadInput."""
    return JobEvent(
        checks.check_count(row["number"], 1, checks.MAX_COUNT, "number of the event"),
        checks.check_time(row["time_ms"], "time of the event"),
        checks.check_text(row["kind"], checks.WORD, "kind of the event"),
        checks.load_json(row["data"], checks.MAX_DATA_BYTES, "data of the event"),
    )


@_explain
def read_attempt(row: sqlite3.Row) -> Attempt:
    """Return a row of the table of attempts as a value. Raises BadInput."""
    end = row["end"]
    return Attempt(
        checks.check_count(row["epoch"], 1, checks.MAX_COUNT, "epoch"),
        checks.check_text(row["worker"], checks.NAME, "worker"),
        checks.check_text(row["device"], checks.NAME, "device"),
        checks.check_time(row["started_ms"], "started_ms"),
        _optional_time(row["ended_ms"], "ended_ms"),
        None if end is None else _member(AttemptEnd, end, "end"),
        checks.load_json(row["crash"], checks.MAX_DATA_BYTES, "crash"),
    )


@_explain
def read_account(row: sqlite3.Row) -> Account:
    """Return a row of the table of accounts, with its tenant's weight. Raises BadInput."""
    return Account(
        checks.check_text(row["tenant"], checks.NAME, "tenant"),
        _member(JobClass, row["class"], "class"),
        checks.check_number(row["weight"], checks.MAX_SECONDS, "weight"),
        checks.check_number(row["virtual_s"], 1e15, "virtual_s"),
        checks.check_time(row["served_ms"], "served_ms"),
    )
