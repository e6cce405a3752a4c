"""How an unfinished run differs from the one that is wanted now, in words that its user knows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from filmgate.jobs.inputs import without_place
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import join_words

_FILES = ("videos", "inputs", "files")  # what identifies the files that a run reads
_MOST_FILES = 3  # that a message names
_Difference = tuple[tuple[str, ...], Any, Any]  # its keys, and both values


def explain_differences(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    plans: tuple[Mapping[str, Any], Mapping[str, Any]] | None = None,
) -> str:
    """Return what differs between two runs that `describe_run` described, and what to do.

    `plans`: both plans, if they are to be the same. Returns "" if nothing differs.
    """
    was, now = ({"job": _list_outputs(run["job"]), "limits": run["limits"]} for run in (old, new))
    settings = [f"{_name_setting(keys, new['job']['tasks'])} was {_format_value(a)}, is "
                f"{_format_value(b)}" for keys, a, b in find_differences(was, now)]  # fmt: skip
    if plans:
        settings += [f"{'.'.join(keys)} of the plan was {_format_value(a)}, is {_format_value(b)}"
                     for keys, a, b in find_differences(*plans)]  # fmt: skip
    versions = [f"{_name_version(keys[0])} was {_format_value(a)}, is {_format_value(b)}"
                for keys, a, b in find_differences(old["versions"], new["versions"])]  # fmt: skip
    files = [text for kind in _FILES
             for text in _list_changed_files(old[kind], new[kind], bool(settings))]  # fmt: skip
    kinds = (
        ("settings", settings, "pass the same settings"),
        ("versions", versions, "use the same versions and device"),
        ("files", files, "put the old file back"),
    )
    found = [(name, texts, cure) for name, texts, cure in kinds if texts]
    if not found:
        return ""
    what = "; ".join(text for _, texts, _ in found for text in texts)
    cures = join_words([cure for _, _, cure in found])
    return (
        f"other {join_words([name for name, _, _ in found])}: {what}. {cures[0].upper()}{cures[1:]}"
        " to resume it, or run the command with --restart to start again"
    )


def find_differences(
    old: Mapping[str, Any], new: Mapping[str, Any], keys: tuple[str, ...] = ()
) -> Iterator[_Difference]:
    """Yield the keys to each value that differs, and both values; None: it is not set."""
    for key in dict.fromkeys((*old, *new)):
        a, b = old.get(key), new.get(key)
        if isinstance(a, list) and isinstance(b, list):
            a, b = dict(enumerate(a)), dict(enumerate(b))
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from find_differences(a, b, (*keys, str(key)))
        elif a != b:
            yield (*keys, str(key)), a, b


def _list_outputs(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of a job with a list of outputs, also if there is one."""
    output = job.get("output")
    return {**job, "output": output if isinstance(output, list) else [output]}


def _name_setting(keys: Sequence[str], tasks: Sequence[Mapping[str, Any]]) -> str:
    """Return what a user calls the setting at `keys`: its flag if there is one.

    `tasks`: the forms of the job's tasks.
    """
    match keys:
        case ["job", "input", "path", *_]:
            return "the input"
        case ["job", "output", number, "path", *_]:
            return "the output" if number == "0" else f"output {int(number) + 1}"
        case ["job", "output", number]:
            return f"output {int(number) + 1}"
        case ["job", "tasks", number]:
            return f"task {int(number) + 1}"
        case ["job", "tasks", _, "task"]:
            return "the task"
        case ["job", "tasks", number, field, *_]:
            task = str(tasks[int(number)]["task"])
            inputs = getattr(load_tasks().get(task), "inputs", ())
            name = f"the {field}" if field in inputs else _to_flag(field)
            return f"{name} of {task}" if len(tasks) > 1 else name
        case ["job", "output", _, field, *_] | ["job", "input", field, *_]:
            return _to_flag(field)
        case [_, field, *_]:
            return _to_flag(field)
    return ".".join(keys)


def _name_version(library: str) -> str:
    return "the device" if library == "device" else f"the version of {library}"


def _to_flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _list_changed_files(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], explained: bool
) -> list[str]:
    """Return each file that is another one than it was.

    `explained`: other settings are why other files are read, which need not be reported then.
    """
    if [without_place(one) for one in old] == [without_place(one) for one in new]:
        return []
    was, now = ({str(one.get("path")): one for one in files} for files in (_place(old, new), new))
    changed = [f"{path} was changed since that run began: {how}" for path in was
               if path in now and (how := _describe_change(was[path], now[path]))]  # fmt: skip
    if explained:
        return _shorten(changed)
    changed += [f"{path} was read and is not any more" for path in was if path not in now]
    changed += [f"{path} is read and was not" for path in now if path not in was]
    return _shorten(changed) or ["the order of the files is another"]


def _place(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the files with paths; where none is stored, that of the file which is read now."""
    paths = [one.get("path") for one in new]
    paths += [None] * (len(old) - len(paths))
    return [{"path": path, **one} for one, path in zip(old, paths, strict=False)]


def _shorten(texts: Sequence[str]) -> list[str]:
    """Return the first texts, and how many more there are."""
    more = len(texts) - _MOST_FILES
    return [*texts[:_MOST_FILES], *([f"and {more} more files"] if more > 0 else [])]


def _describe_change(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return how a file differs from what it was, "" if it does not."""
    if without_place(old) == without_place(new):
        return ""
    if old.get("bytes") != new.get("bytes"):
        return f"it had {old.get('bytes')} bytes and has {new.get('bytes')}"
    if old.get("sha256_of_samples") != new.get("sha256_of_samples"):
        return "its content is another"
    return "it was written again"


def _format_value(value: object) -> str:
    return "not set" if value is None else json.dumps(value)
