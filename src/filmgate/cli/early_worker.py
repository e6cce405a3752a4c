"""Start the worker process of a command before its flags are read: both import at the same time."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filmgate.cli.commands import JOB_COMMANDS, SUMMARIES

if TYPE_CHECKING:
    from filmgate.backends.spawn import Workers

_WITHOUT = frozenset({"--in-process", "--sample", "--help", "-h", "-"})  # a pipe needs no worker


@contextmanager
def start_worker_early(words: Sequence[str]) -> Iterator[Workers | None]:
    """Yield workers of which one waits for a job, if the command line probably runs one.

    A wrong guess costs time and nothing else: a worker without a job is killed, and a job without
    a worker starts one.
    """
    if not _runs_worker(words):
        yield None
        return
    from filmgate.backends.spawn import Workers

    with Workers() as workers:
        workers.start_early(import_libraries if words[0] == "convert" else import_task_libraries)
        yield workers


def import_libraries() -> None:
    """Import what every run needs, in the worker; torch only some families need."""
    gc.disable()  # nothing of it is garbage
    try:
        import safetensors.numpy  # noqa: F401 - it is ready when it is needed, as the others

        import filmgate.jobs.resumable
        import filmgate.media.reading.open_video
        import filmgate.media.writing.segment_writer  # noqa: F401
    finally:
        gc.freeze()
        gc.enable()


def import_task_libraries() -> None:
    """Import what every run with a task needs, in the worker."""
    import_libraries()
    import filmgate.tasks.model_task  # noqa: F401


def _runs_worker(words: Sequence[str]) -> bool:
    flags = {word.partition("=")[0] for word in words}
    if flags & _WITHOUT or os.environ.get("FILMGATE_IN_PROCESS", "0") != "0":
        return False
    if not any(os.path.exists(word) for word in words[1:]):  # a wrong name, or `convert` alone
        return False
    if words[0] in SUMMARIES:
        return words[0] in JOB_COMMANDS
    from filmgate.tasks.registry import list_summaries

    return words[0] in list_summaries()
