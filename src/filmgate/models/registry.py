"""Model families, one file (or folder) each: this folder is the registry.

A family that draws frames between frames has `interpolator(spec, knobs) -> Between`, one that
makes pictures larger `upscaler(spec, scale, knobs) -> Enlarge | AnyStage`; `KNOBS` names what it
takes, and `foreseen(spec, scale, knobs)` may predict what it holds on a card. One with weights has
`weights() -> tuple[Weights, ...]`, `shapes(weights)`, the tensors that the file must hold, and
`claims(shapes)`, whether a file with these tensors is its own; one whose weights are a published
folder has `folders() -> tuple[Folder, ...]`. An installed package adds families through the
entry-point group `filmgate.models`. Networks that find flow for families lie in `filmgate.flow` and
declare their weights in the same way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, cast

from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting, BadWeights
from filmgate.models import families as _families
from filmgate.models.contracts import (
    ByHand,
    FrameInterpolator,
    ImageUpscaler,
    Knobs,
    MemoryPrediction,
)
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from filmgate.weights.definitions import WeightsRepository


FILES = (".safetensors", ".pt", ".pth", ".ckpt")
FLOWS = ("raft",)  # families that find flow for others
GROUP = "filmgate.models"  # of entry points


def families() -> tuple[str, ...]:
    """The families there are, by name: ours, and those of installed packages.

    Raises BadSetting for two of one name.
    """
    names = sorted([*_ours(), *(point.name for point in entry_points(group=GROUP))])
    if twice := [one for one, other in pairwise(names) if one == other]:
        raise BadSetting(f"two families are called {twice[0]}: take one of the packages away")
    return tuple(names)


def interpolators() -> tuple[str, ...]:
    """Those that draw frames between frames."""
    return tuple(name for name in families() if hasattr(_family(name), "interpolator"))


def interpolator(name: str, spec: StreamSpec, knobs: Knobs = Knobs()) -> FrameInterpolator:
    """The family's way to draw frames between frames of a stream like `spec`.

    Raises BadSetting where there is no such family, or it has no such knob, Unsupported where it
    cannot do this stream, BadWeights.
    """
    return cast(FrameInterpolator, _able(name, "interpolator", knobs).interpolator(spec, knobs))


def upscalers() -> tuple[str, ...]:
    """Those that make pictures larger."""
    return tuple(name for name in families() if hasattr(_family(name), "upscaler"))


def upscaler(
    name: str, spec: StreamSpec, scale: int, knobs: Knobs = Knobs()
) -> ImageUpscaler | AnyStage:
    """The family's way to make pictures of a stream like `spec` `scale` times as wide and high.

    A function of one picture, or, where the model remembers, a stage of planes to planes. Raises
    BadSetting, Unsupported, BadWeights.
    """
    return cast(
        ImageUpscaler | AnyStage, _able(name, "upscaler", knobs).upscaler(spec, scale, knobs)
    )


def foreseen(
    name: str, spec: StreamSpec, scale: int, knobs: Knobs = Knobs()
) -> tuple[MemoryPrediction, ...]:
    """What the family's upscaler would hold on a card, by shapes; empty where it does not say.

    Wants no weights. Raises BadSetting, Unsupported.
    """
    family = _able(name, "upscaler", knobs)
    return tuple(family.foreseen(spec, scale, knobs)) if hasattr(family, "foreseen") else ()


def files(name: str, knobs: Knobs = Knobs()) -> Iterator[Path]:
    """The files of weights that the family opens, those of its flow last.

    Raises BadWeights at one that is not here.
    """
    family, shelf, declared = _family(name), WeightsStore.here(), weights(name)
    yield from (shelf.find(one, knobs.weights) for one in declared)
    places = [knobs.weights] if knobs.weights else map(shelf.home, folders(name))
    for place in () if declared else places:
        if hasattr(family, "parts"):
            yield from family.parts(place)
        else:
            yield from [place] if place.is_file() else sorted(place.rglob("*.safetensors"))
    if "flow" in getattr(family, "KNOBS", ()):
        flow = knobs.flow or family.FLOW
        by_flow = [one for kind in FLOWS for one in weights(kind) if one.name == flow]
        yield from (shelf.find(one, knobs.flow_weights) for one in by_flow)


def weights_hash(name: str, knobs: Knobs = Knobs()) -> str:
    """What tells the family's weights from others: sha256 of its files; "" for one without.

    Raises BadWeights where they are not here.
    """
    shelf = WeightsStore.here()
    return " ".join(shelf.sha256(file) for file in files(name, knobs))


def weights(family: str | None = None) -> tuple[Weights, ...]:
    """Every file of weights that a family declares, or those of one family (none: empty).

    Raises BadSetting for two of one name.
    """
    return _declared("weights", family)


def folders(family: str | None = None) -> "tuple[WeightsRepository, ...]":
    """Every published folder that a family declares, or those of one family (none: empty)."""
    return _declared("folders", family)


def by_hand(name: str) -> ByHand | None:
    """What a person has to get for a family that declares no file: its `BY_HAND`."""
    found: ByHand | None = getattr(_family(name), "BY_HAND", None)
    return found


def family_of(path: Path) -> str:
    """The one family whose weights a file holds, by names and shapes of its tensors.

    One that is a `LAST_RESORT` is asked where no other claims it. Raises BadWeights for a file that
    no family claims, BadSetting where several do.
    """
    from filmgate.weights.state_dict import shapes_of  # brings torch

    found = shapes_of(path)
    claim = claimed(found)
    if len(claim) > 1:
        raise BadSetting(f"{path} is claimed by {' and '.join(claim)}: name the family with "
                         "--model and the file with --weights")  # fmt: skip
    if not claim:
        first = ", ".join(list(found)[:3])
        more = "" if find_spec("spandrel") else ", and pip install 'filmgate[image]' knows more"
        raise BadWeights(f"{path} holds {len(found)} tensors ({first} ...) that no family here "
                         f"knows: filmgate models shows what there is{more}")  # fmt: skip
    return claim[0]


def claimed(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """The families that say that tensors of these names and shapes are their own."""
    for last in (False, True):
        asked = [name for name in families() if hasattr(_family(name), "LAST_RESORT") is last]
        if claim := [name for name in asked if getattr(_family(name), "claims", _no)(shapes)]:
            return claim
    return []


def chosen(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with family and weights where `model` is a file. Raises as `family_of`."""
    path = Path(str(settings.get("model", "")))
    if path.suffix not in FILES:
        return dict(settings)
    if not path.is_file():
        raise BadWeights(f"model is the file {path}, which is not there: wanted a file of weights, "
                         f"or one of {', '.join(families())}")  # fmt: skip
    if settings.get("weights") is not None:
        raise BadSetting(f"model is the file {path} and weights is {settings['weights']}: give one")
    return {**settings, "model": family_of(path), "weights": path}


