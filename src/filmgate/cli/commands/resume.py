"""`filmgate resume`: resume an unfinished run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from filmgate.cli.flags import Owner, add_flags
from filmgate.cli.request import DisplayOptions
from filmgate.errors import Exit

if TYPE_CHECKING:
    from filmgate.backends.spawn import Workers

Result = Annotated[Path, Parameter(name="OUT", help="The result, or the folder of the run.")]


def build_app(words: Sequence[str], workers: Workers | None = None) -> App:
    """Return the command."""

    def resume(out: Result, /, display: DisplayOptions) -> Exit:
        """Resume an unfinished run with its own settings."""
        from filmgate.cli.commands.jobs import find_run
        from filmgate.cli.execution import run_job
        from filmgate.jobs.options import ResumeOptions
        from filmgate.jobs.run_directory import RunDirectory
        from filmgate.jobs.status import read_job

        folder = find_run(out)
        job, limits = read_job(folder)
        usual = RunDirectory.for_result(Path(job.sink.path)).path
        work = None if usual == folder.path.absolute() else folder.path
        return run_job(job, limits, ResumeOptions(work), display, workers=workers)

    command = add_flags(resume, Owner("Display", (DisplayOptions,)))
    return App(name="resume", default_command=command)
