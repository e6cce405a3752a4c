"""Job files and tables as definitions: one source for flags, job files and tags."""

import errno
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from filmgate.core.job import Job, SinkFile, Task
from filmgate.errors import BadSetting, BadWeights
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.images.numbering import DEFAULT_NAME, compile_number_pattern, parse_output
from filmgate.media.options import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from filmgate.media.records.formats import SUFFIXES as RECORD_SUFFIXES
from filmgate.media.sinks import ImageOutput, RecordOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile, VideoPipe, is_images
from filmgate.models.contracts import Family
from filmgate.models.registry import (
    SUFFIXES,
    identify_weights,
    load_families,
)
from filmgate.tasks.job_file import read_toml
from filmgate.tasks.model_task import ModelRole, ModelTask
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import (
    check_names,
    field_names,
    fill,
    join_words,
    resolve_paths,
    shorten,
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


def make_sinks(paths: Sequence[Path], settings: Mapping[str, Any]) -> list[Sink]:
    """Return outputs of one run; each setting is of those that have it. Raises BadSetting."""
    kinds = [(path, field_names(_find_sink_class(path))) for path in paths]
    known = {name for _, names in kinds for name in names}
    return [
        make_sink(path, {name: value for name, value in settings.items()
                         if name in names or name not in known})
        for path, names in kinds
    ]  # fmt: skip


def task_from(form: Mapping[str, object]) -> Task:
    """Return a task from {"task": "interpolate", "factor": "5/2"}. Raises BadSetting."""
    name = form.get("task")
    cls = load_tasks().get(str(name))
    if cls is None:
        problem = f"task is {shorten(name)}" if "task" in form else "a task has no name: set `task`"
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
    form, own = resolve_model(cls, form), field_names(cls)
    rest, filled = dict(form), dict[str, Any]()
    for role in cls.roles:
        name = rest.get(role.name, find_default(cls, role.name))
        family = role.find_family(str(name)) if name is not None else None
        options = {key: rest.pop(key) for key in [*rest]
                   if key not in own and key.startswith(role.prefix)}  # fmt: skip
        if options:
            filled[role.options_field] = _fill_role(role, family, options)
    family = cls.find_model(str(form.get(cls.model_field, find_default(cls, cls.model_field))))
    options = {key: rest.pop(key) for key in [*rest]
               if key not in own and key in field_names(family.options)}  # fmt: skip
    for name in rest.keys() - set(own):
        _refuse_foreign_option(cls, name, family.name)
    task = fill(cls, rest, what)
    if options:
        filled["options"] = fill(family.options, options, f"{cls.model_field} {family.name!r}")
    return replace(task, **filled) if filled else task  # type: ignore[type-var]  # mypy#14941: a task is a dataclass


def find_default(cls: type[ModelTask], name: str) -> Any:
    """Return the default of a field of a task."""
    return next(field.default for field in fields(cls) if field.name == name)  # type: ignore[arg-type]  # mypy#14941: a task is a dataclass


def _fill_role(role: ModelRole, family: Family | None, form: Mapping[str, object]) -> object:
    """Return the options of the family of a role; their names begin with its prefix."""
    own = {key.removeprefix(role.prefix): value for key, value in form.items()}
    for name in sorted(own.keys() - set(field_names(family.options) if family else ())):
        owners = [one.name for one in load_families()
                  if role.supports(one) and name in field_names(one.options)]  # fmt: skip
        if owners:
            found = f"the {role.name} is {family.name}" if family else f"there is no {role.name}"
            raise BadSetting(f"{role.prefix}{name} is an option of {join_words(owners)}, and "
                             f"{found}: omit it, or pass --{role.name} {owners[0]}")  # fmt: skip
    if family is None:
        raise BadSetting(f"{next(iter(form))} is an option of a {role.name}, and there is none: "
                         f"name its family as {role.name}, or omit it")  # fmt: skip
    return fill(family.options, own, f"{role.name} {family.name!r}")


def _refuse_foreign_option(cls: type[ModelTask], name: str, model: str) -> None:
    """Raise BadSetting if another family has the option, best one that can do the task."""
    owners = [family.name for family in load_families() if name in field_names(family.options)]
    able = [owner for owner in owners if owner in cls.list_models()]
    if owners:
        cure = f"omit it, or pass --{cls.model_field} {able[0]}" if able else "omit it"
        raise BadSetting(f"{name} is an option of {join_words(able or owners)}, and the "
                         f"{cls.model_field} is {model}: {cure}")  # fmt: skip


def resolve_model(cls: type[ModelTask], form: Mapping[str, object]) -> dict[str, object]:
    """Return the form with family and weights if the model is a file of weights.

    Names of families have underscores; they may be written with dashes.
    """
    form, field = dict(form), cls.model_field
    for name in (field, *(role.name for role in cls.roles)):
        if isinstance(value := form.get(name), str) and Path(value).suffix not in SUFFIXES:
            form[name] = value.replace("-", "_")
    path = Path(str(form.get(field, "")))
    if path.suffix not in SUFFIXES:
        return form
    if not path.is_file():
        raise BadWeights(f"{field} is the file {path}, which does not exist: pass a file of "
                         f"weights, or one of {', '.join(cls.list_models())}")  # fmt: skip
    if form.get("weights") is not None:
        raise BadSetting(f"{field} is the file {path} and weights is {form['weights']}: omit one")
    return {**form, field: identify_weights(path), "weights": path}


def job_from(form: Mapping[str, object], folder: Path) -> Job:
    """Return the job of a table with input, output, seed and tasks; `folder` is that of its paths.

    `input` and `output` are paths, or tables of `path` and settings; `output` may be a list of
    them. Raises BadSetting.
    """
    check_names(form, ["input", "output", "seed", "tasks"], "a job")
    seed, listed = form.get("seed", 0), form.get("tasks", [])
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadSetting(f"seed is {shorten(seed)}: pass an integer")
    if not isinstance(listed, list) or not all(isinstance(task, Mapping) for task in listed):
        raise BadSetting(f"tasks is {shorten(listed)}: pass a list of tables, written [[tasks]]")
    source = _input_from(form, folder)
    sink, *more = _outputs_from(form, folder)
    tasks = []
    for task in listed:
        cls = load_tasks().get(str(task.get("task")))
        field = cls.model_field if cls and issubclass(cls, ModelTask) else "model"
        if Path(str(task.get(field, ""))).suffix in SUFFIXES:
            task = {**task, field: str(folder / str(task[field]))}
        tasks.append(task_from(task))
    return resolve_paths(Job(source, sink, tuple(tasks), seed, tuple(more)), folder)


def job_from_toml(path: Path) -> Job:
    """Return the job of a TOML file; its paths are relative to the file. Raises BadSetting."""
    job = job_from(read_toml(path), path.parent.absolute())
    for sink in job.sinks:
        refuse_existing_folder(sink)
    return job


def refuse_existing_folder(sink: SinkFile, name: str = "video") -> None:
    """Raise BadSetting if the output is a folder that exists; `name` is one for a video in it."""
    path = Path(sink.path)
    if isinstance(sink, ImageOutput) and path.is_dir():
        raise BadSetting(
            f"the output {path} is a folder: write {path / DEFAULT_NAME} for images, or "
            f"{path / name}.mp4 for a video"
        )


def _input_from(form: Mapping[str, object], folder: Path) -> Source | FrameCounter:
    """Return the input of a job; a table of `frames` and `fps` has no source video."""
    entry = form.get("input")
    if isinstance(entry, Mapping) and "frames" in entry and "path" not in entry:
        return fill(FrameCounter, entry, "input")
    return source_from(_table(form, "input", folder))


def check_name(path: Path, what: str) -> None:
    """Raise BadSetting for a name that no file can have; `what` is what the path is for."""
    try:
        os.lstat(path)
    except ValueError as error:
        raise BadSetting(f"{what} is {shorten(str(path))}: a name cannot contain a zero byte, so "
                         "pass another") from error  # fmt: skip
    except OSError as error:
        longest = max((*path.parts, ""), key=lambda part: len(os.fsencode(part)))
        # Windows says of a long name that there is no such file.
        if error.errno == errno.ENAMETOOLONG or (sys.platform == "win32" and len(longest) > 255):
            raise BadSetting(f"{what} has a name of {len(os.fsencode(longest))} bytes, "
                             f"{shorten(longest)}: choose one that the disk takes, such as at most "
                             "255 bytes") from error  # fmt: skip


def _outputs_from(form: Mapping[str, object], folder: Path) -> list[Sink]:
    """Return the outputs of a job, at least one."""
    listed = form.get("output")
    entries = listed if isinstance(listed, list) and listed else [listed]
    return [sink_from(_table({"output": entry}, "output", folder)) for entry in entries]


def _find_source_class(path: Path) -> type[Source]:
    check_name(path, "input")
    return VideoPipe if str(path) == "-" else ImageSequence if is_images(path) else VideoFile


def _find_sink_class(path: Path) -> type[Sink]:
    check_name(path, "output")
    ending = path.suffix.lower()
    if ending in RECORD_SUFFIXES:
        return RecordOutput
    numbered = compile_number_pattern(path.name) and ending not in VIDEO_SUFFIXES
    return ImageOutput if numbered or ending in IMAGE_SUFFIXES or path.is_dir() else VideoOutput


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
        raise BadSetting(f'{name} is {shorten(entry)}: pass a path, such as {name} = "video.mp4"')
    if name == "output":
        return table | {"path": parse_output(path, folder)}
    return table | {"path": Path(path) if path == "-" else folder / path}
