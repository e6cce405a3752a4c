"""Plan a job that generates: from shapes, since running a part of it takes as long as all of it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from filmgate.core.job import Job
from filmgate.core.model_cache import ModelCache
from filmgate.device.placement import Placement
from filmgate.errors import DoesNotFit
from filmgate.media.frame_counter import FrameCounter
from filmgate.models.contracts import GeneratedVideo, GenerationPrediction
from filmgate.planning.limits import Limits
from filmgate.tasks.generate import Generate

BUDGETS = (8_000_000_000, 12_000_000_000, 16_000_000_000, 24_000_000_000)  # of usual GPUs


@dataclass(frozen=True, slots=True)
class GenerationPlan:
    """What a job generates, and what that takes here and under other budgets of a GPU.

    `here`: on this machine, on `device`; None with `refusal` if it does not fit. `rows`: by the
    bytes of a GPU; text says why it does not fit.
    """

    video: GeneratedVideo
    device: str
    here: GenerationPrediction | None
    refusal: str
    rows: dict[int, GenerationPrediction | str]


def find_generation(job: Job) -> Generate | None:
    """Return the task that generates the frames of a job, None if it reads a video."""
    return next((task for task in job.tasks if isinstance(task, Generate)), None)


def plan_generation(job: Job, limits: Limits) -> GenerationPlan | None:
    """Return the plan of a job that generates, None for others. No weights are needed.

    With a limit on the GPU there is one row, else one for each of BUDGETS. Raises BadSetting.
    """
    task, source = find_generation(job), job.source
    if task is None or not isinstance(source, FrameCounter):
        return None
    frames, fps = source.frames, Fraction(source.fps)
    here, refusal = None, ""
    own = task.place(ModelCache(limits.device_bytes, limits.host_bytes))
    try:
        here = task.predict(frames, fps, own)
    except DoesNotFit as error:
        refusal = str(error)
    rows: dict[int, GenerationPrediction | str] = {}
    for budget in (limits.device_bytes,) if limits.device_bytes else BUDGETS:
        on_gpu = Placement("cuda", ModelCache(budget, limits.host_bytes))
        try:
            rows[budget] = task.predict(frames, fps, on_gpu)
        except DoesNotFit as error:
            rows[budget] = str(error)
    return GenerationPlan(task.describe_video(frames, fps), own.device, here, refusal, rows)
