"""What a job will take, found in a process of its own: no decoder and no torch in the server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from filmgate.backends.worker_process import RemoteError
from filmgate.core.job import Job
from filmgate.errors import NotPlanned
from filmgate.pipeline.build import open_source
from filmgate.planning.device_memory import predict_memory
from filmgate.planning.disk import predict_disk_use
from filmgate.planning.fit import Fit, fit
from filmgate.planning.limits import Budget
from filmgate.service.schema import JobDefinition
from filmgate.service.views import JobPlan
from filmgate.service.worker.process_limits import prefer_as_victim
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.settings import plain

if TYPE_CHECKING:
    from pathlib import Path

    from filmgate.backends.text_pipe import Connection

_GPU_HOST_BYTES = 4 << 30  # of RAM for a job whose models run on a GPU, where nothing is measured


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """A job to be planned; the budget of RAM and of the device, None where it has none."""

    definition: dict[str, Any]
    folder: Path
    host_bytes: int
    device_bytes: int | None


def list_devices(sender: Connection, receiver: Connection, stacks: int) -> None:
    """Send the GPUs of this machine as (name, bytes), [] if there are none."""
    import torch

    found = [
        (f"cuda:{k}", int(torch.cuda.get_device_properties(k).total_memory))
        for k in range(torch.cuda.device_count())
    ]
    if not found and torch.backends.mps.is_available():
        found = [("mps", int(torch.mps.recommended_max_memory()))]
    sender.send(found)


def plan_jobs(sender: Connection, receiver: Connection, stacks: int) -> None:
    """Answer each `PlanRequest` with a JobPlan or a RemoteError, until the server is gone."""
    prefer_as_victim(1000)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the memory of GPUs is for jobs
    while True:
        try:
            request = receiver.recv()
        except (EOFError, OSError):
            os._exit(0)
        if not isinstance(request, PlanRequest):
            return
        try:
            answer: JobPlan | RemoteError = make_plan(request)
        except Exception as error:  # noqa: BLE001 - it is raised again in the server
            answer = RemoteError.describe(error)
        sender.send(answer)


def make_plan(request: PlanRequest) -> JobPlan:
    """Return the plan of a job. Raises what the job would raise at its start; NotPlanned."""
    definition = JobDefinition.from_json(request.definition)
    job = definition.make_job(request.folder)
    if request.device_bytes is not None and any(isinstance(t, ModelTask) for t in job.tasks):
        return _predict_for_gpu(job)
    limits = definition.limits
    host_bytes = min(request.host_bytes, limits.budget.host) if limits.ram else request.host_bytes
    fitted = fit(job, limits, Budget(host_bytes), parent_bytes=0)
    return _describe(fitted)


def _describe(fitted: Fit) -> JobPlan:
    disk, costs, result = predict_disk_use(fitted), fitted.costs, fitted.result_spec
    frames = costs.frames
    return JobPlan(
        host_bytes=sum(fitted.host.values()),
        device_bytes=fitted.device_bytes,
        seconds=fitted.seconds,
        frames=frames,
        result_frames=None if frames is None else int(frames * costs.output_ratio),
        result_bytes=None if disk is None else disk.result,
        size=(result.width, result.height),
        rate=_to_rate(result.rate),
        settings=plain(fitted.plan),
    )


def _predict_for_gpu(job: Job) -> JobPlan:
    """Predict from shapes alone: measuring would take memory from the jobs that run there."""
    found = predict_memory(job)
    if found is None:
        raise NotPlanned("the memory of the model on a GPU cannot be predicted from shapes alone: "
                         "the job runs alone on its device")  # fmt: skip
    spec, rows = found
    ours = [row.peak for row in rows if row.way == "ours"] or [row.peak for row in rows]
    with open_source(job.source, job.tasks) as video:
        frames = video.spec.frames
    return JobPlan(
        host_bytes=_GPU_HOST_BYTES, device_bytes=min(ours), seconds=None, frames=frames,
        result_frames=None, result_bytes=None, size=(spec.width, spec.height),
        rate=_to_rate(spec.rate),
    )  # fmt: skip


def _to_rate(rate: Fraction | None) -> float | None:
    return None if rate is None else float(rate)
