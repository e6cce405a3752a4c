"""Serialization of plain values: any state to bytes and back, bit for bit, without pickle.

Plain values: bool int float str bytes Fraction tuple dict, arrays, tensors, and frozen dataclasses
(such as Frame) of these. A field may be None, the state itself may not. The format is safetensors:
one flat tensor per array, and a JSON tree of everything else.
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
    """Return the value as bytes. Raises StageContractError with the path of what is not plain."""
    from safetensors.numpy import save

    blobs: dict[str, bytes] = {}
    names: dict[int, str] = {}  # an array that is referenced twice is written once
    blobs[_TREE] = json.dumps(_encode(value, "state", blobs, names)).encode()
    return save({name: np.frombuffer(blob, np.uint8) for name, blob in blobs.items()})


def loads(data: bytes) -> Any:
    """Return the value; tensors are on their device again, or on the CPU if it does not exist.

    Raises FilmgateError for dataclasses that this process has not imported.
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


def _add_blob(
    owner: object, array: np.ndarray[Any, Any], blobs: dict[str, bytes], names: dict[int, str]
) -> dict[str, Any]:
    if id(owner) not in names:
        names[id(owner)] = str(len(names))
        blobs[names[id(owner)]] = array.tobytes()
    return {"name": names[id(owner)], "dtype": array.dtype.str, "shape": list(array.shape)}


def _decode(tree: Any, blobs: dict[str, bytes], decoded: dict[str, Any]) -> Any:
    if isinstance(tree, list):
        return tuple(_decode(item, blobs, decoded) for item in tree)
    if not isinstance(tree, dict):
        return tree
    if "value" in tree:
        parts = {name: _decode(item, blobs, decoded) for name, item in tree["fields"].items()}
        return _find_dataclass(tree["value"])(**parts)
    ((kind, entry),) = tree.items()
    if kind == "float":
        return float.fromhex(entry)
    if kind == "bytes":
        return b64decode(entry)
    if kind == "fraction":
        return Fraction(entry)
    if kind == "dict":
        return {_decode(key, blobs, decoded): _decode(item, blobs, decoded) for key, item in entry}
    if entry["name"] not in decoded:
        decode = _decode_array if kind == "array" else _decode_tensor
        decoded[entry["name"]] = decode(entry, blobs[entry["name"]])
    return decoded[entry["name"]]


def _decode_array(entry: dict[str, Any], blob: bytes) -> Any:
    return np.frombuffer(blob, np.dtype(entry["dtype"])).reshape(entry["shape"])


def _decode_tensor(entry: dict[str, Any], blob: bytes) -> Any:
    torch = _import_torch()
    dtype, device = getattr(torch, entry["dtype"]), _choose_device(entry["device"])
    if not blob:
        return torch.empty(entry["shape"], dtype=dtype, device=device)
    flat = torch.frombuffer(bytearray(blob), dtype=torch.uint8).view(dtype)
    return flat.reshape(entry["shape"]).to(device)


def _choose_device(device: str) -> str:
    """Return the device, or the CPU on a machine that does not have it."""
    kind, _, number = device.partition(":")
    count = _import_torch().cuda.device_count() if kind == "cuda" else 1
    return device if int(number or 0) < count else "cpu"


def _import_torch() -> Any:
    import torch  # needed only by a state that holds tensors

    return torch


def _find_dataclass(name: str) -> type:
    """Return a class that is loaded already. Data must not cause imports: it may be untrusted."""
    module, _, path = name.partition(":")
    item: Any = sys.modules.get(module)
    for part in path.split("."):
        item = getattr(item, part, None)
    if not (isinstance(item, type) and is_dataclass(item)):
        raise FilmgateError(f"the snapshot holds a {name}, which this program has not loaded: it "
                            "was written by another version or for another model. Start the run "
                            "again from the beginning")  # fmt: skip
    return item
