"""What things weigh: bytes of a plain value, and bytes of this process."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass


def nbytes(value: object) -> int:
    """Bytes of pictures and numbers in a plain value: arrays and tensors, wherever they lie in it.

    Shared arrays are counted as often as they are held; small change (ints, times) is a few bytes.
    """
    held = getattr(value, "nbytes", None)
    if isinstance(held, int):
        return held
    if isinstance(value, bytes | str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(nbytes(item) for item in value.values())
    if isinstance(value, tuple | list):
        return sum(nbytes(item) for item in value)
    if is_dataclass(value):
        return sum(nbytes(getattr(value, item.name)) for item in fields(value))
    return 8


def resident_meter() -> Callable[[], int]:
    """A function that says how much memory of this process lies in RAM, in bytes."""
    import psutil

    process = psutil.Process()
    return lambda: int(process.memory_info().rss)
