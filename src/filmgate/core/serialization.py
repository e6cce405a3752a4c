"""The codec of plain values: any state to bytes and back, bit for bit, without pickle.

Plain values: bool int float str bytes Fraction tuple dict array tensor Frame and other frozen
dataclasses of these. A field may be None, the state itself may not. Bytes are safetensors: one
flat tensor for each array, and a JSON tree that says how they hang together.
"""

import json
import sys
from base64 import b64decode, b64encode
from dataclasses import fields, is_dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from filmgate.errors import FilmgateError, StageContractError

_TREE = "tree"


def dumps(value: object) -> bytes:
    """The value as bytes. Raises StageContractError with the path of anything that is not plain."""
    from safetensors.numpy import save

    blobs: dict[str, bytes] = {}
    names: dict[int, str] = {}  # an array that is held twice is written once
    blobs[_TREE] = json.dumps(_encode(value, "state", blobs, names)).encode()
    return save({name: np.frombuffer(blob, np.uint8) for name, blob in blobs.items()})


def loads(data: bytes) -> Any:
    """The value again; tensors return to their device, or to the CPU where there is none such.

    Only dataclasses already imported count.
    """
    from safetensors.numpy import load

    blobs = {name: flat.tobytes() for name, flat in load(data).items()}
    return _decode(json.loads(blobs[_TREE]), blobs, {})


def _encode(value: Any, path: str, blobs: dict[str, bytes], names: dict[int, str]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {"float": value.hex()}
    if kind is bytes:
        return {"bytes": b64encode(value).decode()}
    if kind is Fraction:
        return {"fraction": str(value)}
    if kind is tuple:
        return [_encode(item, f"{path}[{i}]", blobs, names) for i, item in enumerate(value)]
    if kind is dict:
        pairs = value.items()
        return {"dict": [[_encode(key, path, blobs, names),
                          _encode(item, f"{path}[{key!r}]", blobs, names)]
                         for key, item in pairs]}  # fmt: skip
    params = getattr(kind, "__dataclass_params__", None)
    if params is not None and params.frozen:
        parts = {
            item.name: _encode(getattr(value, item.name), f"{path}.{item.name}", blobs, names)
            for item in fields(value)
        }
        return {"value": f"{kind.__module__}:{kind.__qualname__}", "fields": parts}
    if kind is np.ndarray and value.dtype.kind in "biufc":
        return {"array": _blob(value, value, blobs, names)}
    if kind.__module__ == "torch" and kind.__name__ == "Tensor":
        held = value.detach().cpu().contiguous()
        raw = held.flatten().view(_torch().uint8).numpy()
        entry = _blob(value, raw, blobs, names)
        entry |= {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape)}
        return {"tensor": entry | {"device": str(value.device)}}
    raise StageContractError(
        f"{path} is {value!r:.60} of type {kind.__name__}, which is no plain value: "
        "wanted bool int float str bytes Fraction tuple dict, array, tensor or a "
        "frozen dataclass of these"
    )


def _blob(
    owner: object, array: np.ndarray[Any, Any], blobs: dict[str, bytes], names: dict[int, str]
) -> dict[str, Any]:
    if id(owner) not in names:
        names[id(owner)] = str(len(names))
        blobs[names[id(owner)]] = array.tobytes()
    return {"name": names[id(owner)], "dtype": array.dtype.str, "shape": list(array.shape)}


def _decode(tree: Any, blobs: dict[str, bytes], made: dict[str, Any]) -> Any:
    if isinstance(tree, list):
        return tuple(_decode(item, blobs, made) for item in tree)
    if not isinstance(tree, dict):
        return tree
    if "value" in tree:
        parts = {name: _decode(item, blobs, made) for name, item in tree["fields"].items()}
        return _dataclass(tree["value"])(**parts)
    ((kind, held),) = tree.items()
    if kind == "float":
        return float.fromhex(held)
    if kind == "bytes":
        return b64decode(held)
    if kind == "fraction":
        return Fraction(held)
    if kind == "dict":
        return {_decode(key, blobs, made): _decode(item, blobs, made) for key, item in held}
    if held["name"] not in made:
        read = _array if kind == "array" else _tensor
        made[held["name"]] = read(held, blobs[held["name"]])
    return made[held["name"]]


def _array(entry: dict[str, Any], blob: bytes) -> Any:
    return np.frombuffer(blob, np.dtype(entry["dtype"])).reshape(entry["shape"])


def _tensor(entry: dict[str, Any], blob: bytes) -> Any:
    torch = _torch()
    dtype = getattr(torch, entry["dtype"])
    if not blob:
        return torch.empty(entry["shape"], dtype=dtype, device=_here(entry["device"]))
    flat = torch.frombuffer(bytearray(blob), dtype=torch.uint8).view(dtype)
    return flat.reshape(entry["shape"]).to(_here(entry["device"]))


def _here(device: str) -> str:
    """The device, or the CPU on a machine that has no such one."""
    kind, _, number = device.partition(":")
    there = _torch().cuda.device_count() if kind == "cuda" else 1
    return device if int(number or 0) < there else "cpu"


def _torch() -> Any:
    import torch  # only a state that holds tensors needs it

    return torch


def _dataclass(name: str) -> type:
    """The class of that name, never imported for the asking: who goes on has built its chain."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise FilmgateError(f"the snapshot holds a {name}, which this program has not loaded: "
                            "it was written by another version, or by another model")  # fmt: skip
    return found
