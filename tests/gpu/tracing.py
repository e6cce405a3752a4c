"""Trace a complete run on the device: kernels, copies and streams, decoding and encoding."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tests.gpu.runs import make_source
from tests.gpu.shared import RUNS, Part, Report, Setup
from tests.gpu.speed import FULL_HD, TINY_SIZE

Span = tuple[float, float]  # start and end, in microseconds


def list_parts() -> list[Part]:
    """Return the part of this file."""
    return [Part("streams and copies", trace_run, RUNS, 60)]


def trace_run(setup: Setup, report: Report) -> None:
    """Trace complete runs: kernels, copies and their streams, next to decoding and encoding."""
    from torch.profiler import ProfilerActivity, profile

    import filmgate as fg
    from filmgate.core.events import Done

    size, count = (TINY_SIZE, 8) if setup.dry else (FULL_HD, 64)
    source, result = make_source(setup, count, *size), setup.folder / "traced.mp4"
    activities = [ProfilerActivity.CPU if setup.dry else ProfilerActivity.CUDA]
    for chunk in (1,) if setup.dry else (1, 4):
        plan = setup.make_plan(chunk=chunk, segment_frames=240)
        task = fg.Upscale(device=setup.device)
        sink = fg.VideoOutput(result, preset="ultrafast", overwrite=True)
        job = fg.Job(fg.VideoFile(source), sink, (task,))
        with report.check("a run of compact {}x{} x2, chunks of {}".format(*size, chunk),
                          "measured") as found:  # fmt: skip
            with profile(activities=activities) as profiler:
                *_, done = fg.events(job, plan)
            assert isinstance(done, Done)
            found["run_s"] = round(done.seconds, 3)
            found["busy_s"] = {part: round(seconds, 3) for part, seconds in done.busy.items()}
            trace = setup.folder / "trace.json"
            profiler.export_chrome_trace(str(trace))
            found |= analyse_trace(json.loads(trace.read_text())["traceEvents"])
            trace.unlink()
            if not setup.dry:
                assert found["kernels_s"], "the profiler saw no kernel"


def analyse_trace(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return seconds of kernels and of copies, how much of them is at once, and the streams.

    `events` are those of torch's trace: a copy that is "Pageable" waits on the host.
    """
    spans: dict[str, list[Span]] = {"kernel": [], "gpu_memcpy": []}
    copies, streams = dict[str, float](), dict[str, set[Any]]()
    for event in events:
        kind = event.get("cat")
        if kind not in spans or "dur" not in event:
            continue
        start = float(event["ts"])
        spans[kind].append((start, start + float(event["dur"])))
        streams.setdefault(kind, set()).add(event.get("args", {}).get("stream"))
        if kind == "gpu_memcpy":
            copies[event["name"]] = copies.get(event["name"], 0.0) + float(event["dur"]) / 1e6
    kernels, moved = merge_spans(spans["kernel"]), merge_spans(spans["gpu_memcpy"])
    both = intersect_spans(kernels, moved)
    return {
        "kernels_s": add_spans(kernels), "copies_s": add_spans(moved),
        "copies_hidden_s": add_spans(both),
        "copies_by_kind_s": {name: round(seconds, 4) for name, seconds in copies.items()},
        "streams": {kind: len(found) for kind, found in streams.items()},
    }  # fmt: skip


def merge_spans(spans: Iterable[Span]) -> list[Span]:
    """Return the union of spans, sorted and without overlap."""
    merged = list[Span]()
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def intersect_spans(a: Sequence[Span], b: Sequence[Span]) -> Iterator[Span]:
    """Yield where both of two lists of merged spans are."""
    first, second = 0, 0
    while first < len(a) and second < len(b):
        start, end = max(a[first][0], b[second][0]), min(a[first][1], b[second][1])
        if start < end:
            yield start, end
        if a[first][1] < b[second][1]:
            first += 1
        else:
            second += 1


def add_spans(spans: Iterable[Span]) -> float:
    """Return the seconds of spans that do not overlap."""
    return round(sum(end - start for start, end in spans) / 1e6, 4)
