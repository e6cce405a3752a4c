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
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from filmgate.errors import Exit
from filmgate.installation import advise_install, explain_system_error, read_memory_limit
from filmgate.tasks.settings import join_words
from filmgate.units import GIB

_EXTRAS = (
    ("image", ("spandrel",), "upscale --model image"),
    (
        "diffusion",
        ("diffusers", "ftfy", "transformers"),
        "animate, generate, upscale --model diffvsr",
    ),
    ("gguf", ("gguf",), "generate with weights in GGUF files"),
    (
        "detection",
        ("torchvision", "transformers"),
        "track --detector torchvision or detr, --pose vitpose",
    ),
    ("parquet", ("pyarrow",), "records as .parquet"),
    ("people", ("ai_edge_litert",), "lipsync, animate, track --detector blazepose"),
    ("insightface", ("onnxruntime",), "lipsync --finder insightface"),
    ("client", ("httpx2",), "filmgate submit, watch, get and cancel"),
    ("serve", ("fastapi", "prometheus_client", "structlog", "uvicorn"), "filmgate serve"),
    ("telemetry", ("opentelemetry.sdk", "opentelemetry.exporter.otlp"), "filmgate serve --traces"),
)
Json = Annotated[bool, Parameter(help="Print JSON on standard output.")]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was checked; `cure` says how to get what is missing.

    Filmgate works without it, unless it is `needed`.
    """

    name: str
    ok: bool
    found: str
    cure: str = ""
    needed: bool = True

    @property
    def mark(self) -> str:
        """What the table shows first."""
        return "ok" if self.ok else "NO" if self.needed else "--"


def build_app(words: Sequence[str]) -> App:
    """Return the command."""
    return App(name="doctor", default_command=run)


def run(*, json: Json = False) -> Exit:
    """Show what this machine has, what is missing and how to get it."""
    items = examine_machine(Path.cwd())
    print_items(items, json)
    return Exit.DONE if all(item.ok or not item.needed for item in items) else Exit.VERDICT_NO


def examine_machine(folder: Path) -> tuple[Item, ...]:
    """Return everything that a run needs or can use; `folder` is where results would go."""
    return (*_check_software(), *_check_optional(), *_check_hardware(folder))


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
        table.add_row(item.mark, item.name, item.found)
        if item.cure:
            table.add_row("", "", item.cure)
    build_plain_console().print(table)
    if any(item.mark == "--" for item in items):
        print("\n-- marks what Filmgate works without")


def _check_software() -> Iterator[Item]:
    ok = sys.version_info >= (3, 11)
    yield Item("python", ok, platform.python_version(), "" if ok else "get Python 3.11 or newer")
    for name, check in (("torch", _check_torch), ("PyAV", _check_av), ("OpenCV", _check_cv2)):
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001 - a broken library may raise anything
            known = explain_system_error(error)
            cure = "" if known else f"install it again: {advise_install()} --force-reinstall"
            yield Item(name, False, str(known or error), cure)


def _check_torch() -> Iterator[Item]:
    from filmgate.device.diagnosis import explain_no_gpu

    torch = import_module("torch")
    yield Item("torch", True, torch.__version__)
    names = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("Apple GPU (mps)")
    reason = explain_no_gpu()
    yield Item("GPU", not reason, f"none: {reason}" if reason else ", ".join(names),
               "models run on the CPU, which is slow for all but the small ones" if reason else "",
               needed=False)  # fmt: skip


def _check_av() -> Iterator[Item]:
    from filmgate.media.codecs import CODECS
    from filmgate.media.writing.encoder_probe import explain_encoder

    av = import_module("av")
    ffmpeg = ".".join(map(str, getattr(av, "ffmpeg_version_info", "").split()[:1]))
    yield Item("PyAV", True, f"{av.__version__}, FFmpeg {ffmpeg}")
    problems = {name: explain_encoder(name) for name in CODECS}
    opened = [name for name, problem in problems.items() if not problem]
    missing = [name for name, codec in CODECS.items() if codec.exact and problems[name]]
    closed = "; ".join(problems[name] for name in missing)
    yield Item("encoders", not missing, f"opened {', '.join(opened)}",
               f"{closed}. Get PyAV's own build: pip install --force-reinstall --only-binary av av"
               if missing else "")  # fmt: skip
    for kind in ("nvenc", "qsv", "videotoolbox"):
        names = [name for name in CODECS if name.endswith(f"_{kind}")]
        reasons = [problems[name] for name in names if problems[name]]
        yield Item(kind, not reasons, reasons[0] if reasons else f"opened {', '.join(names)}",
                   needed=False)  # fmt: skip


def _check_cv2() -> Iterator[Item]:
    cv2 = import_module("cv2")
    dis = hasattr(cv2, "DISOpticalFlow_create")
    yield Item("OpenCV", dis, cv2.__version__ + ("" if dis else ", without DIS flow"),
               "" if dis else "install the build that has it: pip install --force-reinstall "
               "opencv-contrib-python-headless")  # fmt: skip


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False


def _check_optional() -> Iterator[Item]:
    """Check extras, metrics and weights: each is needed by some models or commands only."""
    for extra, libraries, what in _EXTRAS:
        missing = [name for name in libraries if not _is_installed(name)]
        found = f"{join_words(missing or libraries)} {'missing' if missing else 'installed'}"
        yield Item(extra, not missing, f"{found}, for {what}",
                   advise_install(extra) if missing else "", needed=False)  # fmt: skip
    from filmgate.quality.metrics.lpips import explain_missing_lpips
    from filmgate.quality.metrics.vmaf import explain_missing_vmaf

    for metric, explain in (("LPIPS", explain_missing_lpips), ("VMAF", explain_missing_vmaf)):
        try:
            reason = explain()
        except (ImportError, OSError) as error:
            reason = str(error)
        yield Item(metric, not reason, reason or "installed, for filmgate compare", needed=False)
    yield from _check_weights()


def _check_weights() -> Iterator[Item]:
    from filmgate.cli.commands.models import describe_published

    rows = describe_published()
    for state in ("here", "damaged", "incomplete", "absent"):
        names = [str(row["weights"]) for row in rows if row["state"] == state]
        if names:
            cure = "" if state == "here" else f"filmgate models pull {names[0]}"
            yield Item("weights", state == "here", f"{state}: {', '.join(names)}", cure,
                       needed=False)  # fmt: skip


def _check_hardware(folder: Path) -> Iterator[Item]:
    import psutil
    from rich.filesize import decimal

    from filmgate.core.instrumentation.memory import measure_available_memory

    free, total = measure_available_memory(), psutil.virtual_memory().total
    tight = free < 2 * GIB
    unseen = "; limits of job objects are not seen" if sys.platform == "win32" else ""
    yield Item("memory", not tight, f"{decimal(free)} free of {decimal(total)}{unseen}",
               "little: close other programs for large videos" if tight else "",
               needed=False)  # fmt: skip
    if limit := read_memory_limit():
        low = limit < 8 * GIB
        yield Item("ulimit -v", not low, f"{decimal(limit)} of addresses",
                   "torch alone needs several GB of addresses: raise the limit" if low else "",
                   needed=False)  # fmt: skip
    disk = shutil.disk_usage(folder)
    full, writable = disk.free < GIB, os.access(folder, os.W_OK)
    yield Item("disk", writable, f"{decimal(disk.free)} free in {folder}"
               + ("" if writable else ", which is not writable"),
               "" if writable and not full else "write results to another disk")  # fmt: skip
    yield Item("processors", True, str(os.cpu_count()))
