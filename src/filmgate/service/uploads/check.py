"""Check an uploaded file in a limited process: a video, an image, audio or boxes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filmgate.errors import BadInput
from filmgate.tasks.settings import make_adapter
from filmgate.units import GIB, format_bytes

_MODULE = "filmgate.service.uploads.check_process"
_MAX_ANSWER_BYTES = 64 << 10
# One thread of each library: their stacks and buffers count as address space.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """What checking one file may take; hashing a large one adds to the seconds."""

    memory_bytes: int = 3 * GIB
    """Address space."""

    seconds: float = 30.0
    """Until the process is killed."""

    bytes_per_s: float = 50e6
    """A file of so many bytes gives one second more."""


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """What an uploaded file is. `info`: of a video its size, rate, frames and streams."""

    kind: Literal["video", "records", "image", "audio"]
    sha256: str
    info: Mapping[str, Any]


Check = Callable[[Path, str], CheckedFile]
"""Return what the file is, which its owner calls by a name. Raises BadInput."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the process prints: one of both."""

    file: CheckedFile | None = None
    error: str = ""


def check_upload(path: Path, name: str, limits: CheckLimits | None = None) -> CheckedFile:
    """Return what the file is; `name` is what its owner calls it.

    The bytes are only read by another process. Raises BadInput.
    """
    limits = limits or CheckLimits()
    seconds = limits.seconds + path.stat().st_size / limits.bytes_per_s
    words = [str(path), str(limits.memory_bytes), str(int(seconds) + 1)]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", _MODULE, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **dict.fromkeys(_ONE_THREAD, "1")},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BadInput(
            f"{name} cannot be checked in {seconds:.0f} s: upload a file that is not damaged"
        ) from error
    answer = _read_answer(ended.stdout)
    if answer.file is None:
        problem = answer.error.replace(str(path), name)
        raise BadInput(
            problem
            or f"{name} cannot be checked: the process ended with code {ended.returncode} within "
            f"{format_bytes(limits.memory_bytes)} of memory. Upload a file that is not damaged"
        )
    return answer.file


def _read_answer(data: bytes) -> _Answer:
    """Return what the process printed; it read an untrusted file, so it may be anything."""
    from pydantic import ValidationError

    try:
        return make_adapter(_Answer).validate_json(data[:_MAX_ANSWER_BYTES])
    except ValidationError:
        return _Answer()
