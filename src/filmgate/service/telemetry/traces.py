"""What a service says about where time goes: spans, each with its place in a trace.

A place is a W3C `traceparent`, so that it can come from a client, be stored with a job and go to a
worker; "" is none, and what would be below it is not recorded.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, time_ns
from typing import Protocol
from urllib.parse import urlsplit

from filmgate.errors import BadSetting

_PLACE = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_PATH = "/v1/traces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Something that took time. Times in ns since 1970 UTC; `error`: why it failed, one word."""

    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, str | int | float] = field(default_factory=dict)
    error: str = ""


class RequestSpan(Protocol):
    """A request that is being answered; `place`: where what it does is recorded."""

    @property
    def place(self) -> str:
        """The place of what the request does, "" if it is not recorded."""
        ...

    def end(self, route: str, path: str, status: int | None) -> None:
        """Record it. `route`: "" if there is none; `status`: None without an answer."""
        ...


class Traces(Protocol):
    """Takes spans. Any thread may call it; it never waits and never raises."""

    @property
    def is_on(self) -> bool:
        """Whether anything is recorded."""
        ...

    def begin_request(self, method: str, caller: str, correlation_id: str) -> RequestSpan:
        """Return the span of a request. `caller`: the place that its client gave, "" if none."""
        ...

    def record(self, parent: str, span: Span, place: str = "") -> None:
        """Record a span below another one. `place`: its own, if others are below it."""
        ...

    def close(self) -> None:
        """Send what is left, for at most some seconds."""
        ...


class _NoRequestSpan:
    place = ""

    def end(self, route: str, path: str, status: int | None) -> None:
        """Do nothing."""


class NoTraces:
    """`Traces` that are off."""

    is_on = False

    def begin_request(self, method: str, caller: str, correlation_id: str) -> RequestSpan:
        """Return a span that is not recorded."""
        return _NoRequestSpan()

    def record(self, parent: str, span: Span, place: str = "") -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


NO_TRACES: Traces = NoTraces()


@contextmanager
def measure_span(traces: Traces, place: str, name: str) -> Iterator[None]:
    """Record what happens inside as a span below a place, also if it raises."""
    start_s, start_ns, error = monotonic(), time_ns(), ""
    try:
        yield
    except Exception as caught:
        error = type(caught).__name__
        raise
    finally:
        end_ns = start_ns + int((monotonic() - start_s) * 1e9)
        traces.record(place, Span(name=name, start_ns=start_ns, end_ns=end_ns, error=error))


def find_endpoint(address: str) -> str:
    """Return where a collector at an address takes spans over HTTP. Raises BadSetting."""
    try:
        parts = urlsplit(address)
        is_right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    if not is_right or parts.query or parts.fragment:
        raise BadSetting(f"traces is {address!a:.200}: pass the address of a collector that takes "
                         "OTLP over HTTP, such as http://127.0.0.1:4318")  # fmt: skip
    if parts.username is not None or parts.password is not None:
        raise BadSetting("traces has a user name or password in it, which others on this machine "
                         "can read: pass them in OTEL_EXPORTER_OTLP_HEADERS")  # fmt: skip
    return address.rstrip("/").removesuffix(_PATH) + _PATH


def split_place(place: str) -> tuple[int, int, int] | None:
    """Return trace id, span id and flags of a place, None if it is none."""
    found = _PLACE.fullmatch(place)
    return (int(found[1], 16), int(found[2], 16), int(found[3], 16)) if found else None


def find_trace_id(place: str) -> str | None:
    """Return the id of the trace that a place is in, 32 hexadecimal digits; None if it is none."""
    found = _PLACE.fullmatch(place)
    return found[1] if found else None


def make_place(place: str, *names: str | int) -> str:
    """Return a place in the same trace, "" if there is none: the same names, the same place.

    So a server that was started again finds the places of its jobs without having stored them.
    """
    if split_place(place) is None:
        return ""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).hexdigest()
    return f"{place[:36]}{digest[:16]}{place[52:]}"
