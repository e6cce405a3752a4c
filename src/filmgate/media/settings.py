"""Check the settings of a definition when it is made, by the types that its fields declare."""

from __future__ import annotations

from dataclasses import fields
from fractions import Fraction
from functools import cache
from numbers import Integral
from os import PathLike
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from filmgate.errors import BadSetting
from filmgate.media.rates import parse_fraction

_WANTED = MappingProxyType(
    {
        bool: "True or False",
        int: "an integer",
        str: "text",
        Path: "a path",
        Fraction: "a number such as 2, 2.5 or 60000/1001",
    }
)

_PLAIN = frozenset({bool, int, str, Fraction, NoneType})


def check_settings(settings: Any) -> None:
    """Check each field of a frozen dataclass, and store what a value of another type means.

    Paths are made of text, fractions of text ("60000/1001") and of floats, tuples of lists. Fields
    of other types than these, bool, int, str and Literal are not checked. Raises BadSetting.
    """
    for name, (kinds, plain) in _list_kinds(type(settings)).items():  # type: ignore[arg-type]  # a class is hashable
        value = getattr(settings, name)
        if type(value) in plain:
            continue
        converted = _convert(name, value, kinds)
        if converted is not value:
            object.__setattr__(settings, name, converted)


@cache
def _list_kinds(cls: type[Any]) -> dict[str, tuple[tuple[Any, ...], frozenset[type]]]:
    """Return the types that each checked field allows, and those whose values stay as they are."""
    hints = get_type_hints(cls)
    kinds = {field.name: _split(hints[field.name]) for field in fields(cls)}
    return {
        name: (allowed, frozenset(allowed) & _PLAIN)
        for name, allowed in kinds.items()
        if all(map(_is_known, allowed))
    }


def _split(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union; a Literal and tuple[T, ...] stay as they are."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _split(part))
    return (hint,)


def _convert(name: str, value: Any, kinds: tuple[Any, ...]) -> Any:
    """Return the value as one of `kinds`. Raises BadSetting."""
    if value is None and NoneType in kinds:
        return value
    for kind in kinds:
        if get_origin(kind) is Literal and isinstance(value, str) and value in get_args(kind):
            return value
        if get_origin(kind) is tuple and isinstance(value, tuple | list):
            items = tuple(_convert(name, item, (get_args(kind)[0],)) for item in value)
            return value if items == value else items
        if kind in _PLAIN and type(value) is kind:
            return value
        if kind is int and type(value) is not bool and isinstance(value, Integral):
            return value.__index__()  # NumPy's too
        if kind is Path and isinstance(value, str | PathLike):
            return value if isinstance(value, Path) else Path(value)
    if Fraction in kinds and isinstance(value, str | float):
        return parse_fraction(name, value)
    wanted = " or ".join(dict.fromkeys(_describe(kind) for kind in kinds if kind is not NoneType))
    raise BadSetting(f"{name} is {value!r:.60}, wanted {wanted}")


def _is_known(kind: Any) -> bool:
    if get_origin(kind) is tuple:
        return get_args(kind)[1:] == (...,) and _is_known(get_args(kind)[0])
    return kind in _WANTED or kind is NoneType or get_origin(kind) is Literal


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    if get_origin(kind) is tuple:
        return f"a tuple, each {_describe(get_args(kind)[0])}"
    return _WANTED[kind]


def check_tile(tile: int | None) -> None:
    """Raise BadSetting unless `tile`, rows or sides of squares, is a multiple of 64."""
    if tile is not None and (tile < 64 or tile % 64):
        raise BadSetting(f"tile is {tile}: pass 64, 128, 192 ...")
