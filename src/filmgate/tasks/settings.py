"""Settings of definitions: filled from plain values, listed as such, and the paths in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass, replace
from difflib import get_close_matches
from enum import Enum
from fractions import Fraction
from functools import cache
from pathlib import Path
from reprlib import Repr
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from filmgate.errors import BadSetting
from filmgate.media.codecs import suggest_codec
from filmgate.media.options import RENAMED_SETTINGS

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

T = TypeVar("T")
# What to pass, by the first word of the type of an error of pydantic.
_WANTED = MappingProxyType(
    {"bool": "pass true or false", "float": "pass a number", "fraction": "pass a number such as 2, "
     "2.5 or 30000/1001", "int": "pass an integer", "string": "pass a text"}
)  # fmt: skip
# Metadata of a field whose own fields are listed with the others, their names after "prefix".
FLAT = MappingProxyType({"flat": True, "prefix": ""})
_CLOCK = re.compile(r"(\d+:)?\d+:\d+(\.\d*)?")
# Text of numbers is bounded before it is read: 1e1000000000 would be a number of a gigabyte.
_DIGITS = re.compile(r"\s*[-+]?[\d._:/]+(?:[eE]([-+]?\d+))?\s*")
MAX_DIGITS, MAX_EXPONENT = 100, 400
_PIPE = Path("-")


def fill(cls: type[T], form: Mapping[str, object], what: str) -> T:
    """Return a settings dataclass filled from a form; `what` names the form in errors.

    Fractions come from ints, "5/2", "60000/1001" and decimals, which are taken exactly, and
    times from "1:02:03.5" too. A field whose name is a keyword of Python ends with "_". Raises
    BadSetting.
    """
    from pydantic import ValidationError

    names = {name.rstrip("_"): name for name in field_names(cls)}
    check_names(form, list(names), what)
    inputs = find_inputs(cls)
    values = {names[key]: exact(value) for key, value in form.items()}
    for name in inputs & values.keys():
        if isinstance(values[name], str | Path):
            values[name] = {"path": values[name]}
    try:
        filled = make_adapter(cls).validate_python(values)
    except ValidationError as error:
        raise BadSetting(f"{what}: {_describe_errors(error.errors())}") from error
    return filled


def make_adapter(cls: type[T]) -> TypeAdapter[T]:
    """Return what reads values of a class; it is made once, which takes milliseconds."""
    return _make_adapter(cls)  # type: ignore[arg-type]  # a class is hashable


@cache
def _make_adapter(cls: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def find_inputs(cls: type[Any]) -> frozenset[str]:
    """Return the names of the fields that are inputs of their own: definitions with a path."""
    return _find_inputs(cls)  # type: ignore[arg-type]  # as above


@cache
def _find_inputs(cls: type[Any]) -> frozenset[str]:
    hints = get_type_hints(cls)
    return frozenset(name for name, hint in hints.items() if list_input_kinds(hint))


def list_input_kinds(hint: Any) -> list[type[Any]]:
    """Return the classes among the types of a hint that are inputs: definitions with a path."""
    kinds = [kind for kind in (get_args(hint) or (hint,)) if isinstance(kind, type)]
    return [
        kind for kind in kinds
        if is_dataclass(kind) and any(field.name == "path" for field in fields(kind))
    ]  # fmt: skip


def exact(value: object) -> object:
    """Return a number as text without losing a digit: 2.1 -> "2.1", "1:02:03.5" -> "7447/2".

    Raises BadSetting for text of a number that is too long to be computed.
    """
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, str) and (found := _DIGITS.fullmatch(value[: 2 * MAX_DIGITS])):
        exponent = found[1] or "0"
        if len(value) > MAX_DIGITS or len(exponent) > 9 or abs(int(exponent)) > MAX_EXPONENT:
            raise BadSetting(f"{shorten(value)} has too many digits: pass at most "
                             f"{MAX_DIGITS}, and an exponent up to {MAX_EXPONENT}")  # fmt: skip
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        hours, minutes, seconds = ("0:" + value).split(":")[-3:]
        return str((int(hours) * 60 + int(minutes)) * 60 + Fraction(seconds))
    return value


def list_settings(
    value: object, *, without: Collection[str] = (), paths: bool = True
) -> dict[str, object]:
    """Return the settings of a dataclass that are not at their defaults, as plain values.

    Fields in `without` are left out, and every path with `paths` False. Settings of a field
    marked FLAT are listed with the others.
    """
    settings: dict[str, object] = {}
    for field in fields(value) if is_dataclass(value) else ():
        held = getattr(value, field.name)
        if held is field.default or field.name in without or held == field.default:
            continue
        if _is_flat(field):
            prefix = field.metadata["prefix"]
            own = list_settings(held, without=without, paths=paths)
            settings |= {prefix + name: value for name, value in own.items()}
        elif is_dataclass(held) and not paths:
            settings[field.name.rstrip("_")] = list_settings(held, paths=False)
        elif paths or not any(True for _ in find_paths(held)):
            settings[field.name.rstrip("_")] = plain(held)
    return settings


def find_paths(value: object) -> Iterator[Path]:
    """Return every path in a definition: fields of type Path, also within its fields."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from find_paths(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from find_paths(getattr(value, field.name))


