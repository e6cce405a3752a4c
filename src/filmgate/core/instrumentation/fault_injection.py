"""Fault injection: named points at which tests make a run fail.

FILMGATE_FAULT="encode.before_commit=kill@3,decode.chunk=raise" lists the faults; a point that is
not listed does nothing. After = is one of KINDS, after @ the pass at which it fails, counted from
1 in each process (default: 1).
"""

import faulthandler
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
# Every point in the source, in the order in which a frame passes them.
POINTS = (
    "decode.chunk",  # a chunk of the source has been decoded
    "prepare.move",  # a stage is about to make a move before its first frame
    "prepare.before_save",  # it has made one, whose state is not stored yet
    "compute.step",  # a chunk is about to go through the chain
    "encode.before_write",  # frames are about to go to the sink
    "encode.before_commit",  # everything is written, the snapshot is not
    "commit.snapshot",  # a resumable run has written its snapshot, which does not count yet
    "commit.listed",  # it counts; older ones still exist
    "join.complete",  # all results are joined and complete, and do not have their names yet
    "join.named",  # one of them has; the run's folder still exists
    "encode.after_commit",  # the commit is done, its event is not sent
    "end.reported",  # a resumable run is done and said so; the run's folder still exists
    "end.removed",  # the folder is gone
)


class Fault(Exception):  # not one of our errors, as a library would raise one
    """Raised at a fault point of kind "raise"."""


def inject_fault(name: str) -> None:
    """Fail here if the environment lists this point. Raises Fault or MemoryError, or exits."""
    kind, at, passes = _read_faults().get(name, ("", 0, iter(())))
    if kind and next(passes) == at:
        _fail(kind, name)


@cache
def _read_faults() -> Mapping[str, tuple[str, int, Iterator[int]]]:
    """Return the faults in the environment."""
    return parse_faults(os.environ.get(VARIABLE, ""))


def parse_faults(text: str) -> dict[str, tuple[str, int, Iterator[int]]]:
    """Parse NAME=KIND@N,... to (kind, N, a counter from 1) by name. Raises BadSetting."""
    faults: dict[str, tuple[str, int, Iterator[int]]] = {}
    for part in filter(None, text.split(",")):
        name, _, rest = part.partition("=")
        kind, _, at = rest.partition("@")
        if name not in POINTS or kind not in KINDS or not (at or "1").isdecimal():
            raise BadSetting(
                f"{VARIABLE} has {part!r}: wanted NAME=KIND or NAME=KIND@N, with NAME one of "
                f"{', '.join(POINTS)} and KIND one of {', '.join(KINDS)}"
            )
        faults[name] = (kind, int(at or 1), count(1))
    return faults


def _fail(kind: str, name: str) -> None:
    if kind == "raise":
        raise Fault(f"on purpose, at {name}")
    if kind == "memory":
        raise MemoryError(f"on purpose, at {name}")
    print(f"{kind} on purpose, at {name}", file=sys.stderr, flush=True)
    if kind == "exit":
        os._exit(9)
    elif kind == "kill":
        os.kill(os.getpid(), 9)  # SIGKILL; on Windows TerminateProcess with this exit code
    elif kind == "crash" and sys.platform == "win32":
        vars(faulthandler)["_raise_exception"](0xC0000005)  # an access violation
    elif kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    Event().wait()
