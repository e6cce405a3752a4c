"""`filmgate doctor`: show what this machine has, what is missing and how to get it."""

from __future__ import annotations

import json as json_
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.errors import Exit
from filmgate.units import GIB

REINSTALL = "install it again, in the folder of its source: pip install --force-reinstall ."
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was checked; `cure` says how to get what is missing."""

    name: str
    ok: bool
    found: str
    cure: str = ""


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    return App(name="doctor", default_command=run)


def run(*, json: Json = False) -> Exit:
    """Show what this machine has, what is missing and how to get it."""
    items = examine_machine(Path.cwd())
    print_items(items, json)
    return Exit.DONE if all(item.ok for item in items) else Exit.VERDICT_NO


def examine_machine(folder: Path) -> tuple[Item, ...]:
    """Return everything that a run needs or can use; `folder` is where results would go."""
    return (*_check_software(), *_check_hardware(folder))


def print_items(items: Sequence[Item], json: bool) -> None:
    """Print a table, or JSON."""
    if json:
        from filmgate.tasks.settings import plain

        print(json_.dumps(plain(list(items))))
        return
    from rich.table import Table

    from filmgate.cli.views.tables import build_plain_console

    table = Table(box=None, pad_edge=False, show_header=False)
    for item in items:
        table.add_row("ok" if item.ok else "NO", item.name, item.found)
        if item.cure:
            table.add_row("", "", item.cure)
    build_plain_console().print(table)


def _check_software() -> Iterator[Item]:
    ok = sys.version_info >= (3, 11)
    yield Item("python", ok, platform.python_version(), "" if ok else "get Python 3.11 or newer")
    for name, check in (("torch", _check_torch), ("PyAV", _check_av), ("OpenCV", _check_cv2)):
        try:
            yield from check()
        except ImportError as error:
            yield Item(name, False, f"cannot be imported: {error}", REINSTALL)


def _check_torch() -> Iterator[Item]:
    torch = import_module("torch")
    yield Item("torch", True, torch.__version__)
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("Apple GPU (mps)")
    yield Item("devices", True, ", ".join(["CPU", *names]))


def _check_av() -> Iterator[Item]:
    from filmgate.media.codecs import CODECS

    av = import_module("av")
    ffmpeg = ".".join(map(str, getattr(av, "ffmpeg_version_info", "").split()[:1]))
    yield Item("PyAV", True, f"{av.__version__}, FFmpeg {ffmpeg}")
    wanted = {name: codec.encoder for name, codec in CODECS.items() if codec.exact}
    missing = [name for name, encoder in wanted.items() if encoder not in av.codecs_available]
    yield Item(
        "codecs",
        not missing,
        f"cannot write {', '.join(missing)}" if missing else f"can write {', '.join(wanted)}",
        "get PyAV's own build: pip install --force-reinstall --only-binary av av"
        if missing
        else "",
    )


def _check_cv2() -> Iterator[Item]:
    cv2 = import_module("cv2")
    dis = hasattr(cv2, "DISOpticalFlow_create")
    yield Item("OpenCV", dis, cv2.__version__ + ("" if dis else ", without DIS flow"),
               "" if dis else REINSTALL)  # fmt: skip


def _check_hardware(folder: Path) -> Iterator[Item]:
    import psutil
    from rich.filesize import decimal

    memory = psutil.virtual_memory()
    tight = memory.available < 2 * GIB
    yield Item("memory", True, f"{decimal(memory.available)} free of {decimal(memory.total)}",
               "little: close other programs for large videos" if tight else "")  # fmt: skip
    disk = shutil.disk_usage(folder)
    full, writable = disk.free < GIB, os.access(folder, os.W_OK)
    yield Item("disk", writable, f"{decimal(disk.free)} free in {folder}"
               + ("" if writable else ", which is not writable"),
               "" if writable and not full else "write results to another disk")  # fmt: skip
    yield Item("processors", True, str(os.cpu_count()))
