"""A job as clients write it, in JSON: parsed into definitions, and back.

Each error has the pointer (RFC 6901) of the wrong field. References to files become paths by a
function that the caller gives; nothing else that a client writes becomes a path.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filmgate.core.job import Job, Task
from filmgate.errors import BadField
from filmgate.jobs.queue.checks import MAX_PRIORITY, MAX_SECONDS
from filmgate.jobs.queue.values import JobClass
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.options import VIDEO_SUFFIXES
from filmgate.media.records.formats import SUFFIXES as RECORD_SUFFIXES
from filmgate.media.sinks import ImageOutput, RecordOutput, VideoOutput
from filmgate.models.registry import SUFFIXES as WEIGHTS_SUFFIXES
from filmgate.planning.limits import Limits
from filmgate.service.documents.json_document import (
    extend_pointer,
    locate_errors,
    require_list,
    require_object,
)
from filmgate.service.documents.task_forms import (
    find_model_fields,
    find_needed_inputs,
    find_path_fields,
    reads_video,
)
from filmgate.tasks.job_config import Source, sink_from, source_from, task_from
from filmgate.tasks.job_form import task_to
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import check_names, fill, find_inputs, list_settings, shorten

MAX_TASKS = 16
MAX_FILES = 256  # of one setting
RESULT_NAME = "result"  # of the file in its job's folder, before the suffix
OUTPUT_SUFFIXES = (*VIDEO_SUFFIXES, *RECORD_SUFFIXES)
REFERENCE_FIELDS = ("upload", "path")
# Settings of inputs and outputs that are the operator's: a client may not allow itself larger
# frames than the machine, and its result has a name of its own.
OPERATOR_FIELDS = ("join", "max_pixels", "overwrite", "spool")

Resolve = Callable[[Mapping[str, str]], Path]
"""Return the absolute path of {"upload": id} or {"path": path}. Raises UserError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDefinition:
    """What a job computes. Its paths are absolute; that of `sink` is only a name."""

    source: Source | FrameCounter
    tasks: tuple[Task, ...]
    sink: VideoOutput | RecordOutput
    seed: int = 0
    limits: Limits = Limits()

    @property
    def inputs(self) -> Mapping[str, Path]:
        """The files or folders that are read: "source", and "tasks/0/boxes" for a task's own."""
        found: dict[str, Path] = {}
        if not isinstance(self.source, FrameCounter):
            found["source"] = Path(self.source.path)
        for number, task in enumerate(self.tasks):
            for name in sorted(find_inputs(type(task))):
                if (given := getattr(task, name)) is not None:
                    found[f"tasks/{number}/{name}"] = Path(given.path)
        return MappingProxyType(found)

    def make_job(self, folder: Path) -> Job:
        """Return the job that writes its result into `folder`. Raises BadField."""
        counts = isinstance(self.source, FrameCounter)
        if counts and (not self.tasks or reads_video(type(self.tasks[0]))):
            raise BadField("the source is a number of frames, for a task that generates their "
                           "images, and the first task does not: pass the id of an upload",
                           "/source")  # fmt: skip
        sink = replace(self.sink, path=folder.absolute() / self.sink.path)
        return Job(self.source, sink, self.tasks, self.seed)

    def to_json(self) -> dict[str, Any]:
        """Return the definition as `from_json` takes it, without settings at their defaults."""
        return {
            "source": list_settings(self.source),
            "tasks": [task_to(task) for task in self.tasks],
            "output": {
                "suffix": self.sink.path.suffix,
                **list_settings(self.sink, without=("path",)),
            },
            "seed": self.seed,
            "limits": list_settings(self.limits),
        }

    @classmethod
    def from_json(cls, form: Mapping[str, object]) -> JobDefinition:
        """Return the definition that `to_json` gave. Raises BadField."""
        return parse_definition(form, _resolve_stored)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSubmission:
    """A definition and how urgent it is.

    `priority`: among the tenant's own jobs, -100 to 100, larger first. `expires_after_s`: seconds
    in which it must start; None: it may wait for ever.
    """

    definition: JobDefinition
    job_class: JobClass = JobClass.BATCH
    priority: int = 0
    expires_after_s: float | None = None


