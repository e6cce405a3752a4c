"""Spans through the SDK of OpenTelemetry. The only module that needs the extra `telemetry`."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.trace import Span as OpenSpan

from filmgate import __version__
from filmgate.errors import BadSetting
from filmgate.service.logs import ServiceLog
from filmgate.service.telemetry.traces import RequestSpan, Span, Traces, split_place

_CLOSE_S = 2.0  # for what is left at the end
_QUIET_S = 60.0  # between two lines of the log about the same trouble
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")


def connect(endpoint: str, log: ServiceLog) -> Traces:
    """Return what sends spans to a collector, in a thread of its own.

    Variables such as OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER are
    read by the SDK. Raises BadSetting if one of them cannot be used.
    """
    trouble = _Trouble(log)
    trouble.open()
    try:
        return OpenTelemetry(BatchSpanProcessor(OTLPSpanExporter(endpoint)), trouble.close)
    except (ValueError, OSError) as error:
        trouble.close()
        raise BadSetting(f"the variables OTEL_... cannot be used: {error}. Correct them, or omit "
                         "--traces") from error  # fmt: skip


class OpenTelemetry:
    """`Traces` that go to a processor of the SDK."""

    is_on = True

    def __init__(self, processor: SpanProcessor, on_close: Callable[[], None]) -> None:
        self._ids, self._on_close = _ChosenIds(), on_close
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "filmgate"}))
        self._provider = TracerProvider(
            resource=resource.merge(Resource({SERVICE_VERSION: __version__})),
            id_generator=self._ids, shutdown_on_exit=False,
        )  # fmt: skip
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("filmgate", __version__)

    def begin_request(self, method: str, caller: str, correlation_id: str) -> RequestSpan:
        """Return the span of a request, in the client's trace or in one of its own."""
        attributes = {"http.request.method": method, "filmgate.correlation_id": correlation_id}
        with self._ids.choose(trace_id=_choose_trace_id(correlation_id)):
            above = _find_context(caller) or Context()
            span = self._tracer.start_span(method, above, SpanKind.SERVER, attributes)
        return _Request(span, method)

    def record(self, parent: str, span: Span, place: str = "") -> None:
        """Record a span below another one; nothing if there is no place for it."""
        above, own = _find_context(parent), split_place(place)
        if above is None:
            return
        with self._ids.choose(span_id=own[1] if own else None):
            made = self._tracer.start_span(
                span.name, above, attributes=dict(span.attributes), start_time=span.start_ns
            )
        if span.error:
            made.set_attribute("error.type", span.error)
            made.set_status(Status(StatusCode.ERROR, span.error))
        made.end(max(span.start_ns, span.end_ns))

    def close(self) -> None:
        """Send what is left; a collector that does not answer does not hold up the end."""
        ending = threading.Thread(target=self._provider.shutdown, name="last traces", daemon=True)
        ending.start()
        ending.join(_CLOSE_S)
        self._on_close()


class _Request:
    """A `RequestSpan` of OpenTelemetry."""

    def __init__(self, span: OpenSpan, method: str) -> None:
        self._span, self._method, self.place = span, method, ""
        if span.is_recording():
            own = span.get_span_context()
            self.place = f"00-{format_trace_id(own.trace_id)}-{format_span_id(own.span_id)}-01"

    def end(self, route: str, path: str, status: int | None) -> None:
        """Record it, under the name of its route: a path holds ids."""
        span = self._span
        span.set_attribute("url.path", path)
        if route:
            span.update_name(f"{self._method} {route}")
            span.set_attribute("http.route", route)
        if status is None:
            span.set_attribute("error.type", "no_answer")
            span.set_status(Status(StatusCode.ERROR, "no_answer"))
        else:
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_attribute("error.type", str(status))
                span.set_status(Status(StatusCode.ERROR))
        span.end()


class _NextIds(threading.local):
    """Ids that were chosen for the next span of a thread."""

    trace_id: int | None = None
    span_id: int | None = None


class _ChosenIds(RandomIdGenerator):
    """Ids of the next span, where they were chosen; else random ones."""

    def __init__(self) -> None:
        self._next = _NextIds()

    @contextmanager
    def choose(self, *, trace_id: int | None = None, span_id: int | None = None) -> Iterator[None]:
        """Let the span that this thread starts have these ids."""
        self._next.trace_id, self._next.span_id = trace_id, span_id
        try:
            yield
        finally:
            self._next.trace_id = self._next.span_id = None

    def generate_trace_id(self) -> int:
        """Return the id of a new trace."""
        return self._next.trace_id or super().generate_trace_id()

    def generate_span_id(self) -> int:
        """Return the id of a new span."""
        return self._next.span_id or super().generate_span_id()


class _Trouble(logging.Handler):
    """Writes what the SDK has to say to the log of the service, the same at most once a minute."""

    def __init__(self, log: ServiceLog) -> None:
        super().__init__(logging.WARNING)
        self._log, self._said = log, dict[str, float]()
        self._logger = logging.getLogger("opentelemetry")

    def open(self) -> None:
        """Take the messages from now on; none goes to standard error."""
        self._logger.addHandler(self)
        self._logger.propagate = False

    def close(self) -> None:
        """Take no more."""
        self._logger.removeHandler(self)
        self._logger.propagate = True

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message, unless it was just written."""
        now_s, kind = monotonic(), str(record.msg)
        if now_s - self._said.get(kind, float("-inf")) >= _QUIET_S:
            self._said[kind] = now_s
            self._log.warning("traces_not_sent", message=record.getMessage())


def _choose_trace_id(correlation_id: str) -> int:
    """Return a correlation id as the id of a trace; one that is none becomes one by its SHA-256."""
    is_one = _TRACE_ID.fullmatch(correlation_id)
    text = correlation_id if is_one else hashlib.sha256(correlation_id.encode()).hexdigest()[:32]
    return int(text, 16)


def _find_context(place: str) -> Context | None:
    """Return the context below a place, None if it is none."""
    found = split_place(place)
    if found is None:
        return None
    trace_id, span_id, flags = found
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(context), Context())
