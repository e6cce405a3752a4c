"""What was begun and not ended: shown, gone on with, cleared away."""

import json as json_
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from filmgate.cli.commands import run
from filmgate.cli.request import DisplayOptions
from filmgate.errors import BadSetting, Exit
from filmgate.jobs.options import ResumeOptions
from filmgate.jobs.run_directory import SUFFIX, RunDirectory
from filmgate.jobs.status import RunStatus, run_status, stored_job
from filmgate.planning.limits import Limits

Places = Annotated[tuple[Path, ...], Parameter(name="FOLDER", help="Where to look. Without: here.")]
Result = Annotated[Path, Parameter(name="OUT", help="The result, or the run's own folder.")]
Results = Annotated[tuple[Path, ...], Parameter(name="OUT", help="Results, or runs' own folders.")]
All = Annotated[bool, Parameter(help="All that lie here.")]
Json = Annotated[bool, Parameter(help="Say it as JSON on standard output.")]


def verbs() -> App:
    """`jobs`, and `jobs clean` below it."""
    app = App(name="jobs", help="Show runs that were begun and not ended.", default_command=show)
    app.command(clean)
    return app


def show(places: Places = (), /, *, json: Json = False) -> Exit:
    """Show runs that were begun and not ended."""
    found = [run_status(folder) for folder in _folders(places or (Path(),))]
    if json:
        print(json_.dumps([one.plain() for one in found]))
    else:
        Console(highlight=False).print(_table(found) if found else "no run waits here")
    return Exit.DONE


def resume(out: Result, /, shown: DisplayOptions) -> Exit:
    """Go on with a run where it stopped, with all that was said then."""
    folder = _of(out)
    job, limits = stored_job(folder)
    beside = RunDirectory.beside(Path(job.sink.path)).path  # type: ignore[attr-defined]
    work = None if beside == folder.path.absolute() else folder.path
    return run.do_one(job, limits or Limits(), ResumeOptions(work), shown)


def clean(outs: Results = (), /, *, all: All = False) -> Exit:
    """Throw away what runs need to go on: they begin anew the next time."""
    if bool(outs) == all:
        raise BadSetting("wanted results (or runs' own folders), or --all for all that lie here")
    for folder in [_of(out) for out in outs] if outs else _folders((Path(),)):
        with folder.held():
            folder.remove()
        print(f"{folder.path} is gone")
    return Exit.DONE


def _folders(places: Sequence[Path]) -> list[RunDirectory]:
    found = []
    for place in places:
        inside = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else []
        found += [RunDirectory(path) for path in inside if RunDirectory(path).begun]
    return found


def _of(out: Path) -> RunDirectory:
    folder = RunDirectory(out) if out.is_dir() else RunDirectory.beside(out)
    if not folder.begun:
        raise BadSetting(f"{folder.path} holds no run: filmgate jobs FOLDER shows those there are")
    return folder


def _table(found: Sequence[RunStatus]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("result", "is", "frames done", "on disk"):
        table.add_column(name, overflow="fold")
    table.add_column("goes on with", no_wrap=True)
    for one in found:
        state = f"at work: {one.holder}" if one.holder else "waiting"
        of = f" of {one.frames}" if one.frames else ""
        table.add_row(str(one.result), state, f"{one.read}{of}", decimal(one.size_bytes),
                      f"filmgate resume {one.place}")  # fmt: skip
    return table