DEFINITION_FIELDS = ("source", "tasks", "output", "seed", "limits")
SUBMISSION_FIELDS = (*DEFINITION_FIELDS, "class", "priority", "expires_after_s")


def parse_submission(form: Mapping[str, object], resolve: Resolve) -> JobSubmission:
    """Return the submission that a JSON object describes. Raises BadField."""
    with locate_errors("", form):
        check_names(form, list(SUBMISSION_FIELDS), "a job")
    definition = {name: form[name] for name in DEFINITION_FIELDS if name in form}
    expires = form.get("expires_after_s")
    return JobSubmission(
        definition=parse_definition(definition, resolve),
        job_class=_parse_class(form.get("class", JobClass.BATCH)),
        priority=_parse_integer(form, "priority", -MAX_PRIORITY, MAX_PRIORITY),
        expires_after_s=None if expires is None else _parse_seconds(expires),
    )


def parse_definition(form: Mapping[str, object], resolve: Resolve) -> JobDefinition:
    """Return the definition that a JSON object describes. Raises BadField."""
    with locate_errors("", form):
        check_names(form, list(DEFINITION_FIELDS), "a job")
    listed = require_list(form.get("tasks", []), "/tasks", MAX_TASKS)
    tasks = tuple(_parse_task(task, f"/tasks/{n}", resolve) for n, task in enumerate(listed))
    source = _parse_source(form, resolve)
    sink = _parse_sink(require_object(form.get("output", {}), "/output"), tasks)
    limits = require_object(form.get("limits", {}), "/limits")
    with locate_errors("/limits", limits):
        filled = fill(Limits, limits, "limits")
    return JobDefinition(
        source=source,
        tasks=_draw_records(tasks) if sink.takes_images else tasks,
        sink=sink,
        seed=_parse_integer(form, "seed", -(2**63) + 1, 2**63 - 1),
        limits=filled,
    )


def _parse_source(form: Mapping[str, object], resolve: Resolve) -> Source | FrameCounter:
    if "source" not in form:
        raise BadField('a job has no source: pass {"upload": ID}, or {"frames": 48, "fps": 24} for '
                       "a task that generates", "/source")  # fmt: skip
    entry = require_object(form["source"], "/source")
    if "frames" in entry and not any(name in entry for name in REFERENCE_FIELDS):
        with locate_errors("/source", entry):
            return fill(FrameCounter, entry, "source")
    _refuse_operator_fields(entry, "/source")
    path = _resolve(entry, "/source", resolve)
    settings = {name: value for name, value in entry.items() if name not in REFERENCE_FIELDS}
    with locate_errors("/source", settings):
        return source_from({**settings, "path": path})


def _parse_task(entry: object, pointer: str, resolve: Resolve) -> Task:
    """Return a task; its files are resolved before anything is made of them."""
    form = require_object(entry, pointer)
    cls = load_tasks().get(str(form.get("task")))
    for name in find_path_fields(cls) & form.keys() if cls else ():
        if form[name] is not None:
            form[name] = _resolve_field(form[name], extend_pointer(pointer, name), resolve)
    for name in find_needed_inputs(cls) if cls else ():
        if form.get(name) is None:
            raise BadField(f"the task {form['task']} has no {name}: pass {{\"upload\": ID}}",
                           extend_pointer(pointer, name))  # fmt: skip
    for name in find_model_fields(cls) & form.keys() if cls else ():
        text = form[name]
        if isinstance(text, str) and Path(text).suffix.lower() in WEIGHTS_SUFFIXES:
            with locate_errors(extend_pointer(pointer, name)):
                form[name] = str(resolve({"path": text}))
    with locate_errors(pointer, form):
        return task_from(form)


