"""Around every request: its correlation id, the hosts and origins that are served, the log."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from filmgate.errors import FilmgateError
from filmgate.service.api.problems import Problem, explain_error, make_response
from filmgate.service.api.settings import LOCAL_HOSTS
from filmgate.service.telemetry.traces import NO_TRACES, Traces, find_trace_id

CORRELATION_HEADER = "X-Correlation-ID"
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")
QUIET_PATHS = ("/livez", "/readyz", "/metrics")  # a machine asks every few seconds
_SAFE = ("GET", "HEAD", "OPTIONS")
Observe = Callable[[Scope, int, float], None]
"""Take a request, the status of its answer and the seconds until that began."""

Report = Callable[[str, BaseException, Scope], None]
"""Take a correlation id and an unexpected error."""


class RequestBorder:
    """The outermost part of the app: what reaches the rest came to the right host from no other
    site, and no error leaves it but as a problem."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: frozenset[str],
        hide: Callable[[str], str],
        observe: Observe,
        report: Report,
        traces: Traces,
    ) -> None:
        """`hosts`: names that are served, empty for all. `hide` takes places out of messages."""
        self._app, self._hosts, self._hide = app, hosts, hide
        self._observe, self._report, self._traces = observe, report, traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        caller = headers.get("traceparent", "")
        correlation_id = choose_correlation_id(headers.get(CORRELATION_HEADER), caller)
        scope["correlation_id"] = correlation_id
        traces = NO_TRACES if scope["path"] in QUIET_PATHS else self._traces
        span = traces.begin_request(scope["method"], caller, correlation_id)
        scope["place"] = span.place
        started, status = time.monotonic(), None

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                more = MutableHeaders(scope=message)
                more[CORRELATION_HEADER] = correlation_id
                more["X-Content-Type-Options"] = "nosniff"
                self._observe(scope, message["status"], time.monotonic() - started)
            await send(message)

        try:
            self._check_origin(scope["method"], headers)
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the last border
            problem = self._explain(error, correlation_id, scope)
            if status is not None:  # it cannot be taken back: the connection ends without its end
                raise ConnectionAbortedError(problem.detail) from None
            problem.detail = self._hide(problem.detail)
            await make_response(problem, correlation_id)(scope, receive, answer)
        finally:
            span.end(getattr(scope.get("route"), "path", ""), scope["path"][:500], status)

    def _explain(self, error: Exception, correlation_id: str, scope: Scope) -> Problem:
        if isinstance(error, Problem):
            return error
        if isinstance(error, FilmgateError):
            problem = explain_error(error)
            if problem.kind != "internal":
                return problem
        self._report(correlation_id, error, scope)
        return Problem(
            "internal",
            "the service failed: try again, and if it stays so, tell its operator the correlation "
            f"id {correlation_id}",
            retry_after_s=5.0,
        )

    def _check_origin(self, method: str, headers: Headers) -> None:
        """Raise Problem for a host that is not ours, and for what another site lets a browser do.

        The first stops a page whose name was changed to this address (DNS rebinding); the second
        matters because without keys every program of this machine may do everything.
        """
        host = headers.get("host", "")
        name = (urlsplit(f"//{host}").hostname or "") if _is_host(host) else ""
        if self._hosts and name not in self._hosts:
            raise Problem("wrong-host", f"the host is {host[:80]!a}: use one of "
                          f"{', '.join(sorted(self._hosts))}")  # fmt: skip
        if method in _SAFE:
            return
        origin = headers.get("origin")
        is_foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if is_foreign or headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin", "none",
        ):  # fmt: skip
            raise Problem("foreign-origin", "a page of another web site sent this: use the page of "
                          "this server")  # fmt: skip


def choose_correlation_id(given: str | None, place: str = "") -> str:
    """Return the client's id if it is one, else that of the client's trace, else a new one."""
    if given and _ID.fullmatch(given):
        return given
    return find_trace_id(place) or secrets.token_hex(16)


def list_hosts(host: str, names: tuple[str, ...], *, is_local: bool) -> frozenset[str]:
    """Return the hosts that are served; none: all, of a public server without names."""
    if not is_local and not names:
        return frozenset()
    local = (*LOCAL_HOSTS, host.strip("[]"))
    return frozenset(name.lower() for name in (*names, *local))


def _is_host(text: str) -> bool:
    """Return whether a Host header has the form of one; urlsplit raises for a bracket alone."""
    return bool(re.fullmatch(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?", text))
