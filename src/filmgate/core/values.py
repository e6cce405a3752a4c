"""Plain values: their size in bytes, the arrays in them, images made flat."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from math import prod
from typing import Any

import numpy as np


def flatten_image(image: Any) -> Any:
    """A picture of the same kind, every plane of it its own mean."""
    if is_dataclass(image) and not isinstance(image, type):
        return replace(image, **{item.name: flatten_image(getattr(image, item.name))
                                 for item in fields(image)})  # fmt: skip
    if isinstance(image, tuple):
        return tuple(flatten_image(part) for part in image)
    if hasattr(image, "dtype"):
        mean = float(image.sum()) / max(1, prod(image.shape))
        return image * 0 + (mean if "float" in str(image.dtype) else round(mean))
    return image


def iter_arrays(value: object) -> Iterator[Any]:
    """Every array and tensor in a plain value."""
    if hasattr(value, "ndim") and hasattr(value, "dtype"):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from iter_arrays(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from iter_arrays(item)
    elif is_dataclass(value):
        for item in fields(value):
            yield from iter_arrays(getattr(value, item.name))


def count_nonfinite(value: object) -> int:
    """How many numbers of a plain value are NaN or infinite."""
    if isinstance(value, float):
        return int(not np.isfinite(value))
    if isinstance(value, np.ndarray):
        return int(np.size(value) - np.isfinite(value).sum()) if value.dtype.kind in "fc" else 0
    if hasattr(value, "isfinite"):
        kind: Any = value
        if not (kind.is_floating_point() or kind.is_complex()):
            return 0
        finite = kind.isfinite()
        return 0 if bool(finite.all()) else int(finite.numel() - finite.sum())
    if isinstance(value, Mapping):
        return sum(map(count_nonfinite, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(count_nonfinite, value))
    if is_dataclass(value):
        return sum(count_nonfinite(getattr(value, item.name)) for item in fields(value))
    return 0


def nbytes(value: object) -> int:
    """Bytes of pictures and numbers in a plain value: arrays and tensors, wherever they lie in it.

    Shared arrays are counted as often as they are held; small change (ints, times) is a few bytes.
    """
    held = getattr(value, "nbytes", None)
    if isinstance(held, int):
        return held
    if isinstance(value, tuple | list):
        return sum(map(nbytes, value))
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(nbytes, value.values()))
    names = getattr(value, "__dataclass_fields__", ())  # `fields` is slow, and this is asked often
    return sum(nbytes(getattr(value, name)) for name in names) or 8
