"""`filmgate jobs`: show unfinished runs, or remove them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from filmgate.errors import BadSetting, Exit
from filmgate.installation import quote_argument

if TYPE_CHECKING:
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

    from filmgate.jobs.status import read_status

    for place in places:
        if not place.is_dir():
            raise BadSetting(
                f"the folder {place} does not exist: pass the folder in which results are made"
                if not place.exists()
                else f"{place} is a file: pass the folder in which results are made"
            )
    runs = [read_status(folder) for folder in _find_runs(places or (Path(),))]
    if json:
        print(json_.dumps([run.plain() for run in runs]))
    elif runs:
        _show_runs(runs)
    else:
        print("no unfinished run here")
    return Exit.DONE


def clean(outs: Results = (), /, *, all: All = False) -> Exit:
    """Remove the files of unfinished runs: the same commands start over the next time."""
    from filmgate.jobs.status import read_status
    from filmgate.media.images.numbering import count_images

    if bool(outs) == all:
        raise BadSetting("pass results (or folders of runs), or --all for all runs in this folder")
    for folder in [find_run(out) for out in outs] if outs else _find_runs((Path(),)):
        result = Path(read_status(folder).result)
        with folder.lock():
            folder.remove()
        print(f"removed {folder.path}")
        if images := count_images(result):
            print(f"{images} images stay in {_strip_controls(str(result.parent))}: delete them, or "
                  "pass --overwrite to the next run")  # fmt: skip
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


def _show_runs(runs: Sequence[RunStatus]) -> None:
    from rich import box
    from rich.console import Console
    from rich.filesize import decimal
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("result", "status", "frames done", "on disk"):
        table.add_column(name, overflow="fold")
    for run in runs:
        state = "damaged" if run.damage else "stopped"
        state = f"running: {run.holder}" if run.holder else state
        total = f" of {run.frames}" if run.frames else ""
        cells = (run.result, state, f"{run.read}{total}", decimal(run.size_bytes))
        table.add_row(*(Text(_strip_controls(cell)) for cell in cells))
    console = Console(highlight=False)
    console.print(table)
    for run in runs:
        place = _strip_controls(quote_argument(str(run.place)))
        line = f"to resume: filmgate resume {place}"
        if run.damage:
            line = f"damaged: run the same command with --restart, or filmgate jobs clean {place}"
        console.print(Text(line), soft_wrap=True)


def _strip_controls(text: str) -> str:
    """Return untrusted text on one line, without codes that a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
