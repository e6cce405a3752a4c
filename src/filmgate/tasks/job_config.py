"""Job files and tables as definitions, and back: one source for flags, job files and tags."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from filmgate.core.job import Job, Task
from filmgate.errors import BadSetting, BadWeights
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.sinks import ImageOutput, RecordOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile, VideoPipe, is_images
from filmgate.models.registry import (
    SUFFIXES,
    find_family,
    identify_weights,
    list_families,
    load_families,
)
from filmgate.tasks.model_task import ModelTask
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import (
    check_names,
    field_names,
    fill,
    list_settings,
    resolve_paths,
    suggest,
)

T = TypeVar("T")
Source = VideoFile | ImageSequence | VideoPipe
Sink = VideoOutput | ImageOutput | RecordOutput
SOURCES = (VideoFile, ImageSequence, VideoPipe)
SINKS = (VideoOutput, ImageOutput, RecordOutput)
_KINDS = MappingProxyType(
    {
        "VideoFile": "a video",
        "ImageSequence": "images",
        "VideoPipe": "a pipe",
        "FrameCounter": "a number of frames to generate",
        "VideoOutput": "a video",
        "ImageOutput": "images",
        "RecordOutput": "records",
    }
)


def source_from(form: Mapping[str, object]) -> Source:
    """Return the input that `path` in the form names, by what it looks like. Raises BadSetting."""
    kind = _find_source_class(Path(str(form.get("path"))))
    _check_siblings(kind, SOURCES, form, "input")
    return fill(kind, form, "input")


def sink_from(form: Mapping[str, object]) -> Sink:
    """Return the output that `path` in the form names, by what it looks like. Raises BadSetting."""
    kind = _find_sink_class(Path(str(form.get("path"))))
    _check_siblings(kind, SINKS, form, "output")
    return fill(kind, form, "output")


def make_source(path: Path, settings: Mapping[str, Any]) -> Source:
    """Return the input at `path`; the settings have the types of its fields. Raises BadSetting."""
    kind = _find_source_class(path)
    _check_siblings(kind, SOURCES, {"path": path, **settings}, "input")
    return kind(path=path, **settings)


def make_sink(path: Path, settings: Mapping[str, Any]) -> Sink:
    """Return the output at `path`; the settings have the types of its fields. Raises BadSetting."""
    kind = _find_sink_class(path)
    _check_siblings(kind, SINKS, {"path": path, **settings}, "output")
    return kind(path=path, **settings)


def task_from(form: Mapping[str, object]) -> Task:
    """Return a task from {"task": "interpolate", "factor": "5/2"}. Raises BadSetting."""
    name = form.get("task")
    cls = load_tasks().get(str(name))
    if cls is None:
        problem = f"task is {name!r}" if "task" in form else "a task has no name: set `task`"
        raise BadSetting(f"{problem}: {suggest(str(name), list(load_tasks()))}")
    own = {key: value for key, value in form.items() if key != "task"}
    return fill_task(cls, own, f"task {name!r}")


def fill_task(cls: type[T], form: Mapping[str, object], what: str) -> T:
    """Return a task from its settings; those of its model's family are among them.

    `model` may be a file of weights, whose family is found by its tensors. Raises BadSetting,
    which names the family that has an option if the model's has not; BadWeights.
    """
    if not issubclass(cls, ModelTask):
        return fill(cls, form, what)
    default = next(field.default for field in fields(cls) if field.name == "model")  # type: ignore[arg-type]  # mypy#14941: a task is a dataclass
    form = resolve_model(form)
    family, own = find_family(str(form.get("model", default))), field_names(cls)
    options = {key: value for key, value in form.items()
               if key not in own and key in field_names(family.options)}  # fmt: skip
    rest = {key: value for key, value in form.items() if key not in options}
    for name in rest.keys() - set(own):
        _refuse_foreign_option(cls, name, family.name)
    task = fill(cls, rest, what)
    filled = fill(family.options, options, f"model {family.name!r}")
    return replace(task, options=filled) if options else task  # type: ignore[type-var]  # as above


def _refuse_foreign_option(cls: type[ModelTask], name: str, model: str) -> None:
    """Raise BadSetting if another family has the option, best one that can do the task."""
    owners = [family.name for family in load_families() if name in field_names(family.options)]
    able = [owner for owner in owners if owner in cls.list_models()]
    if owners:
        cure = f"omit it, or pass --model {able[0]}" if able else "omit it"
        raise BadSetting(f"{name} is an option of {' and '.join(able or owners)}, and the model is "
                         f"{model}: {cure}")  # fmt: skip


def resolve_model(form: Mapping[str, object]) -> dict[str, object]:
    """Return the form with family and weights if `model` is a file of weights."""
    path = Path(str(form.get("model", "")))
    if path.suffix not in SUFFIXES:
        return dict(form)
    if not path.is_file():
        raise BadWeights(f"model is the file {path}, which does not exist: pass a file of weights, "
                         f"or one of {', '.join(list_families())}")  # fmt: skip
    if form.get("weights") is not None:
        raise BadSetting(f"model is the file {path} and weights is {form['weights']}: omit one")
    return {**form, "model": identify_weights(path), "weights": path}


def task_to(task: Task, *, paths: bool = True) -> dict[str, object]:
    """Return the task as a form of plain values; settings at their defaults are left out.

    With `paths` False those that are paths too. A task that is not one of `load_tasks` has its
    class's name.
    """
    names = {cls: name for name, cls in load_tasks().items()}
    name = names.get(type(task), type(task).__name__)
    return {"task": name} | list_settings(task, paths=paths)


def job_from(form: Mapping[str, object], folder: Path) -> Job:
    """Return the job of a table with input, output, seed and tasks; `folder` is that of its paths.

    `input` and `output` are paths, or tables of `path` and settings. Raises BadSetting.
    """
    check_names(form, ["input", "output", "seed", "tasks"], "a job")
    seed, listed = form.get("seed", 0), form.get("tasks", [])
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadSetting(f"seed is {seed!r}: pass an integer")
    if not isinstance(listed, list) or not all(isinstance(task, Mapping) for task in listed):
        raise BadSetting(f"tasks is {listed!r}: pass a list of tables, written [[tasks]]")
    source = _input_from(form, folder)
    sink = sink_from(_table(form, "output", folder))
    tasks = []
    for task in listed:
        if Path(str(task.get("model", ""))).suffix in SUFFIXES:
            task = {**task, "model": str(folder / str(task["model"]))}
        tasks.append(task_from(task))
    return resolve_paths(Job(source, sink, tuple(tasks), seed), folder)


def job_to(job: Job) -> dict[str, Any]:
    """Return the job as `job_from` takes it, without settings at their defaults."""
    return {
        "input": list_settings(job.source),
        "output": list_settings(job.sink),
        "tasks": [task_to(task) for task in job.tasks],
        "seed": job.seed,
    }


def job_from_toml(path: Path) -> Job:
    """Return the job of a TOML file; its paths are relative to the file. Raises BadSetting."""
    import tomllib

    try:
        with path.open("rb") as file:
            form = tomllib.load(file)
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}; pass a job file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is not TOML: {error}; see examples/job.toml") from error
    return job_from(form, path.parent.absolute())


def _input_from(form: Mapping[str, object], folder: Path) -> Source | FrameCounter:
    """Return the input of a job; a table of `frames` and `fps` has no source video."""
    entry = form.get("input")
    if isinstance(entry, Mapping) and "frames" in entry and "path" not in entry:
        return fill(FrameCounter, entry, "input")
    return source_from(_table(form, "input", folder))


def _find_source_class(path: Path) -> type[Source]:
    return VideoPipe if str(path) == "-" else ImageSequence if is_images(path) else VideoFile


def _find_sink_class(path: Path) -> type[Sink]:
    if path.suffix.lower() == ".jsonl":
        return RecordOutput
    return ImageOutput if is_images(path) else VideoOutput


def _check_siblings(
    cls: type[Any], siblings: tuple[type[Any], ...], form: Mapping[str, object], what: str
) -> None:
    """Raise BadSetting for a setting that `cls` does not have and one of `siblings` has."""
    own = field_names(cls)
    for name in form:
        for other in siblings:
            if name not in own and name in field_names(other):
                raise BadSetting(
                    f"{name} is a setting for {_KINDS[other.__name__]}, and {what} is "
                    f"{form.get('path')}, {_KINDS[cls.__name__]}: omit it"
                )


def _table(form: Mapping[str, object], name: str, folder: Path) -> dict[str, object]:
    entry = form.get(name)
    table = dict(entry) if isinstance(entry, Mapping) else {"path": entry}
    path = table.get("path")
    if not isinstance(path, str) or not path:
        raise BadSetting(f'{name} is {entry!r}: pass a path, such as {name} = "video.mp4"')
    return table | {"path": Path(path) if path == "-" else folder / path}
