"""A plan as tables or JSON."""

import json as json_
import os
from collections.abc import Iterator
from dataclasses import fields

from rich.console import Console, Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from filmgate.cli.views.tables import sheet
from filmgate.core.frame import StreamSpec
from filmgate.core.plan import Plan
from filmgate.planning.costs import StageCost, seconds_each
from filmgate.planning.disk import Disk
from filmgate.planning.fit import Fit
from filmgate.tasks.job_config import plain
from filmgate.units import format_duration

KNOBS = {
    "chunk": "frames at a time",
    "batches": "batch of each stage",
    "queue_bytes": "each of two queues",
    "segment_frames": "frames to a segment",
    "decode_threads": "threads that decode",
    "opencv_threads": "threads of OpenCV",
    "torch_threads": "threads of torch",
    "encode_threads": "threads that encode",
    "return_freed_memory": "freed memory goes back",
    "cache": "results are kept",
    "guard": "results are looked at",
    "low_memory": "less memory, slower",
}


def show(found: Fit, json: bool, disk: "Disk | None") -> None:
    """Prints the plan: tables for a person, or one JSON object."""
    if json:
        print(json_.dumps(as_json(found, disk)))
    else:
        Console(highlight=False).print(drawn(found, disk))


def as_json(found: Fit, disk: Disk | None) -> dict[str, object]:
    """All that is known before the run: `bytes` are bytes, `_s` seconds for one source frame."""
    batches = found.plan.batches
    return {
        "given": plain(found.given),
        "made": plain(found.made),
        "budget": plain(found.budget),
        "plan": plain(found.plan),
        "reasons": {knob: found.choice.reasons[knob] for knob in KNOBS},
        "stages": [
            plain(stage) | {"batch": batch, "seconds_each": stage.seconds_each(batch)}
            for stage, batch in zip(found.costs.stages, batches, strict=True)
        ],
        "predicted": {
            "host_bytes": sum(found.host.values()),
            "host_parts": dict(found.host),
            "device_bytes": found.device_bytes,
            "snapshot_bytes": found.costs.snapshot_bytes,
            "disk": disk and disk.plain(),
            "seconds_each": seconds_each(found.costs, found.plan),
            "seconds": found.seconds,
        },
    }


def drawn(found: Fit, disk: Disk | None) -> Group:
    """What `show` shows a person."""
    return Group(
        Text(f"{_film(found.given)}  ->  {_film(found.made)}"),
        "",
        _stages(found),
        "",
        _memory(found),
        "",
        _knobs(found),
        "",
        *(Text(line) for line in _ends(found, disk)),
    )


def _film(spec: StreamSpec) -> str:
    rate = "its own times" if spec.rate is None else f"{float(spec.rate):g} fps"
    frames = "" if spec.frames is None else f", {spec.frames} frames"
    return f"{spec.width}x{spec.height} {spec.pixels}, {rate}{frames}"


def _stages(found: Fit) -> Table:
    table = sheet("stage", *(">" + head for head in (
        "weights", "per frame", "keeps", "batch", "peak", "s/frame", "redone")))  # fmt: skip
    for stage, batch in zip(found.costs.stages, found.plan.batches, strict=True):
        table.add_row(
            stage.name,
            _size(stage.weights_bytes),
            _size(stage.device.per_item or stage.host.per_item),
            _size(stage.state_bytes),
            str(batch),
            _peak(stage, batch),
            f"{stage.seconds_each(batch):.4f}",
            f"{float(stage.recompute):.3g} x",
        )
    return table


def _peak(stage: StageCost, batch: int) -> str:
    device = stage.device.at(batch)
    return _size(stage.host.at(batch)) + (f" + {_size(device)} on the device" if device else "")


def _memory(found: Fit) -> Table:
    parts, each = found.host, seconds_each(found.costs, found.plan)
    seconds = {"decoder": "decode", "stages": "compute", "encoder": "encode"}
    whole, budget = sum(parts.values()), found.budget.host
    table = sheet("memory, at most", ">predicted", "", ">s/frame")
    for name, size in parts.items():
        bar = "█" * max(1, round(24 * size / whole))
        took = f"{each[seconds[name]]:.4f}" if name in seconds else ""
        table.add_row(name, _size(size), bar, took)
    table.add_row("in all", _size(whole), f"of {_size(budget)} ({whole / budget:.0%})", "",
                  style="bold")  # fmt: skip
    if found.device_bytes:
        room = found.budget.device
        of = f"of {_size(room)}" if room else ""
        table.add_row("on the device", _size(found.device_bytes), of, "", style="bold")
    return table


def _knobs(found: Fit) -> Table:
    table = sheet("knob", ">is", "because")
    for item in fields(Plan):
        if item.name in KNOBS:
            value = getattr(found.plan, item.name)
            said = _size(value) if item.name.endswith("_bytes") else _said(value)
            table.add_row(KNOBS[item.name], said, found.choice.reasons[item.name])
    return table


def _ends(found: Fit, disk: Disk | None) -> Iterator[str]:
    each = seconds_each(found.costs, found.plan)
    slowest = max(each, key=lambda part: each[part])
    named = {
        "processors": f"all {os.cpu_count()} processors are busy",
        "compute": "the stages are the slowest part",
        "encode": "encoding is the slowest part",
        "decode": "decoding is the slowest part",
    }
    if found.seconds is not None:
        yield (
            f"time      {format_duration(found.seconds)} expected, {1 / each[slowest]:.1f} fps: "
            + (named[slowest])
        )
    if disk is not None:
        yield f"result    about {_size(disk.result)}, as a few frames from three places tell"
        pieces = f"{_size(disk.pieces)} before the join, " if disk.pieces else ""
        free = f"; {_size(disk.free)} are free there" if disk.free is not None else ""
        yield f"disk      {pieces}{_size(disk.joining)} at most{free}"
    yield f"snapshot  {_size(found.costs.snapshot_bytes)} at most"


def _size(size: float) -> str:
    return decimal(int(size)) if size else ""


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
