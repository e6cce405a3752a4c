"""Doctor: what this machine has, what is missing, and how to get it."""

import json as json_
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rich.filesize import decimal
from rich.table import Table

from filmgate.cli.views.tables import plain_console
from filmgate.media.codecs import CODECS
from filmgate.tasks.job_config import plain
from filmgate.units import GIB

CURE = "install it again: pip install --force-reinstall filmgate"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was looked at; `cure` says how to get what is missing."""

    name: str
    ok: bool
    found: str
    cure: str = ""


def examine(folder: Path) -> tuple[Item, ...]:
    """Everything that a run needs, and what it would like; `folder` is where results would go."""
    return (*_software(), *_machine(folder))


def _software() -> Iterator[Item]:
    ok = sys.version_info >= (3, 11)
    yield Item("python", ok, platform.python_version(), "" if ok else "get Python 3.11 or newer")
    for name, look in (("torch", _torch), ("PyAV", _av), ("OpenCV", _cv2)):
        try:
            yield from look()
        except ImportError as error:
            yield Item(name, False, f"can't be loaded: {error}", CURE)


def _torch() -> Iterator[Item]:
    torch = import_module("torch")
    yield Item("torch", True, torch.__version__)
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("Apple GPU (mps)")
    yield Item("devices", True, ", ".join(["CPU", *names]))


def _av() -> Iterator[Item]:
    av = import_module("av")
    ffmpeg = ".".join(map(str, getattr(av, "ffmpeg_version_info", "").split()[:1]))
    yield Item("PyAV", True, f"{av.__version__}, FFmpeg {ffmpeg}")
    wanted = {name: codec.encoder for name, codec in CODECS.items() if codec.exact}
    missing = [name for name, encoder in wanted.items() if encoder not in av.codecs_available]
    yield Item(
        "codecs",
        not missing,
        f"can't write {', '.join(missing)}" if missing else f"can write {', '.join(wanted)}",
        "get PyAV's own build: pip install --force-reinstall --only-binary av av"
        if missing
        else "",
    )


def _cv2() -> Iterator[Item]:
    cv2 = import_module("cv2")
    dis = hasattr(cv2, "DISOpticalFlow_create")
    yield Item("OpenCV", dis, cv2.__version__ + ("" if dis else ", without DIS flow"),
               "" if dis else CURE)  # fmt: skip


def _machine(folder: Path) -> Iterator[Item]:
    import psutil

    memory = psutil.virtual_memory()
    tight = memory.available < 2 * GIB
    yield Item("memory", True, f"{decimal(memory.available)} free of {decimal(memory.total)}",
               "little: close other programs for large films" if tight else "")  # fmt: skip
    disk = shutil.disk_usage(folder)
    full, writable = disk.free < GIB, os.access(folder, os.W_OK)
    yield Item("disk", writable, f"{decimal(disk.free)} free in {folder}"
               + ("" if writable else ", which can't be written"),
               "" if writable and not full else "write results where there is room")  # fmt: skip
    yield Item("processors", True, str(os.cpu_count()))


def examination(found: Sequence[Item], json: bool) -> None:
    """What `doctor` found."""
    if json:
        print(json_.dumps(plain(list(found))))
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for item in found:
        table.add_row("ok" if item.ok else "NO", item.name, item.found)
        if item.cure:
            table.add_row("", "", item.cure)
    plain_console().print(table)
