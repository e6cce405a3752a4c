"""Faults on purpose: named points where a run can be made to break, and a device that fails.

FILMGATE_FAULT="encode.before_commit=kill@3,decode.chunk=raise" asks for them; without it, or where
a name is not asked for, a point does nothing. What stands behind = is one of KINDS, and behind @
the number of the time it strikes (from 1; a new process counts anew; without: the first).
"""

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count
from threading import Event

from filmgate.errors import BadSetting

VARIABLE = "FILMGATE_FAULT"
KINDS = ("raise", "memory", "exit", "kill", "crash", "hang")
# Every point that stands in the source, in the order a frame meets them.
POINTS = (
    "decode.chunk",  # a chunk of the source has been decoded
    "compute.step",  # a chunk is about to go through the chain
    "encode.before_write",  # frames are about to go to the sink
    "encode.before_commit",  # all is written, the snapshot is not
    "commit.snapshot",  # a durable run has written its snapshot, which does not count yet
    "commit.listed",  # it counts; older ones are still there
    "join.whole",  # the result is joined and whole, and has no name yet
    "join.named",  # it has; the run's folder is still there
    "encode.after_commit",  # all that, and nobody has been told
)


class Fault(Exception):  # a foreign error, as a library would raise one
    """Raised by a fault point that was asked to raise."""


def fault(name: str) -> None:
    """Breaks here if the environment asks for it. Raises Fault, MemoryError, or never returns."""
    kind, at, times = _asked().get(name, ("", 0, iter(())))
    if kind and next(times) == at:
        _strike(kind, name)


@cache
def _asked() -> Mapping[str, tuple[str, int, Iterator[int]]]:
    """What the environment asks for: kind, at which time, and the times so far."""
    return asked(os.environ.get(VARIABLE, ""))


def asked(text: str) -> dict[str, tuple[str, int, Iterator[int]]]:
    """NAME=KIND@N, with commas between, as (kind, N, a counter from 1). Raises BadSetting."""
    found: dict[str, tuple[str, int, Iterator[int]]] = {}
    for part in filter(None, text.split(",")):
        name, _, rest = part.partition("=")
        kind, _, at = rest.partition("@")
        if name not in POINTS or kind not in KINDS or not (at or "1").isdecimal():
            raise BadSetting(
                f"{VARIABLE} asks for {part!r}: wanted NAME=KIND or NAME=KIND@N, NAME one of "
                f"{', '.join(POINTS)}, KIND one of {', '.join(KINDS)}"
            )
        found[name] = (kind, int(at or 1), count(1))
    return found


def _strike(kind: str, name: str) -> None:
    if kind == "raise":
        raise Fault(f"on purpose, at {name}")
    if kind == "memory":
        raise MemoryError(f"on purpose, at {name}")
    print(f"{kind} on purpose, at {name}", file=sys.stderr, flush=True)
    if kind == "exit":
        os._exit(9)
    elif kind == "kill":
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    elif kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    Event().wait()