def _resolve_field(value: object, pointer: str, resolve: Resolve) -> object:
    """Return the path of a field, or the paths of a list; an input may have further settings."""
    if isinstance(value, list):
        listed = require_list(value, pointer, MAX_FILES)
        return [_resolve_field(one, extend_pointer(pointer, str(n)), resolve)
                for n, one in enumerate(listed)]  # fmt: skip
    if isinstance(value, str):
        with locate_errors(pointer):
            return resolve({"path": value})
    entry = require_object(value, pointer)
    path = _resolve(entry, pointer, resolve)
    settings = {name: item for name, item in entry.items() if name not in REFERENCE_FIELDS}
    _refuse_operator_fields(settings, pointer)
    return {**settings, "path": path} if settings else path


def _resolve(entry: Mapping[str, object], pointer: str, resolve: Resolve) -> Path:
    """Return the path that an entry refers to. Raises BadField."""
    given = {name: entry[name] for name in REFERENCE_FIELDS if name in entry}
    if len(given) != 1:
        raise BadField(f"{pointer[1:]} names {len(given)} files: pass upload, the id of an upload, "
                       "or path, a file of the server", pointer)  # fmt: skip
    [(name, value)] = given.items()
    place = extend_pointer(pointer, name)
    if not isinstance(value, str) or not value:
        raise BadField(f"{place[1:]} is {shorten(value)}: pass text", place)
    with locate_errors(place):
        return resolve({name: value})


def _parse_sink(form: dict[str, Any], tasks: tuple[Task, ...]) -> VideoOutput | RecordOutput:
    _refuse_operator_fields(form, "/output")
    makes_records = any(isinstance(task, ModelTask) and task.makes_records for task in tasks)
    suffix = form.pop("suffix", ".jsonl" if makes_records else ".mp4")
    if suffix not in OUTPUT_SUFFIXES:
        raise BadField(f"suffix is {shorten(suffix)}: pass one of {', '.join(OUTPUT_SUFFIXES)}",
                       "/output/suffix")  # fmt: skip
    if suffix in RECORD_SUFFIXES and not makes_records:
        raise BadField(f"suffix is {suffix}, of records, and no task makes any: pass one of "
                       f"{', '.join(VIDEO_SUFFIXES)}", "/output/suffix")  # fmt: skip
    if "path" in form or "container" in form:
        name = "path" if "path" in form else "container"
        raise BadField(
            f"output has no setting {name}: pass suffix, such as .mp4", f"/output/{name}"
        )
    with locate_errors("/output", form):
        sink = sink_from({**form, "path": Path(RESULT_NAME + suffix)})
    assert not isinstance(sink, ImageOutput)  # by the suffix
    return sink


def _refuse_operator_fields(form: Mapping[str, object], pointer: str) -> None:
    for name in OPERATOR_FIELDS:
        if name in form:
            raise BadField(f"{pointer[1:]} has no setting {name} in a service: omit it",
                           extend_pointer(pointer, name))  # fmt: skip


def _draw_records(tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Return the tasks for a video: those that make records draw them."""
    return tuple(
        replace(task, draw=True) if isinstance(task, ModelTask) and task.makes_records else task  # type: ignore[type-var]  # mypy#14941: a task is a dataclass
        for task in tasks
    )


def _parse_class(value: object) -> JobClass:
    if not isinstance(value, str) or value not in list(JobClass):
        raise BadField(f"class is {shorten(value)}: pass one of {', '.join(JobClass)}", "/class")
    return JobClass(value)


def _parse_integer(form: Mapping[str, object], name: str, low: int, high: int) -> int:
    value = form.get(name, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadField(f"{name} is {shorten(value)}: pass an integer from {low} to {high}",
                       f"/{name}")  # fmt: skip
    return value


def _parse_seconds(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 < value <= MAX_SECONDS:  # type: ignore[operator]  # it is a number
        raise BadField(f"expires_after_s is {shorten(value)}: pass seconds, more than 0 and at "
                       f"most {MAX_SECONDS:.0f}", "/expires_after_s")  # fmt: skip
    return float(value)  # type: ignore[arg-type]  # as above


def _resolve_stored(reference: Mapping[str, str]) -> Path:
    """Return the path of a stored definition, which was resolved when it was submitted."""
    path = Path(reference.get("path", ""))
    if not path.is_absolute():
        raise BadField(f"a stored job names {shorten(str(path))}, wanted an absolute path: submit "
                       "it again", "")  # fmt: skip
    return path
