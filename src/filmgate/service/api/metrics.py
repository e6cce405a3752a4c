"""The figures of the service for Prometheus. Labels have few values: never a job or a tenant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from filmgate.service.contracts import ServiceMetrics

FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30)
_JOB_S = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_ERRORS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)


class Metrics:
    """Counts requests, and asks the service for its own figures when it is read."""

    def __init__(
        self, read_service: Callable[[], ServiceMetrics], read_uploads: Callable[[], int]
    ) -> None:
        """`read_uploads` returns the bytes of all uploads."""
        self._read_service, self._read_uploads = read_service, read_uploads
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "filmgate_http_requests", "Answered requests.", ["method", "route", "status"],
            registry=registry,
        )  # fmt: skip
        self._request_s = Histogram(
            "filmgate_http_request_seconds", "Seconds until an answer began.", ["route"],
            buckets=_REQUEST_S, registry=registry,
        )  # fmt: skip
        self._uploads = Gauge(
            "filmgate_upload_bytes", "Bytes of all uploads.", registry=registry
        )  # fmt: skip
        self._wait_s = Histogram(
            "filmgate_queue_wait_seconds", "Seconds that jobs waited until they started.",
            buckets=_JOB_S, registry=registry,
        )  # fmt: skip
        self._run_s = Histogram(
            "filmgate_job_run_seconds", "Seconds that jobs ran, from their first start to the end.",
            buckets=_JOB_S, registry=registry,
        )  # fmt: skip
        self._errors = Histogram(
            "filmgate_memory_prediction_ratio", "Measured peak of a job over the predicted one.",
            buckets=_ERRORS, registry=registry,
        )  # fmt: skip

    def observe_request(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one answered request."""
        route = getattr(scope.get("route"), "path", "none")
        method = scope["method"] if scope["method"].isalpha() and route != "none" else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._request_s.labels(route).observe(seconds)

    def render(self) -> bytes:
        """Return all figures as text."""
        figures = self._read_service()
        for histogram, values in (
            (self._wait_s, figures.wait_s),
            (self._run_s, figures.run_s),
            (self._errors, figures.prediction_errors),
        ):
            for value in values:
                histogram.observe(value)
        self._uploads.set(self._read_uploads())
        now = CollectorRegistry(auto_describe=False)
        now.register(_Figures(figures))
        return generate_latest(self._registry) + generate_latest(now)


class _Figures(Collector):
    """The figures of the service at one moment."""

    def __init__(self, figures: ServiceMetrics) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        """Yield every figure."""
        own = self._figures
        yield _gauge("jobs", "Jobs that have not ended.", "state", own.jobs)
        ended = CounterMetricFamily(
            "filmgate_jobs_finished", "Jobs that ended.", labels=["state", "reason"]
        )
        for (state, reason), count in own.finished.items():
            ended.add_metric([state, reason], count)
        yield ended
        yield _count("jobs_refused", "Jobs that were refused.", "why", own.refused)
        yield _count(
            "workers_ended", "Workers that ended, by how they did.", "end", own.ended_workers
        )
        for name, text, value in (
            ("jobs_submitted", "Jobs that were stored.", own.submitted),
            ("segments", "Finished segments of results.", own.segments),
            ("segments_redone", "Segments that were made again.", own.segments_redone),
            ("frames", "Source frames that went through.", own.frames),
            ("device_seconds", "Seconds that devices worked.", own.device_s),
        ):
            yield CounterMetricFamily(f"filmgate_{name}", text, value=value)
        states: dict[str, int] = {}
        for worker in own.workers:
            states[worker.state] = states.get(worker.state, 0) + 1
        yield _gauge("workers", "Worker processes.", "state", states)
        yield _gauge("budget_bytes", "Memory for jobs, by device.", "device", own.budget_bytes)
        yield _gauge(
            "reserved_bytes", "Memory reserved for running jobs.", "device", own.reserved_bytes
        )


def _count(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"filmgate_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"filmgate_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
