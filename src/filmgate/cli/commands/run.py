"""`filmgate run`: run a job file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from filmgate.cli.flags import Owner, add_flags
from filmgate.cli.request import DisplayOptions
from filmgate.errors import Exit
from filmgate.jobs.options import ResumeOptions
from filmgate.planning.limits import Limits

if TYPE_CHECKING:
    from filmgate.backends.spawn import Workers

JobFile = Annotated[
    Path,
    Parameter(
        name="JOB",
        help="TOML file with input, output, seed and [[tasks]]; its paths are relative to it.",
    ),
]
OWNERS = (
    Owner("Resources", (Limits,)),
    Owner("Run", (ResumeOptions,)),
    Owner("Display", (DisplayOptions,)),
)


def build_app(words: Sequence[str], workers: Workers | None = None) -> App:
    """Return the command."""

    def run(
        job: JobFile, /, limits: Limits, resume_options: ResumeOptions, display: DisplayOptions
    ) -> Exit:
        """Run a job file: several tasks in one pass."""
        from filmgate.cli.execution import run_job
        from filmgate.tasks.job_config import job_from_toml

        return run_job(job_from_toml(job), limits, resume_options, display, workers=workers)

    return App(name="run", default_command=add_flags(run, *OWNERS))
