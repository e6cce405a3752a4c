"""What becomes of a job whose attempt did not finish it."""

from __future__ import annotations

from dataclasses import dataclass

from filmgate.jobs.queue.values import (
    OUT_OF_MEMORY,
    POISON,
    WORKER_LOST,
    AttemptEnd,
)

MAX_CRASHES = 3  # without a segment between them: another worker would die as well
MAX_LOSSES = 10  # of connections, whose cause may be the network, without a segment between them
MAX_FAILURES = 3  # that were worth another try, without a segment between them


@dataclass(frozen=True, slots=True, kw_only=True)
class Troubles:
    """How attempts at a job ended since its latest segment, the last one included.

    `was_reduced`: it was tried with smaller settings.
    """

    crashes: int
    failures: int
    losses: int
    was_reduced: bool = False


def judge(
    end: AttemptEnd, epoch: int, troubles: Troubles, *, may_retry: bool
) -> tuple[str, str] | None:
    """Return why a job has failed, as a word and a message; ("", "") for its worker's own error.

    None: it is tried again. `epoch`: the number of the attempt that has ended.
    """
    crashes, losses = troubles.crashes, troubles.losses
    if end is AttemptEnd.OUT_OF_MEMORY and troubles.was_reduced and crashes > 1:
        return OUT_OF_MEMORY, (
            "the machine ran out of memory, also with the smallest settings and without another "
            "segment between: close other programs, or submit the job with a smaller model or size"
        )
    if crashes >= MAX_CRASHES:
        return POISON, (
            f"{crashes} workers ended without another segment, the last one on attempt {epoch}: "
            f"{end}"
        )
    if losses >= MAX_LOSSES:
        return WORKER_LOST, f"the connections of {losses} workers ended without another segment"
    if end is AttemptEnd.FAILED and (not may_retry or troubles.failures >= MAX_FAILURES):
        return "", ""
    return None
