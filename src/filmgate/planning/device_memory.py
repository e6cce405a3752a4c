"""Predict a model's memory on a GPU, for `filmgate plan` on a machine that cannot measure it."""

from __future__ import annotations

from collections.abc import Sequence

from filmgate.core.chain import Chain
from filmgate.core.frame import StreamSpec
from filmgate.core.job import Job
from filmgate.core.model_cache import ModelCache
from filmgate.device.diagnosis import explain_no_gpu
from filmgate.device.placement import choose_device
from filmgate.models.contracts import DescribesOutput, MemoryPrediction, PredictsMemory
from filmgate.planning.limits import Limits


def is_for_other_machine(job: Job, limits: Limits) -> bool:
    """Return whether --vram is given and this machine has no CUDA device to measure on."""
    if not limits.vram or not any(isinstance(task, PredictsMemory) for task in job.tasks):
        return False
    return choose_device().device == "cpu"


def explain_unused_vram(limits: Limits) -> str:
    """Return that --vram has no effect on a machine without a GPU, and why; "" otherwise."""
    if limits.vram and (reason := explain_no_gpu()):
        return (f"--vram {limits.vram} has no effect: {reason}, so the models run on the CPU and "
                "--ram is their limit")  # fmt: skip
    return ""


def predict_memory(job: Job) -> tuple[StreamSpec, Sequence[MemoryPrediction]] | None:
    """Return the input of the first task that predicts its memory, and the predictions.

    None if no task does. Networks of earlier tasks are loaded only if nothing else tells what
    they make.
    """
    models = ModelCache()
    with job.source.open() as video:
        spec = Chain(job.source.stages(video.spec)).output(video.spec)
    for task in job.tasks:
        if isinstance(task, PredictsMemory) and (rows := task.predict_memory(spec)):
            return spec, rows
        if isinstance(task, DescribesOutput):
            spec = task.describe_output(spec)
        else:
            spec = Chain(task.stages(spec, models)).output(spec)
    return None
