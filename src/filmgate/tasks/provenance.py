"""How a result was made, as a tag in its metadata."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

from filmgate.core.job import Job, Task
from filmgate.errors import BadSetting
from filmgate.tasks.job_config import PLACES, settings, task_from, task_to

TAG = "filmgate"  # the metadata key under which a result carries its job


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a result's tag tells of its making: tasks, and settings of its input and output."""

    tasks: tuple[Task, ...]
    input: Mapping[str, object]
    output: Mapping[str, object]


def job_tag(job: Job) -> str:
    """What a result says about its making, as JSON: never where files lay."""
    form = {
        "filmgate": version("filmgate"),
        "input": settings(job.source, but=PLACES),
        "tasks": [task_to(task, but=PLACES) for task in job.tasks],
        "output": settings(job.sink, but=PLACES),
        "seed": job.seed,
    }
    return json.dumps(form)


def read_tag(tag: str) -> Provenance:
    """What a tag tells. Raises BadSetting."""
    try:
        form = json.loads(tag)
        tasks = tuple(task_from(task) for task in form["tasks"])
        return Provenance(tasks, dict(form["input"]), dict(form["output"]))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadSetting(f"{tag[:80]!r} is no tag of Filmgate: {error!r}") from error
