"""What tasks, inputs and outputs take, as JSON schemas made from their dataclasses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from filmgate.core.job import Task
from filmgate.errors import NotFetched, UserError
from filmgate.models.contracts import Family
from filmgate.models.registry import find_weight_files, load_families
from filmgate.tasks.model_task import ModelRole, ModelTask
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import field_names, find_inputs, list_input_kinds, plain, read_help

Schema = dict[str, Any]

_TYPES: Mapping[Any, Schema] = MappingProxyType(
    {
        bool: {"type": "boolean"},
        int: {"type": "integer"},
        float: {"type": "number"},
        str: {"type": "string", "maxLength": 4000},
        Fraction: {"type": ["number", "string"], "format": "fraction"},
        Path: {"$ref": "#/components/schemas/Reference"},
        NoneType: {"type": "null"},
    }
)


@cache
def find_path_fields(cls: type[Task]) -> frozenset[str]:
    """Return the settings of a task that name files: its own, and those of any model of it."""
    found = find_inputs(cls) | _find_paths(cls)
    if issubclass(cls, ModelTask):
        prefixes = ("", *(role.prefix for role in cls.roles))
        options = {name for family in load_families() for name in _find_paths(family.options)}
        found |= {prefix + name for prefix in prefixes for name in options}
    return frozenset(found)


@cache
def find_model_fields(cls: type[Task]) -> frozenset[str]:
    """Return the settings of a task that name a model, which may be a file of weights."""
    if not issubclass(cls, ModelTask):
        return frozenset()
    return frozenset({cls.model_field, *(role.name for role in cls.roles)})


def find_needed_inputs(cls: type[Task]) -> list[str]:
    """Return the settings that are files without which the task does not run."""
    wanted: tuple[str, ...] = getattr(cls, "inputs", ("in",))  # as on the command line
    return [name for name in wanted if name in field_names(cls)]


def reads_video(cls: type[Task]) -> bool:
    """Return whether the task works on a video: one of its inputs is none of its settings."""
    wanted: tuple[str, ...] = getattr(cls, "inputs", ("in",))
    return any(name not in field_names(cls) for name in wanted)


def describe_fields(
    cls: type[Any], *, without: Collection[str] = (), prefix: str = ""
) -> dict[str, Schema]:
    """Return the schema of each setting of a dataclass, by its name after `prefix`."""
    hints, texts, names = get_type_hints(cls), read_help(cls), field_names(cls)  # type: ignore[arg-type]  # a class is hashable
    described: dict[str, Schema] = {}
    for field in fields(cls):
        if field.name not in names or field.name in without:
            continue
        schema = _describe_type(hints[field.name])
        if text := texts.get(field.name):
            schema["description"] = " ".join(text.split())
        described[prefix + field.name.rstrip("_")] = schema | _describe_default(field)
    return described


def describe_task(name: str, cls: type[Task]) -> Schema:
    """Return the form of a task.

    `properties`: its own settings. `needed_inputs`: those that are files and have no default.
    `models`: for each field that names a model, the families that it can be, each with the settings
    that are added to those of the task.
    """
    makes_records = issubclass(cls, ModelTask) and cls.makes_records
    needed = getattr(cls, "inputs", ("in",))  # as on the command line
    return {
        "name": name,
        "summary": str(cls.__doc__).partition("\n\n")[0],
        "makes_records": makes_records,
        "inputs": sorted(find_inputs(cls)),
        "needed_inputs": find_needed_inputs(cls),
        "needs_source": any(name not in field_names(cls) for name in needed),
        "properties": describe_fields(cls),
        "required": _list_required(cls),
        "models": _describe_models(cls) if issubclass(cls, ModelTask) else [],
    }


def make_task_schemas() -> dict[str, Schema]:
    """Return a JSON schema for each task: all that any model of it takes is allowed."""
    return {name: _make_task_schema(name, cls) for name, cls in load_tasks().items()}


def _make_task_schema(name: str, cls: type[Task]) -> Schema:
    form = describe_task(name, cls)
    properties = {"task": {"const": name}, **form["properties"]}
    for model in form["models"]:
        for family in model["families"]:
            for option, schema in family["properties"].items():
                known = properties.get(option)
                if known is None:
                    text = f"Option of {family['name']}. {schema.get('description', '')}"
                    properties[option] = {**schema, "description": text.strip()}
                elif _strip(known) != _strip(schema):
                    properties[option] = _join(known, schema, family["name"])
    return {
        "type": "object",
        "title": name,
        "description": form["summary"],
        "properties": properties,
        "required": ["task", *form["required"]],
        "additionalProperties": False,
    }


def _describe_models(cls: type[ModelTask]) -> list[Schema]:
    own = ModelRole(cls.model_field, cls.supports)
    defaults = {field.name: field.default for field in fields(cls)}  # type: ignore[arg-type]  # mypy#14941: a task is a dataclass
    return [
        {
            "field": role.name,
            "default": defaults.get(role.name),
            "families": [
                _describe_family(family, "" if role is own else role.prefix)
                for family in load_families()
                if role.supports(family)
            ],
        }
        for role in (own, *cls.roles)
    ]


def _describe_family(family: Family, prefix: str) -> Schema:
    return {
        "name": family.name,
        "summary": family.summary,
        "is_available": _has_weights(family),
        "properties": describe_fields(family.options, prefix=prefix),
    }


def _has_weights(family: Family) -> bool | None:
    """Return whether the weights of a family are on this machine.

    None where only the family can tell, which would load libraries.
    """
    if family.weight_files:
        return None
    try:
        list(find_weight_files(family.name))
    except (UserError, NotFetched):
        return False
    return True


def _list_required(cls: type[Any]) -> list[str]:
    return [
        field.name.rstrip("_")
        for field in fields(cls)
        if field.default is MISSING and field.default_factory is MISSING
    ]


def _describe_type(hint: Any) -> Schema:
    if get_origin(hint) in (Union, UnionType):
        return _describe_union(get_args(hint))
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _describe_type(get_args(hint)[0]), "maxItems": 100}
    if list_input_kinds(hint):
        return dict(_TYPES[Path])
    return dict(_TYPES.get(hint, {}))


def _describe_union(kinds: tuple[Any, ...]) -> Schema:
    """Return one schema for alternatives; an integer is a number, and a path is one of its file."""
    if Fraction in kinds:
        kinds = tuple(kind for kind in kinds if kind is not int)
    parts = [_describe_type(kind) for kind in kinds]
    if len(parts) == 2 and parts[1] == _TYPES[NoneType] and isinstance(parts[0].get("type"), str):
        return {**parts[0], "type": [parts[0]["type"], "null"]}
    return parts[0] if len(parts) == 1 else {"anyOf": parts}


def _describe_default(field: Field[Any]) -> Schema:
    if field.default is MISSING:
        return {}
    return {"default": plain(field.default)}


def _strip(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name not in ("description", "default")}


def _join(known: Schema, schema: Schema, owner: str) -> Schema:
    """Return the schema of an option that several families have, each with its own values."""
    parts = known["anyOf"] if known.get("title") == "of several models" else [_strip(known)]
    text = f"{known.get('description', '')} Of {owner}: {schema.get('description', '')}"
    return {
        "title": "of several models",
        "anyOf": [*parts, *([_strip(schema)] if _strip(schema) not in parts else [])],
        "description": text.strip(),
    }


def _find_paths(cls: type[Any]) -> set[str]:
    return {name for name, hint in get_type_hints(cls).items() if Path in _split(hint)}


def _split(hint: Any) -> tuple[Any, ...]:
    """Return the types of a hint, those in unions and tuples too."""
    parts = get_args(hint) if get_origin(hint) is not Literal else ()
    return tuple(kind for part in parts for kind in _split(part)) or (hint,)
