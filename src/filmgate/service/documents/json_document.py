"""Read a JSON document of a client; each error says where in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Never

from filmgate.errors import BadField, UserError
from filmgate.tasks.settings import shorten

MAX_BYTES = 256 << 10
MAX_DEPTH = 8
MAX_INTEGER = 2**63 - 1
MAX_TEXT = 4000  # characters of a string


def read_object(data: bytes) -> dict[str, Any]:
    """Return the object that `data` is, its size, depth, numbers and texts bounded.

    Raises BadField.
    """
    if len(data) > MAX_BYTES:
        raise BadField(f"the document has more than {MAX_BYTES} bytes: shorten it", "")
    try:
        value = json.loads(
            data, parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates
        )
    except BadField:
        raise
    except RecursionError as error:
        raise BadField(
            f"the document is more than {MAX_DEPTH} levels deep: flatten it", ""
        ) from error
    except ValueError as error:  # not JSON, not UTF-8, or an integer of 4,300 digits
        raise BadField(f"the document is not JSON: {str(error)[:200]}", "") from error
    return require_object(_check(value, "", MAX_DEPTH), "")


def require_object(value: object, pointer: str) -> dict[str, Any]:
    """Return the object. Raises BadField for any other value."""
    if not isinstance(value, Mapping):
        raise BadField(f"{_name(pointer)} is {shorten(value)}: pass an object, {{...}}", pointer)
    return dict(value)


def require_list(value: object, pointer: str, most: int) -> list[Any]:
    """Return the list if it has at most `most` items. Raises BadField."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise BadField(f"{_name(pointer)} is {shorten(value)}: pass a list, [...]", pointer)
    if len(value) > most:
        raise BadField(f"{_name(pointer)} has {len(value)} items: pass at most {most}", pointer)
    return list(value)


def extend_pointer(pointer: str, name: str | int) -> str:
    """Return the pointer of a field or item."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"


@contextmanager
def locate_errors(pointer: str, form: object = None) -> Iterator[None]:
    """Turn a UserError into a BadField at `pointer`, or at the field of `form` that it names."""
    try:
        yield
    except BadField:
        raise
    except UserError as error:
        name = _find_name(str(error), form) if isinstance(form, Mapping) else None
        place = pointer if name is None else extend_pointer(pointer, name)
        raise BadField(str(error), place) from error


def _find_name(message: str, form: Mapping[str, object]) -> str | None:
    """Return the field that a message is about: the first that it names."""
    words = message.replace("'", " ").replace(",", " ").split()
    rest = words[2:] if words[:1] == ["task"] and words[1:2] != ["is"] else words
    return next((word for word in rest if word in form), None)


def _check(value: Any, pointer: str, depth: int) -> Any:
    """Return the value. Raises BadField for what no setting can be."""
    if isinstance(value, str):
        _check_text(value, pointer)
    elif isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise BadField(f"{_name(pointer)} has {value.bit_length()} bits: pass an integer of less "
                       "than 64", pointer)  # fmt: skip
    elif isinstance(value, dict | list):
        if depth == 0:
            raise BadField(
                f"the document is more than {MAX_DEPTH} levels deep: flatten it", pointer
            )
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check(name, pointer, depth)
            _check(item, extend_pointer(pointer, name), depth - 1)
    return value


def _check_text(text: str, pointer: str) -> None:
    if len(text) > MAX_TEXT:
        raise BadField(f"{_name(pointer)} has {len(text)} characters: pass at most {MAX_TEXT}",
                       pointer)  # fmt: skip
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise BadField(f"{_name(pointer)} has half a surrogate pair: pass text of Unicode", pointer)
    if "\0" in text:
        raise BadField(f"{_name(pointer)} has a zero byte: omit it", pointer)


def _name(pointer: str) -> str:
    return ascii(pointer)[1:-1][:200] or "the document"


def _refuse_constant(name: str) -> Never:
    raise BadField(f"the document has {name}, which JSON does not: pass a finite number", "")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    form = dict(pairs)
    if len(form) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadField(f"the field {shorten(twice)} is there twice: omit one", "")
    return form
