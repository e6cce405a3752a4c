"""`filmgate jobs`: show unfinished runs, or remove them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from filmgate.errors import BadSetting, Exit

if TYPE_CHECKING:
    from rich.table import Table

    from filmgate.jobs.run_directory import RunDirectory
    from filmgate.jobs.status import RunStatus

Places = Annotated[
    tuple[Path, ...], Parameter(name="FOLDER", help="Where to look. Default: the current folder.")
]
Results = Annotated[tuple[Path, ...], Parameter(name="OUT", help="Results, or folders of runs.")]
All = Annotated[bool, Parameter(help="All runs in the current folder.")]
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]


def build_app(words: Sequence[str]) -> App:
    """Return `jobs`, with `jobs clean` below it."""
    app = App(name="jobs", help="Show unfinished runs, or remove them.", default_command=show)
    app.command(clean)
    return app


def show(places: Places = (), /, *, json: Json = False) -> Exit:
    """Show unfinished runs, or remove them."""
    import json as json_

    from rich.console import Console

    from filmgate.jobs.status import read_status

    runs = [read_status(folder) for folder in _find_runs(places or (Path(),))]
    if json:
        print(json_.dumps([run.plain() for run in runs]))
    else:
        Console(highlight=False).print(_build_table(runs) if runs else "no unfinished run here")
    return Exit.DONE


def clean(outs: Results = (), /, *, all: All = False) -> Exit:
    """Remove the files of unfinished runs: the same commands start over the next time."""
    if bool(outs) == all:
        raise BadSetting("pass results (or folders of runs), or --all for all runs in this folder")
    for folder in [find_run(out) for out in outs] if outs else _find_runs((Path(),)):
        with folder.lock():
            folder.remove()
        print(f"removed {folder.path}")
    return Exit.DONE


def find_run(out: Path) -> RunDirectory:
    """Return the folder of the unfinished run for a result. Raises BadSetting if there is none."""
    from filmgate.jobs.run_directory import RunDirectory

    folder = RunDirectory(out)
    if not folder.is_run:  # also where it is the folder of the images
        folder = RunDirectory.for_result(out)
    if not folder.is_run:
        raise BadSetting(f"{folder.path} contains no run: filmgate jobs FOLDER lists the "
                         "unfinished ones")  # fmt: skip
    return folder


def _find_runs(places: Sequence[Path]) -> list[RunDirectory]:
    from filmgate.jobs.run_directory import SUFFIX, RunDirectory

    folders = [path for place in places if place.is_dir()
               for path in sorted(place.glob(f"*{SUFFIX}"))]  # fmt: skip
    return [folder for path in folders if (folder := RunDirectory(path)).is_run]


def _build_table(runs: Sequence[RunStatus]) -> Table:
    from rich import box
    from rich.filesize import decimal
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("result", "status", "frames done", "on disk"):
        table.add_column(name, overflow="fold")
    table.add_column("to resume", no_wrap=True)
    for run in runs:
        state = f"running: {run.holder}" if run.holder else "stopped"
        total = f" of {run.frames}" if run.frames else ""
        table.add_row(str(run.result), state, f"{run.read}{total}", decimal(run.size_bytes),
                      f"filmgate resume {run.place}")  # fmt: skip
    return table
