"""Store in a result's metadata how it was made, and read it back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filmgate.core.job import Job, RecoverableTask, Task
from filmgate.errors import BadSetting
from filmgate.installation import read_version
from filmgate.tasks.job_form import task_to
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


def read_tag(tag: str, result: Path | None = None) -> Provenance:
    """Return the contents of a tag, its tasks with the inputs that `result` holds.

    Raises BadSetting.
    """
    try:
        form = json.loads(tag)
        tasks = tuple(_read_task(task, result) for task in form["tasks"])
        return Provenance(tasks, dict(form["input"]), dict(form["output"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadSetting(
            f"{tag[:80]!r} is not a tag of Filmgate: {error!r}; pass a file that Filmgate wrote"
        ) from error


def _read_task(form: Mapping[str, object], result: Path | None) -> Task:
    """Return a task; further inputs are left out, since their paths are not in a tag."""
    from filmgate.tasks.job_config import task_from  # to write a tag, no model is needed

    own = {name: value for name, value in form.items() if not isinstance(value, Mapping)}
    task = task_from(own)
    if result is not None and isinstance(task, RecoverableTask):
        return task.recover_inputs(result)
    return task
