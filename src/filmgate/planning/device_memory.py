"""What a model would hold on a card, as `filmgate plan` shows it where nothing can be tried."""

from __future__ import annotations

from collections.abc import Sequence

from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.job import Job
from filmgate.models.contracts import MemoryPrediction, PredictsMemory
from filmgate.planning.limits import Limits


def elsewhere(job: Job, limits: Limits) -> bool:
    """Whether the limits are those of a card that this machine has not."""
    if not limits.vram or not any(isinstance(task, PredictsMemory) for task in job.tasks):
        return False
    import torch  # half a gigabyte, which such a task brings anyway

    return not torch.cuda.is_available()


def foreseen(job: Job) -> tuple[StreamSpec, Sequence[MemoryPrediction]] | None:
    """What comes to the job's first task that can say what it would hold, and what that is."""
    with job.source.open() as video:
        chain = Chain(job.source.stages(video.spec))
        for task in job.tasks:
            spec = chain.output(video.spec)
            if isinstance(task, PredictsMemory) and (rows := task.foreseen(spec)):
                return spec, rows
            chain = Chain((chain, *task.stages(spec)))
    return None