def weights_of(name: str) -> "Weights | WeightsRepository":
    """The file, or the folder, of weights of this name. Raises BadSetting, with the nearest."""
    every: list[Weights | WeightsRepository] = [*weights(), *folders()]
    known = {one.name: one for one in every}
    if name in known:
        return known[name]
    if name in (*families(), *FLOWS):
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


def _declared(kind: str, family: str | None) -> tuple[Any, ...]:
    found: list[Any] = []
    for name in (*families(), *FLOWS):
        if family in (None, name):
            found += getattr(_family(name), kind, tuple)()
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadSetting(f"two files of weights are called {twice[0]}: name them apart")
    return tuple(found)


def _able(name: str, verb: str, knobs: Knobs) -> Any:
    """The family of that name, which has the verb and takes what the knobs say."""
    # only the one that is asked is imported: another may bring torch, which is half a gigabyte
    family = _family(name) if name in families() else None
    if not hasattr(family, verb):
        able = (other for other in families() if hasattr(_family(other), verb))
        raise BadSetting(f"the model is {name!r}: wanted one of {', '.join(able)}")
    takes = (*getattr(family, "KNOBS", ()), *(["weights"] if hasattr(family, "weights") else []))
    for knob in fields(knobs):
        said = getattr(knobs, knob.name)
        if said is not None and knob.name not in takes:
            raise BadSetting(f"{knob.name} is {said} and the model {name} has no such thing: leave "
                             "it out")  # fmt: skip
    return family


def _family(name: str) -> Any:
    if name in (*_ours(), *FLOWS):
        return import_module(f"{_families.__name__}.{name}")
    for point in entry_points(group=GROUP, name=name):
        return point.load()
    close = get_close_matches(name, families(), 1)
    there = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(families())}"
    raise BadSetting(f"there is no model {name!r}: {there}")


def _ours() -> list[str]:
    return [module.name for module in iter_modules(_families.__path__)
            if module.name[0] != "_" and module.name not in FLOWS]  # fmt: skip


def _no(_: object) -> bool:
    return False
