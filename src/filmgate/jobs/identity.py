"""What the result of a run depends on, and whether two runs are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.errors import BadSetting, BadWeights
from filmgate.installation import read_version
from filmgate.jobs.differences import explain_differences
from filmgate.jobs.inputs import identify_input, identify_weights
from filmgate.jobs.options import RepeatableSource
from filmgate.jobs.run_directory import RunDirectory
from filmgate.jobs.stored_run import read_stored_job, read_stored_plan
from filmgate.planning.limits import Limits
from filmgate.tasks.job_form import job_to
from filmgate.tasks.settings import find_paths, list_settings, plain, resolve_paths

if TYPE_CHECKING:
    from filmgate.tasks.model_task import ModelTask

# Libraries that affect bits, as far as they are installed.
LIBRARIES = ("filmgate", "av", "numpy", "opencv-contrib-python-headless", "torch", "diffusers",
             "scipy", "spandrel")  # fmt: skip
_INPUTS = ("videos", "inputs")  # files that are identified by more than samples
# Fields of a plan that a run may change while it runs, and that affect no earlier frame.
_CHANGING = {"reduced_batches": [], "bad_frames": [], "queue_bytes": 0}


def check_same_run(directory: RunDirectory, run: Mapping[str, Any], plan: Plan | None) -> Plan:
    """Return the plan of the unfinished run in a directory; `run` describes the one wanted now.

    Raises BadSetting if that run is another one, or cannot be read.
    """
    before = read_stored_job(directory).model_dump(exclude={"given"})
    stored = read_stored_plan(directory)
    plans = (stored.plan | _CHANGING, plain(plan) | _CHANGING) if plan else None
    if what := explain_differences(before, run, plans):
        raise BadSetting(f"{directory.path} holds an unfinished run with {what}")
    old = stored.to_plan()
    if plan is None:
        return old
    return replace(old, bad_frames=plan.bad_frames or old.bad_frames, queue_bytes=plan.queue_bytes)


def has_moved_inputs(directory: RunDirectory, run: Mapping[str, Any]) -> bool:
    """Return whether an input is another file than the one the unfinished run began with.

    The two have the same size, time of change and samples, so one is taken for a copy of the other.
    """
    before = read_stored_job(directory).model_dump()
    return any(
        old.get(key) != new.get(key)
        for kind in _INPUTS
        for old, new in zip(before[kind], run[kind], strict=False)
        for key in ("inode", "changed")
    )


def describe_run(job: Job, limits: Limits) -> dict[str, Any]:
    """Return everything that the result depends on, as JSON."""
    form = _normalize_numbers(job_to(resolve_paths(job, Path.cwd())))
    outputs = form["output"] if job.more_sinks else [form["output"]]
    for end in (form["input"], *outputs):
        end.pop("overwrite", None)
    return {
        "job": form,
        "videos": [identify_input(path) for path in _list_videos(job)],
        "inputs": [identify_input(path) for path in _list_second_inputs(job)],
        "files": [identify_weights(path) for path in dict.fromkeys(_find_weight_files(job))],
        "limits": list_settings(limits),
        "versions": _list_versions(job),
    }


def find_inputs(job: Job) -> list[Path]:
    """Return the files that a run reads besides weights, as far as they exist."""
    return [*_list_videos(job), *_list_second_inputs(job)]


def _list_videos(job: Job) -> list[Path]:
    assert isinstance(job.source, RepeatableSource)
    return [path for path in job.source.files if path.exists()]


def _list_second_inputs(job: Job) -> list[Path]:
    paths = [path for task in job.tasks for path in find_paths(task) if path.is_file()]
    weights = set(_find_weight_files(job))
    return [path for path in dict.fromkeys(paths) if path not in weights]


def _find_weight_files(job: Job) -> Iterator[Path]:
    """Return the weights that its tasks read, as far as they exist."""
    for task in _list_model_tasks(job):
        with suppress(BadWeights):
            yield from task.find_weight_files()


def _list_model_tasks(job: Job) -> list[ModelTask]:
    """Return the tasks with models; a job without tasks imports nothing of models."""
    if not job.tasks:
        return []
    from filmgate.tasks.model_task import ModelTask

    return [task for task in job.tasks if isinstance(task, ModelTask)]


def _normalize_numbers(form: Any) -> Any:
    """Return the form with integers as such: "2" from a flag and 2 from Python are the same."""
    if isinstance(form, dict):
        return {key: _normalize_numbers(value) for key, value in form.items()}
    if isinstance(form, list):
        return [_normalize_numbers(value) for value in form]
    return int(form) if isinstance(form, str) and form.isdecimal() else form


def _list_versions(job: Job) -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = read_version(name)
    placements = [task.place(None) for task in _list_model_tasks(job)]
    if names := {placement.gpu_name for placement in placements} - {""}:
        versions["device"] = ", ".join(sorted(names))
    return versions
