"""Model families, one file (or folder) each: this folder is the registry.

A family that draws frames between frames has `interpolator(spec) -> Between`.
"""

from collections.abc import Sequence
from fractions import Fraction
from importlib import import_module
from pkgutil import iter_modules
from typing import Protocol, cast

from filmgate.core.frame import Spec
from filmgate.errors import BadSetting


class Between(Protocol):
    """Draws the pictures at `positions` (0 to 1, both excluded) of the way from `a` to `b`."""

    def __call__(
        self, a: object, b: object, positions: Sequence[Fraction], /
    ) -> Sequence[object]: ...


def families() -> tuple[str, ...]:
    """The families there are, by name."""
    return tuple(sorted(module.name for module in iter_modules(__path__) if module.name[0] != "_"))


def interpolators() -> tuple[str, ...]:
    """Those that draw frames between frames."""
    offers = ((name, import_module(f"{__name__}.{name}")) for name in families())
    return tuple(name for name, family in offers if hasattr(family, "interpolator"))


def interpolator(name: str, spec: Spec) -> Between:
    """The family's way to draw frames between frames of a stream like `spec`.

    Raises BadSetting where there is no such family, Unsupported where it cannot do this stream.
    """
    if name not in interpolators():
        raise BadSetting(f"the model is {name!r}: wanted one of {', '.join(interpolators())}")
    return cast(Between, import_module(f"{__name__}.{name}").interpolator(spec))
