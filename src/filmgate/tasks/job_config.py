"""Definitions as forms and back: one source for flags, job files, tags in films, and later HTTP."""

import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from filmgate.core.job import Job, Task
from filmgate.errors import BadSetting
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile, VideoPipe, is_images
from filmgate.models.registry import FILES, chosen
from filmgate.tasks.registry import registry

T = TypeVar("T")
Source = VideoFile | ImageSequence | VideoPipe
Sink = VideoOutput | ImageOutput
SOURCES = (VideoFile, ImageSequence, VideoPipe)
SINKS = (VideoOutput, ImageOutput)
_CLOCK = re.compile(r"(\d+:)?\d+:\d+(\.\d*)?")
WEIGHTS = frozenset({"weights", "flow_weights"})  # settings of tasks that say where those lie
PLACES = ("path", "overwrite", *WEIGHTS)  # where files lay is nobody's business
_KINDS = MappingProxyType(
    {
        "VideoFile": "a film",
        "ImageSequence": "images",
        "VideoPipe": "a pipe",
        "VideoOutput": "a film",
        "ImageOutput": "images",
    }
)


def fill(cls: type[T], form: Mapping[str, object], what: str) -> T:
    """A settings dataclass from a form; `what` names the form in errors. Raises BadSetting.

    Fractions come from ints, "5/2", "60000/1001" and decimals, which are taken exactly, and
    times from "1:02:03.5" too. A field whose name Python keeps for itself ends with "_".
    """
    names = {field.name.rstrip("_"): field.name for field in fields(cls)}  # type: ignore[arg-type]
    _check_names(form, list(names), what)
    try:
        return TypeAdapter(cls).validate_python({names[k]: exact(v) for k, v in form.items()})
    except ValidationError as error:
        raise BadSetting(f"{what}: {_wrong(error.errors())}") from error


def exact(value: object) -> object:
    """A number as text without losing a digit: 2.1 -> "2.1", "1:02:03.5" -> "7447/2"."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        hours, minutes, seconds = ("0:" + value).split(":")[-3:]
        return str((int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds))
    return value


def source_from(form: Mapping[str, object]) -> Source:
    """Where a film comes from, by what its `path` looks like. Raises BadSetting."""
    path = Path(str(form.get("path")))
    kind: type[Source] = (
        VideoPipe if str(path) == "-" else ImageSequence if is_images(path) else VideoFile
    )
    return _one_of(kind, SOURCES, form, "input")


def sink_from(form: Mapping[str, object]) -> Sink:
    """Where a result goes, by what its `path` looks like. Raises BadSetting."""
    kind: type[Sink] = ImageOutput if is_images(Path(str(form.get("path")))) else VideoOutput
    return _one_of(kind, SINKS, form, "output")


def task_from(form: Mapping[str, object]) -> Task:
    """A task from {"task": "interpolate", "factor": "5/2"}. Raises BadSetting."""
    name = form.get("task")
    cls = registry().get(str(name))
    if cls is None:
        said = f"task is {name!r}" if "task" in form else "a task does not say which it is"
        raise BadSetting(f"{said}: {_nearest(str(name), list(registry()))}")
    own = {k: v for k, v in form.items() if k != "task"}
    return fill(cls, chosen(own) if "model" in own else own, f"task {name!r}")


def task_to(task: Task, but: Collection[str] = ()) -> dict[str, object]:
    """The task as a form of plain values, `but` some; settings at their defaults are left out.

    A task that is not one of `registry` goes under its class's name.
    """
    names = {cls: name for name, cls in registry().items()}
    return {"task": names.get(type(task), type(task).__name__)} | settings(task, but)


def settings(value: object, but: Collection[str] = ()) -> dict[str, object]:
    """The settings of a dataclass that are not at their defaults, as plain values, `but` some."""
    return {
        field.name.rstrip("_"): plain(getattr(value, field.name))
        for field in (fields(value) if is_dataclass(value) else ())
        if field.name not in but and getattr(value, field.name) != field.default
    }


def job_from(form: Mapping[str, object], folder: Path) -> Job:
    """A job from a form: input, output, seed, tasks; paths are relative to `folder`.

    `input` and `output` are paths, or tables with `path` and the settings of what the path names.
    Raises BadSetting.
    """
    _check_names(form, ["input", "output", "seed", "tasks"], "a job")
    seed, listed = form.get("seed", 0), form.get("tasks", [])
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise BadSetting(f"seed is {seed!r}: wanted a whole number")
    if not isinstance(listed, list) or not all(isinstance(task, Mapping) for task in listed):
        raise BadSetting(f"tasks is {listed!r}: wanted a list of tables, written [[tasks]]")
    source = source_from(_table(form, "input", folder))
    sink = sink_from(_table(form, "output", folder))
    placed = [dict(task) for task in listed]
    for task in placed:
        for name in WEIGHTS:
            if isinstance(task.get(name), str):
                task[name] = folder / task[name]
        if Path(str(task.get("model", ""))).suffix in FILES:
            task["model"] = str(folder / str(task["model"]))
    return Job(source, sink, tuple(task_from(task) for task in placed), seed)


def job_to(job: Job) -> dict[str, Any]:
    """The job as `job_from` takes it; settings left at their defaults are left out."""
    return {
        "input": settings(job.source),
        "output": settings(job.sink),
        "tasks": [task_to(task) for task in job.tasks],
        "seed": job.seed,
    }


def job_from_toml(path: Path) -> Job:
    """The job that a TOML file describes; its paths are relative to it. Raises BadSetting."""
    try:
        with path.open("rb") as file:
            form = tomllib.load(file)
    except OSError as error:
        raise BadSetting(f"{path} can't be read: {error.strerror}; name a job file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is no TOML: {error}; see examples/job.toml") from error
    return job_from(form, path.parent)


def plain(value: Any) -> Any:
    """Any of our values as JSON holds it; fractions are strings, "5/2" or "2"."""
    return to_jsonable_python(value, fallback=str)


def _one_of(
    cls: type[T], siblings: tuple[type[Any], ...], form: Mapping[str, object], what: str
) -> T:
    """Fills `cls`; a setting that only a sibling knows is told as such."""
    own = {field.name.rstrip("_") for field in fields(cls)}  # type: ignore[arg-type]
    for name in form:
        for other in siblings:
            if name not in own and name in {field.name.rstrip("_") for field in fields(other)}:
                raise BadSetting(
                    f"{name} is a setting for {_KINDS[other.__name__]}, and {what} is "
                    f"{form.get('path')}, {_KINDS[cls.__name__]}: leave it out"
                )
    return fill(cls, form, what)


def _check_names(form: Mapping[str, object], known: list[str], what: str) -> None:
    for name in form:
        if name not in known:
            raise BadSetting(f"{what} has no setting {name!r}: {_nearest(name, known)}")


def _table(form: Mapping[str, object], name: str, folder: Path) -> dict[str, object]:
    given = form.get(name)
    table = dict(given) if isinstance(given, Mapping) else {"path": given}
    path = table.get("path")
    if not isinstance(path, str) or not path:
        raise BadSetting(f'{name} is {given!r}: wanted a path, such as {name} = "film.mp4"')
    return table | {"path": Path(path) if path == "-" else folder / path}


def _nearest(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _wrong(found: list[ErrorDetails]) -> str:
    first = found[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"{name} is missing: give it"
    said = " or ".join(dict.fromkeys(e["msg"] for e in found if e["loc"][:1] == (name,)))
    return f"{name} is {first['input']!r}: {said or first['msg']}"