def resolve_paths(value: T, folder: Path) -> T:
    """Return the definition with every path in it absolute; a relative one is in `folder`."""
    resolved: Any = value
    if isinstance(value, Path) and value != _PIPE:
        resolved = folder.absolute() / value
    elif isinstance(value, tuple | list):
        resolved = type(value)(resolve_paths(item, folder) for item in value)
    elif is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        changed = {name: resolve_paths(item, folder) for name, item in held.items()}
        changed = {name: item for name, item in changed.items() if item != held[name]}
        resolved = replace(value, **changed) if changed else value
    return resolved  # type: ignore[no-any-return]


def plain(value: Any) -> Any:
    """Return any of our values as JSON holds it; fractions are strings, "5/2" or "2".

    Pydantic does the same, and takes longer to import than a short run needs for it.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Collection) and not isinstance(value, bytes):
        return [plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else str(value)


def field_names(cls: type[Any]) -> list[str]:
    """Return the names of a dataclass's settings, but those marked FLAT."""
    return [field.name for field in fields(cls) if not _is_flat(field)]


@cache
def read_help(cls: type[Any]) -> Mapping[str, str | None]:
    """Return the text below each field of a class, which is read from the source."""
    from docstring_parser import parse_from_object

    return {
        text.arg_name: text.description
        for base in reversed(cls.__mro__[:-1])
        for text in parse_from_object(base).params
    }


def check_names(form: Mapping[str, object], known: list[str], what: str) -> None:
    """Raise BadSetting, with the nearest name, if the form has a setting that is not known."""
    for name in form:
        if name not in known:
            raise BadSetting(f"{what} has no setting {shorten(name)}: {suggest(name, known)}")


def shorten(value: object) -> str:
    """Return the repr of a value for a message, at most about 100 characters of it."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = 100
    return short.repr(value)


def join_words(words: Sequence[str]) -> str:
    """Return words as text: "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def explain_choice(name: str, value: object, choices: Collection[str]) -> str:
    """Return what to pass for a setting that is none of its `choices`."""
    if name == "codec" and (advice := suggest_codec(str(value))):
        return advice
    close = get_close_matches(str(value)[:100], choices, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"{hint}{'It' if hint else 'it'} can be {', '.join(choices)}"


def suggest(name: str, known: list[str]) -> str:
    """Return what to write in place of an unknown name."""
    if RENAMED_SETTINGS.get(name) in known:
        return f"it is called {RENAMED_SETTINGS[name]} now"
    close = get_close_matches(name[:100], known, 1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def _is_flat(field: Field[Any]) -> bool:
    return bool(field.metadata.get("flat"))


def _describe_errors(errors: list[ErrorDetails]) -> str:
    first = errors[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing":
        return f"{name} is missing: set it"
    if choices := [e["ctx"]["expected"] for e in errors if e["type"] == "literal_error"]:
        names = re.findall(r"'([^']*)'", choices[0])
        return f"{name} is {shorten(first['input'])}: {explain_choice(name, first['input'], names)}"
    of_field = [error for error in errors if error["loc"][:1] == (name,)] or [first]
    wanted = [_WANTED.get(error["type"].partition("_")[0], error["msg"]) for error in of_field]
    if _WANTED["fraction"] in wanted:  # an integer is one too
        wanted = [what for what in wanted if what != _WANTED["int"]]
    return f"{name} is {shorten(first['input'])}: {' or '.join(dict.fromkeys(wanted))}"
