"""Plain values: their size in bytes, the arrays in them, and images reduced to their mean."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from fractions import Fraction
from math import isfinite, prod
from typing import Any

_SMALL = frozenset({Fraction, int, float, bool, type(None)})


def flatten_image(image: Any) -> Any:
    """Return an image of the same type in which each plane is filled with its own mean."""
    if is_dataclass(image) and not isinstance(image, type):
        return replace(image, **{item.name: flatten_image(getattr(image, item.name))
                                 for item in fields(image)})  # fmt: skip
    if isinstance(image, tuple):
        return tuple(flatten_image(part) for part in image)
    if hasattr(image, "dtype"):
        mean = float(image.sum()) / max(1, prod(image.shape))
        return image * 0 + (mean if "float" in str(image.dtype) else round(mean))
    return image


def iter_leaves(value: object) -> Iterator[Any]:
    """Yield everything in a plain value that is not a mapping, a sequence or a dataclass."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from iter_leaves(item)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from iter_leaves(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from iter_leaves(getattr(value, field.name))
    else:
        yield value


def iter_arrays(value: object) -> Iterator[Any]:
    """Yield every array and tensor in a plain value."""
    return (x for x in iter_leaves(value) if hasattr(x, "ndim") and hasattr(x, "dtype"))


def count_nonfinite(value: object) -> int:
    """Count the NaN and infinite numbers in a plain value."""
    return sum(map(_count_nonfinite_leaf, iter_leaves(value)))


def _count_nonfinite_leaf(leaf: Any) -> int:
    if isinstance(leaf, float):
        return int(not isfinite(leaf))
    import numpy as np  # not above: the plan of a run is made without it

    if isinstance(leaf, np.ndarray):
        return int(np.size(leaf) - np.isfinite(leaf).sum()) if leaf.dtype.kind in "fc" else 0
    if not hasattr(leaf, "isfinite") or not (leaf.is_floating_point() or leaf.is_complex()):
        return 0
    finite = leaf.isfinite()
    return 0 if bool(finite.all()) else int(finite.numel() - finite.sum())


def count_bytes(value: object) -> int:
    """Count the bytes of the arrays, tensors and text in a plain value.

    A shared array is counted once for each reference; ints and times count as a few bytes.
    """
    kind = type(value)  # all frames are counted: what most of them are made of goes first
    if kind in _SMALL:
        return 8
    if kind is str:
        return len(value)  # type: ignore[arg-type]  # it is text
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, tuple | list):
        return sum(map(count_bytes, value))
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(count_bytes, value.values()))
    total = 0
    for name in getattr(value, "__dataclass_fields__", ()):  # `fields` is slow
        item = getattr(value, name)
        total += 8 if type(item) in _SMALL else count_bytes(item)
    return total or 8
