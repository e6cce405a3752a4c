"""Serialization of plain values: any state to bytes and back, bit for bit, without pickle.

Plain values: bool int float str bytes Fraction tuple dict, arrays, tensors, and frozen dataclasses
(such as Frame) of these. A field may be None, the state itself may not. The format is safetensors:
one flat tensor per array, and a JSON tree of everything else.

Bytes may be damaged or untrusted. Reading them imports nothing, runs no code of a class, allocates
no more than a few times their size, and checks each field against the type its class declares.
"""

import json
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import lru_cache
from math import prod
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from filmgate.core.frame import Frame
from filmgate.errors import FilmgateError, StageContractError

_TREE = "tree"
_MAX_DEPTH = 64  # of values inside values
_MAX_TREE_BYTES = 64 << 20
_MAX_LENGTH = 1 << 40  # of one dimension of an array
_FRACTION = re.compile(r"-?\d{1,2000}(/\d{1,2000})?")  # without exponents, which make huge numbers
_DEVICE = re.compile(r"(cpu|mps)(:0)?|cuda(:\d{1,3})?")
_PLAIN_TYPES = (bool, int, float, str, bytes, Fraction, NoneType, np.ndarray)


def dumps(value: object) -> bytes:
    """Return the value as bytes. Raises StageContractError with the path of what is not plain."""
    from safetensors.numpy import save

    blobs: dict[str, bytes] = {}
    names: dict[int, str] = {}  # an array that is referenced twice is written once
    blobs[_TREE] = json.dumps(_encode(value, "state", blobs, names)).encode()
    return save({name: np.frombuffer(blob, np.uint8) for name, blob in blobs.items()})


