"""What the result of a run depends on, and how two runs differ."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from filmgate.core.instrumentation.memory import cuda_in_use
from filmgate.core.job import Job
from filmgate.core.plan import Plan
from filmgate.errors import BadSetting, BadWeights
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.sources import ImageSequence, VideoFile
from filmgate.models.registry import files
from filmgate.planning.limits import Limits
from filmgate.storage.fingerprint import fingerprint
from filmgate.tasks.job_config import WEIGHTS, job_to, plain, settings

# What else moves bits, if it is installed.
LIBRARIES = ("filmgate", "av", "numpy", "opencv-contrib-python-headless", "torch", "diffusers",
             "spandrel")  # fmt: skip


def same_run(folder: RunDirectory, job: Job, plan: Plan | None, limits: Limits) -> Plan | None:
    """The plan of the run that was begun here. Raises BadSetting if that was another run."""
    told = json.loads(folder.read("job.json") or b"{}")
    told.pop("given", None)
    changed = differences(told, json.loads(json.dumps(run_identity(job, limits))))
    stored = json.loads(folder.read("plan.json") or b"{}").get("plan")
    if plan and stored:
        learnt = {"shrunk": [], "bad": [], "queue_bytes": 0}  # on the way; it moves no bits before
        changed += differences(stored | learnt, plain(plan) | learnt, "plan.")
    if changed:
        raise BadSetting(
            f"{folder.path} holds a run that was begun otherwise: {'; '.join(changed)}. Say the "
            "same as then and it goes on, or --restart to start over"
        )
    if not stored:
        return plan
    old: Plan = TypeAdapter(Plan).validate_python(stored)
    if plan is None:
        return old
    return replace(old, bad=plan.bad or old.bad, queue_bytes=plan.queue_bytes)


def run_identity(job: Job, limits: Limits) -> dict[str, Any]:
    """All that the result depends on, as JSON."""
    source = job.source
    assert isinstance(source, VideoFile | ImageSequence)
    form = _numbers(job_to(job))
    for end in ("input", "output"):
        form[end]["path"] = os.path.abspath(form[end]["path"])
        form[end].pop("overwrite", None)
    for task in form["tasks"]:
        for name in WEIGHTS & task.keys():
            task[name] = os.path.abspath(task[name])
    return {
        "job": form,
        "films": [fingerprint(path) for path in source.files if path.exists()],
        "weights": [fingerprint(path) for path in _weights(job)],
        "limits": settings(limits),
        "versions": dict(_versions()),
    }


def _weights(job: Job) -> Iterator[Path]:
    """The files of weights that its tasks open, where they are here."""
    for task in job.tasks:
        if hasattr(task, "model") and hasattr(task, "knobs"):
            with suppress(BadWeights):
                yield from files(task.model, task.knobs)


def _numbers(form: Any) -> Any:
    """The form with whole numbers as such: the flag's "2" and Python's 2 ask for the same."""
    if isinstance(form, dict):
        return {key: _numbers(value) for key, value in form.items()}
    if isinstance(form, list):
        return [_numbers(value) for value in form]
    return int(form) if isinstance(form, str) and form.isdecimal() else form


def _versions() -> Mapping[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if cuda := cuda_in_use():  # loaded by now where a network wants it
        found["device"] = cuda.get_device_name()
    return found


def differences(old: Mapping[str, Any], new: Mapping[str, Any], within: str = "") -> list[str]:
    """What is not the same, in words: "tasks.0.factor was 2, is 3"."""
    found = []
    for key in dict.fromkeys((*old, *new)):
        a, b, name = old.get(key), new.get(key), f"{within}{key}"
        if isinstance(a, list) and isinstance(b, list):
            a, b = dict(enumerate(a)), dict(enumerate(b))
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += differences(a, b, f"{name}.")
        elif a != b:
            found.append(f"{name} was {_said(a)}, is {_said(b)}")
    return found


def _said(value: object) -> str:
    return "not set" if value is None else json.dumps(value)
