"""A plan as tables or JSON."""

from __future__ import annotations

import json as json_
import os
from collections.abc import Iterator
from dataclasses import fields

from rich.console import Console, Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from filmgate.cli.views.tables import build_table
from filmgate.core.frame import StreamSpec
from filmgate.core.plan import Plan
from filmgate.planning.costs import StageCost, predict_seconds
from filmgate.planning.disk import DiskUse
from filmgate.planning.fit import Fit
from filmgate.tasks.settings import plain
from filmgate.units import format_duration

# The settings of a plan that are shown, and what they are called.
SETTINGS = {
    "chunk": "frames per chunk",
    "batches": "batch of each stage",
    "queue_bytes": "size of each queue",
    "segment_frames": "frames per segment",
    "decode_threads": "decoder threads",
    "opencv_threads": "OpenCV threads",
    "torch_threads": "torch threads",
    "encode_threads": "encoder threads",
    "return_freed_memory": "return freed memory",
    "cache": "cache results",
    "guard": "check outputs",
    "low_memory": "low-memory mode",
}


def print_plan(fitted: Fit, json: bool, disk: DiskUse | None) -> None:
    """Print the plan as tables, or as one JSON object."""
    if json:
        print(json_.dumps(to_json(fitted, disk)))
    else:
        Console(highlight=False).print(draw(fitted, disk))


def to_json(fitted: Fit, disk: DiskUse | None) -> dict[str, object]:
    """Return all that is known before the run; seconds are per source frame."""
    batches = fitted.plan.batches
    return {
        "given": plain(fitted.source_spec),
        "made": plain(fitted.result_spec),
        "budget": plain(fitted.budget),
        "plan": plain(fitted.plan),
        "reasons": {name: fitted.choice.reasons[name] for name in SETTINGS},
        "stages": [
            plain(stage) | {"batch": batch, "seconds_each": stage.seconds_per_frame(batch)}
            for stage, batch in zip(fitted.costs.stages, batches, strict=True)
        ],
        "predicted": {
            "host_bytes": sum(fitted.host.values()),
            "host_parts": dict(fitted.host),
            "device_bytes": fitted.device_bytes,
            "snapshot_bytes": fitted.costs.snapshot_bytes,
            "disk": disk and disk.plain(),
            "seconds_each": predict_seconds(fitted.costs, fitted.plan),
            "seconds": fitted.seconds,
        },
    }


def draw(fitted: Fit, disk: DiskUse | None) -> Group:
    """Return the plan as tables and a summary."""
    stages = (_build_stages(fitted), "") if fitted.costs.stages else ()
    return Group(
        Text(f"{_describe(fitted.source_spec)}  ->  {_describe(fitted.result_spec)}"),
        "",
        *stages,
        _build_memory(fitted),
        "",
        _build_settings(fitted),
        "",
        *(Text(line) for line in _summarize(fitted, disk)),
    )


def _describe(spec: StreamSpec) -> str:
    rate = "variable frame rate" if spec.rate is None else f"{float(spec.rate):g} fps"
    frames = "" if spec.frames is None else f", {spec.frames} frames"
    return f"{spec.width}x{spec.height} {spec.pixels}, {rate}{frames}"


def _build_stages(fitted: Fit) -> Table:
    table = build_table("stage", *(">" + head for head in (
        "weights", "per frame", "state", "batch", "peak", "s/frame", "recomputed")))  # fmt: skip
    for stage, batch in zip(fitted.costs.stages, fitted.plan.batches, strict=True):
        table.add_row(
            stage.name,
            _format_size(stage.weights_bytes),
            _format_size(stage.device.per_item or stage.host.per_item),
            _format_size(stage.state_bytes),
            str(batch),
            _format_peak(stage, batch),
            f"{stage.seconds_per_frame(batch):.4f}",
            f"{float(stage.recompute):.3g} x",
        )
    return table


def _format_peak(stage: StageCost, batch: int) -> str:
    device = stage.device.at(batch)
    host = _format_size(stage.host.at(batch))
    return host + (f" + {_format_size(device)} GPU" if device else "")


def _build_memory(fitted: Fit) -> Table:
    parts, seconds = fitted.host, predict_seconds(fitted.costs, fitted.plan)
    names = {"decoder": "decode", "stages": "compute", "encoder": "encode"}
    total, budget = sum(parts.values()), fitted.budget.host
    table = build_table("peak memory", ">predicted", "", ">s/frame")
    for name, size in parts.items():
        bar = "█" * max(1, round(24 * size / total))
        time = f"{seconds[names[name]]:.4f}" if name in names else ""
        table.add_row(name, _format_size(size), bar, time)
    table.add_row("total", _format_size(total),
                  f"of {_format_size(budget)} ({total / budget:.0%})", "",
                  style="bold")  # fmt: skip
    if fitted.device_bytes:
        room = fitted.budget.device
        share = f"of {_format_size(room)}" if room else ""
        table.add_row("GPU", _format_size(fitted.device_bytes), share, "", style="bold")
    return table


def _build_settings(fitted: Fit) -> Table:
    table = build_table("setting", ">value", "reason")
    for item in fields(Plan):
        if item.name in SETTINGS:
            value = getattr(fitted.plan, item.name)
            is_size = item.name.endswith("_bytes")
            text = _format_size(value) if is_size else _format_value(value)
            table.add_row(SETTINGS[item.name], text, fitted.choice.reasons[item.name])
    return table


def _summarize(fitted: Fit, disk: DiskUse | None) -> Iterator[str]:
    seconds = predict_seconds(fitted.costs, fitted.plan)
    slowest = max(seconds, key=lambda part: seconds[part])
    reasons = {
        "processors": f"every processor is busy ({os.cpu_count()})",
        "compute": "the stages are the slowest part",
        "encode": "encoding is the slowest part",
        "decode": "decoding is the slowest part",
    }
    if fitted.seconds is not None:
        yield (
            f"time      about {format_duration(fitted.seconds)}, {1 / seconds[slowest]:.1f} source "
            f"frames per second: {reasons[slowest]}"
        )
    if disk is not None:
        yield f"result    about {_format_size(disk.result)}, from a few frames of three places"
        segments = (
            f"{_format_size(disk.segments)} before segments are joined, " if disk.segments else ""
        )
        free = f"; {_format_size(disk.free)} are free" if disk.free is not None else ""
        yield f"disk      {segments}{_format_size(disk.joining)} at most{free}"
    if fitted.costs.snapshot_bytes:
        yield f"snapshot  {_format_size(fitted.costs.snapshot_bytes)} at most"


def _format_size(size: float) -> str:
    return decimal(int(size)) if size else ""


def _format_value(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
