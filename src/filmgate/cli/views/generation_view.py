"""The plan of a job that generates, as a table or JSON."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from filmgate.cli.views.tables import build_table
from filmgate.models.contracts import GenerationPrediction
from filmgate.planning.generation import GenerationPlan
from filmgate.tasks.settings import plain
from filmgate.units import format_bytes, format_duration

_PARTS = ("text", "image", "steps", "decode")


def to_json(plan: GenerationPlan, reason: str) -> dict[str, object]:
    """Return the plan for JSON; `reason` says why weights are missing, "" if they are here."""
    return {
        "video": plain(plan.video),
        "device": plan.device,
        "weights": reason or None,
        "here": None if plan.here is None else plain(plan.here),
        "refused": plan.refusal or None,
        "predicted_device": {
            str(budget): {"refused": row} if isinstance(row, str) else plain(row)
            for budget, row in plan.rows.items()
        },
    }


def draw(plan: GenerationPlan, reason: str) -> Group:
    """Return the video, what it takes here, and a table of what it takes under other budgets."""
    video = plan.video
    length = f"{video.frames} frames at {float(video.fps):.6g} fps"
    lines = [f"{video.width}x{video.height}, {length}, in {video.steps} steps"]
    lines += [f"notice: {notice}" for notice in video.notices]
    if plan.here is not None:
        lines.append(f"here, on {plan.device}: {plan.here.placement}, because {plan.here.reason}; "
                     f"{_describe_time(plan.here)}")  # fmt: skip
    else:
        lines.append(f"here, on {plan.device}: {plan.refusal}")
    reasons = [f"{budget / 1e9:g} GB: {row if isinstance(row, str) else row.reason}"
               for budget, row in plan.rows.items()]  # fmt: skip
    last = ["Peak GB on a GPU while each part runs. Predicted from shapes: nothing was run."]
    last += [f"weights: {reason}"] if reason else []
    return Group(*map(Text, lines), "", _build_table(plan), "", *map(Text, reasons), "",
                 *map(Text, last))  # fmt: skip


def _build_table(plan: GenerationPlan) -> Table:
    table = build_table("GPU", *(f">{part}" for part in _PARTS), "weights of the transformer")
    for budget, row in plan.rows.items():
        name = f"{budget / 1e9:g} GB"
        if isinstance(row, str):
            table.add_row(name, *["-"] * len(_PARTS), "does not fit")
            continue
        peaks = (format_bytes(row.parts.get(part, 0)).removesuffix(" GB") for part in _PARTS)
        table.add_row(name, *peaks, row.placement)
    return table


def _describe_time(prediction: GenerationPrediction) -> str:
    if prediction.step_s is None or prediction.total_s is None:
        return "the speed of the device is unknown"
    return (f"{format_duration(prediction.step_s)} a step, {format_duration(prediction.total_s)} "
            "for all steps (predicted)")  # fmt: skip