def loads(data: bytes) -> Any:
    """Return the value; tensors are on their device again, or on the CPU if it does not exist.

    Raises FilmgateError for damaged bytes, and for classes that this process has not imported or
    whose values `dumps` does not write.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        blobs = {name: flat.tobytes() for name, flat in load(data).items()}
        tree = blobs[_TREE]
        if len(tree) > _MAX_TREE_BYTES:
            raise ValueError(f"its tree has {len(tree)} bytes")
        return _decode(json.loads(tree), blobs, {})
    except (SafetensorError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
            RecursionError, RuntimeError) as error:  # fmt: skip
        raise FilmgateError(
            f"it holds no state that a run wrote ({type(error).__name__}: {error!s:.200})"
        ) from error


def _encode(
    value: Any, path: str, blobs: dict[str, bytes], names: dict[int, str], depth: int = _MAX_DEPTH
) -> Any:
    kind: Any = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {"float": value.hex()}
    if kind is bytes:
        return {"bytes": b64encode(value).decode()}
    if kind is Fraction:
        return {"fraction": str(value)}
    depth -= 1
    if not depth:
        raise StageContractError(
            f"{path:.80} is nested deeper than {_MAX_DEPTH} values: flatten it"
        )
    if kind is tuple:
        return [_encode(item, f"{path}[{i}]", blobs, names, depth) for i, item in enumerate(value)]
    if kind is dict:
        pairs = value.items()
        return {"dict": [[_encode(key, path, blobs, names, depth),
                          _encode(item, f"{path}[{key!r}]", blobs, names, depth)]
                         for key, item in pairs]}  # fmt: skip
    params = getattr(kind, "__dataclass_params__", None)
    if params is not None and params.frozen:
        parts = {
            name: _encode(getattr(value, name), f"{path}.{name}", blobs, names, depth)
            for name in _list_names(kind)
        }
        return {"value": f"{kind.__module__}:{kind.__qualname__}", "fields": parts}
    if kind is np.ndarray and value.dtype.kind in "biufc":
        return {"array": _add_blob(value, value, blobs, names)}
    if kind.__module__ == "torch" and kind.__name__ == "Tensor":
        tensor = value.detach().cpu().contiguous()
        raw = tensor.flatten().view(_import_torch().uint8).numpy()
        entry = _add_blob(value, raw, blobs, names)
        entry |= {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
        return {"tensor": entry | {"device": str(value.device)}}
    raise StageContractError(
        f"{path} is {value!r:.60} of type {kind.__name__}, which is not a plain value: use "
        "bool int float str bytes Fraction tuple dict, arrays, tensors and frozen dataclasses of "
        "these"
    )


@lru_cache(maxsize=1024)
def _list_names(cls: Any) -> tuple[str, ...]:
    """Return the names of the fields of a class."""
    return tuple(item.name for item in fields(cls))


def _add_blob(
    owner: object, array: np.ndarray[Any, Any], blobs: dict[str, bytes], names: dict[int, str]
) -> dict[str, Any]:
    if id(owner) not in names:
        names[id(owner)] = str(len(names))
        blobs[names[id(owner)]] = array.tobytes()
    return {"name": names[id(owner)], "dtype": array.dtype.str, "shape": list(array.shape)}


def _decode(
    tree: Any, blobs: dict[str, bytes], decoded: dict[str, Any], depth: int = _MAX_DEPTH
) -> Any:
    if not isinstance(tree, list | dict):
        return tree
    if not depth:
        raise ValueError(f"values are nested deeper than {_MAX_DEPTH}")
    if isinstance(tree, list):
        return tuple(_decode(item, blobs, decoded, depth - 1) for item in tree)
    if "value" in tree:
        parts = {
            name: _decode(item, blobs, decoded, depth - 1) for name, item in tree["fields"].items()
        }
        return _make_dataclass(tree["value"], parts)
    ((kind, entry),) = tree.items()
    if kind == "float":
        return float.fromhex(entry)
    if kind == "bytes":
        return b64decode(entry, validate=True)
    if kind == "fraction":
        if not _FRACTION.fullmatch(entry):
            raise ValueError(f"{entry!r:.60} is no fraction")
        return Fraction(entry)
    if kind == "dict":
        pairs = [[_decode(item, blobs, decoded, depth - 1) for item in pair] for pair in entry]
        return dict(pairs)
    if entry["name"] not in decoded:
        decode = {"array": _decode_array, "tensor": _decode_tensor}[kind]
        decoded[entry["name"]] = decode(entry, blobs[entry["name"]])
    return decoded[entry["name"]]


def _decode_array(entry: dict[str, Any], blob: bytes) -> Any:
    dtype = np.dtype(entry["dtype"])
    if dtype.kind not in "biufc":
        raise ValueError(f"{entry['dtype']!r:.60} is no type of numbers")
    _check_size(entry["shape"], dtype.itemsize, blob)
    return np.frombuffer(blob, dtype).reshape(entry["shape"])


def _decode_tensor(entry: dict[str, Any], blob: bytes) -> Any:
    torch = _import_torch()
    dtype, device = getattr(torch, entry["dtype"]), _choose_device(entry["device"])
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"{entry['dtype']!r:.60} is no type of numbers")
    _check_size(entry["shape"], dtype.itemsize, blob)
    if not blob:
        return torch.empty(entry["shape"], dtype=dtype, device=device)
    flat = torch.frombuffer(bytearray(blob), dtype=torch.uint8).view(dtype)
    return flat.reshape(entry["shape"]).to(device)


def _check_size(shape: Any, item_bytes: int, blob: bytes) -> None:
    """Raise ValueError unless an array of this shape has exactly the bytes of `blob`."""
    sides = [side for side in shape if type(side) is int and 0 <= side < _MAX_LENGTH]
    if len(sides) != len(shape) or prod(sides) * item_bytes != len(blob):
        raise ValueError(f"an array of shape {shape!r:.60} cannot have {len(blob)} bytes")


def _choose_device(device: str) -> str:
    """Return the device, or the CPU on a machine that does not have it."""
    if not _DEVICE.fullmatch(device):
        raise ValueError(f"{device!r:.60} is no device")
    kind, _, number = device.partition(":")
    count = _import_torch().cuda.device_count() if kind == "cuda" else 1
    return device if int(number or 0) < count else "cpu"


def _import_torch() -> Any:
    import torch  # needed only by a state that holds tensors

    return torch


def _make_dataclass(name: str, parts: dict[str, Any]) -> Any:
    """Return a value of a class that is loaded already and holds nothing but plain values.

    Data must not cause imports, or run code of a class: it may be untrusted.
    """
    module, _, path = name.partition(":")
    cls: Any = sys.modules.get(module)
    for part in path.split("."):
        cls = getattr(cls, part, None)
    if not (isinstance(cls, type) and is_dataclass(cls)):
        raise FilmgateError(f"it holds a {name!s:.80}, which this program has not loaded: another "
                            "version wrote it, or it is for another model")  # fmt: skip
    hints = _list_plain_fields(cls)
    if hints is None or hints.keys() != parts.keys():
        raise ValueError(f"{name!s:.80} is no plain value with the fields {', '.join(parts):.80}")
    for field, value in parts.items():
        if not _has_type(value, hints[field]):
            raise ValueError(f"{field} of {name!s:.80} is {value!r:.60}, wanted {hints[field]}")
    return cls(**parts)


@lru_cache(maxsize=1024)
def _list_plain_fields(cls: Any) -> dict[str, Any] | None:
    """Return the fields of a class with their types; None if its values are not plain.

    Plain: frozen, made without code of its own (Frame only checks its extras), and no field needs
    another type than a plain one.
    """
    params = cls.__dataclass_params__
    runs_code = hasattr(cls, "__post_init__") and cls is not Frame
    if not (params.frozen and params.init) or runs_code or cls.__new__ is not object.__new__:
        return None
    try:
        hints = get_type_hints(cls)
    except Exception:  # noqa: BLE001 - names that exist only for type checkers
        hints = {}
    found = {item.name: hints.get(item.name, Any) for item in fields(cls)}
    return found if all(map(_may_be_plain, found.values())) else None


def _resolve_alias(hint: Any) -> Any:
    """Return the type that a `type` statement names; NumPy has such names from 2.5 on."""
    if hasattr(hint, "__value__"):
        return _resolve_alias(hint.__value__)
    named = getattr(get_origin(hint), "__value__", None)
    return hint if named is None else _resolve_alias(named[get_args(hint)])


def _may_be_plain(hint: Any) -> bool:
    """Whether some plain value has this type."""
    hint = _resolve_alias(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(map(_may_be_plain, args))
    if hint is Any or not isinstance(hint, type):  # tuple[...], a type variable ...
        return origin in (None, Literal, tuple, dict, Mapping, np.ndarray)
    return hint in (object, tuple, dict, *_PLAIN_TYPES) or is_dataclass(hint) or _is_tensor(hint)


def _has_type(value: Any, hint: Any) -> bool:
    """Whether a plain value has the type that its field declares; unknown types fit any value."""
    hint = _resolve_alias(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_has_type(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if origin is tuple or hint is tuple:
        return isinstance(value, tuple) and _have_types(value, args)
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(
            _has_type(key, args[0]) and _has_type(item, args[1]) for key, item in value.items()
        )
    if hint is Any:
        return True
    if hint is float:
        return type(value) in (float, int)
    if hint in (bool, int):
        return type(value) is hint
    if origin is not None:
        return isinstance(value, origin)
    return isinstance(value, hint) if isinstance(hint, type) else True


def _have_types(values: tuple[Any, ...], args: tuple[Any, ...]) -> bool:
    if not args:
        return True
    if args[-1] is Ellipsis:
        return all(_has_type(value, args[0]) for value in values)
    return len(values) == len(args) and all(map(_has_type, values, args))


def _is_tensor(hint: type) -> bool:
    return hint.__module__.startswith("torch") and hint.__name__ == "Tensor"
