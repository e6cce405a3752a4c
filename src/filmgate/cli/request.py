"""What a command line asks for, as values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from filmgate.cli.paths import pairs
from filmgate.core.job import Job
from filmgate.errors import BadSetting
from filmgate.jobs.options import ResumeOptions
from filmgate.planning.limits import Limits


@dataclass(frozen=True, slots=True)
class DisplayOptions:
    """How a run is shown, and where it runs; each field is a flag."""

    json: bool = False
    """Say it as JSON on standard output."""

    quiet: bool = False
    """Say nothing but warnings and errors."""

    trace: Path | None = None
    """Draw the run into this file, for ui.perfetto.dev."""

    skip_bad: bool = False
    """Frames that end the worker again and again are stood in for by the last good one; exit code
    4."""

    in_process: bool = False
    """Run in this process. Without: in a child, so that what kills that does not end the run."""


@dataclass(frozen=True, slots=True)
class Request:
    """All that a command line asks for: places, what is done there, and how."""

    places: Sequence[Path]
    out: Path | None
    container: str | None
    job: Callable[[Path, Path], Job]
    limits: Limits
    durable: ResumeOptions
    shown: DisplayOptions
    more: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a person may try before the whole is done; each field is a flag."""

    sample: Fraction | None = None
    """Do only so many seconds of the beginning, the middle and the end, aside: tells what the whole
    would take and saves a picture of before and after. OUT is not touched."""

    def __post_init__(self) -> None:
        if self.sample is not None and self.sample <= 0:
            raise BadSetting(f"sample is {self.sample} s: wanted more than 0")


def jobs_of(order: Request) -> Mapping[str, Job]:
    """Every job that is asked for, by what it does in words."""
    return {
        f"{source} -> {sink}": order.job(source, sink)
        for source, sink in pairs(order.places, order.out, order.container)
    }
