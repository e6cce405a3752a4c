"""Model families, one file (or folder) each: this folder is the registry.

A family that draws frames between frames has `interpolator(spec) -> Between`. One with weights has
`weights() -> tuple[Weights, ...]`; its `interpolator(spec, path)` takes where they lie (None: the
models folder), and `shapes(weights)` gives the tensors that the file must hold.
"""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Protocol, cast

from filmgate.core.frame import Spec
from filmgate.device.weights import Weights
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
    return tuple(name for name in families() if hasattr(_family(name), "interpolator"))


def interpolator(name: str, spec: Spec, path: Path | None = None) -> Between:
    """The family's way to draw frames between frames of a stream like `spec`.

    `path` is a file of its weights or a folder with it, None: the models folder. Raises BadSetting
    where there is no such family, Unsupported where it cannot do this stream, BadWeights.
    """
    if name not in interpolators():
        raise BadSetting(f"the model is {name!r}: wanted one of {', '.join(interpolators())}")
    family = _family(name)
    if hasattr(family, "weights"):
        return cast(Between, family.interpolator(spec, path))
    if path is not None:
        raise BadSetting(f"weights is {path} and the model {name} has none: leave it out")
    return cast(Between, family.interpolator(spec))


def weights() -> tuple[Weights, ...]:
    """Every file of weights that a family declares. Raises BadSetting for two of one name."""
    found: list[Weights] = []
    for name in families():
        found += getattr(_family(name), "weights", tuple)()
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadSetting(f"two files of weights are called {twice[0]}: name them apart")
    return tuple(found)


def weights_of(name: str) -> Weights:
    """The file of weights of this name. Raises BadSetting, with the nearest."""
    known = {one.name: one for one in weights()}
    if name in known:
        return known[name]
    if name in families():
        own = [one.name for one in known.values() if one.family == name]
        said = f"they are {', '.join(own)}" if own else "it needs none"
        raise BadSetting(f"{name} is a family, and wanted is one of its weights: {said}")
    close = get_close_matches(name, known, 1)
    there = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"
    raise BadSetting(f"no weights are called {name!r}: {there}")


def shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """The tensors that the file must hold, by name; empty where its family does not say."""
    family = _family(weights.family)
    return dict(family.shapes(weights)) if hasattr(family, "shapes") else {}


def _family(name: str) -> Any:
    return import_module(f"{__name__}.{name}")
