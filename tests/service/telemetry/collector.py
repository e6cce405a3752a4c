"""A collector of traces on this machine: what it was sent, decoded; and one in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from filmgate.service.telemetry.open_telemetry import OpenTelemetry


def make_traces() -> tuple[OpenTelemetry, InMemorySpanExporter]:
    """Return traces that stay in memory, and where."""
    memory = InMemorySpanExporter()
    return OpenTelemetry(SimpleSpanProcessor(memory), lambda: None), memory


def find_spans(memory: InMemorySpanExporter, trace_id: str) -> list[ReadableSpan]:
    """Return the spans of a trace by their start."""
    spans = [s for s in memory.get_finished_spans() if f"{s.context.trace_id:032x}" == trace_id]
    return sorted(spans, key=lambda span: span.start_time or 0)


def check_tree(spans: list[ReadableSpan], root: str) -> dict[str, list[str]]:
    """Return the names of the spans below each name; fail unless all are below one root."""
    by_id = {span.context.span_id: span for span in spans}
    assert len(by_id) == len(spans), "two spans have one id"
    below: dict[str, list[str]] = {}
    for span in spans:
        if span.name == root:
            continue
        assert span.parent is not None, span.name
        parent = by_id.get(span.parent.span_id)
        assert parent is not None, f"the parent of {span.name} is missing"
        below.setdefault(parent.name, []).append(span.name)
    assert sum(span.name == root for span in spans) == 1
    return below


@dataclass
class Collector:
    """What was sent: requests, decoded, and their headers. `status`: what it answers."""

    address: str = ""
    status: int = 200
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    def list_spans(self) -> list[Any]:
        """Return all spans as they were sent."""
        scopes = [s for r in self.requests for one in r.resource_spans for s in one.scope_spans]
        return [span for scope in scopes for span in scope.spans]


@contextmanager
def open_collector(status: int = 200, hold: threading.Event | None = None) -> Iterator[Collector]:
    """Run a collector. `hold`: it answers only when that is set."""
    found = Collector(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            found.requests.append(ExportTraceServiceRequest.FromString(data))
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            found.paths.append(self.path)
            if hold is not None:
                hold.wait(20)
            self.send_response(found.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.005,), daemon=True)
    thread.start()
    found.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield found
    finally:
        if hold is not None:
            hold.set()
        server.shutdown()
        server.server_close()
        thread.join()
