"""Store in a result's metadata how it was made, and read it back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from filmgate.core.job import Job, Task
from filmgate.errors import BadSetting
from filmgate.installation import read_version
from filmgate.tasks.job_config import task_from, task_to
from filmgate.tasks.settings import list_settings

TAG = "filmgate"  # the metadata key under which a result carries its job


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a result was made: tasks, and settings of its input and output."""

    tasks: tuple[Task, ...]
    input: Mapping[str, object]
    output: Mapping[str, object]


def write_tag(job: Job) -> str:
    """Return the tag of a job, as JSON; it contains no path."""
    form = {
        "filmgate": read_version("filmgate"),
        "input": list_settings(job.source, paths=False),
        "tasks": [task_to(task, paths=False) for task in job.tasks],
        "output": list_settings(job.image_sink or job.sink, without=("overwrite",), paths=False),
        "seed": job.seed,
    }
    return json.dumps(form)


def read_tag(tag: str) -> Provenance:
    """Return the contents of a tag. Raises BadSetting."""
    try:
        form = json.loads(tag)
        tasks = tuple(task_from(task) for task in form["tasks"])
        return Provenance(tasks, dict(form["input"]), dict(form["output"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadSetting(
            f"{tag[:80]!r} is not a tag of Filmgate: {error!r}; pass a file that Filmgate wrote"
        ) from error
