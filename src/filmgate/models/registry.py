"""Find model families, build their models, and find the files of their weights.

Families are the modules of `filmgate.models.families` and the entry points of the group
`filmgate.models`; each holds its description as FAMILY (see `contracts.Family`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, TypeVar

from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.device.placement import Placement
from filmgate.errors import BadSetting, BadWeights
from filmgate.installation import advise_install
from filmgate.models.contracts import (
    Family,
    FrameInterpolator,
    ImageUpscaler,
    MemoryPrediction,
    PersonPoses,
)
from filmgate.models.people.association import PersonDetector, PersonTracker
from filmgate.weights.definitions import Weights, WeightsRepository
from filmgate.weights.store import WeightsStore

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from filmgate.flow.estimator import Estimator

SUFFIXES = (".safetensors", ".pt", ".pth", ".ckpt", ".pkl")  # of files of weights
GROUP = "filmgate.models"  # of entry points
T = TypeVar("T", Weights, WeightsRepository)
B = TypeVar("B")
_PACKAGE = "filmgate.models.families"  # imported by name: families may import this module

_registered: dict[str, Family] = {}  # by name: those of `register_family`


# --- families -------------------------------------------------------------------------------------


def list_families() -> tuple[str, ...]:
    """Return the names of all families, those of installed packages included.

    Raises BadSetting if two have the same name.
    """
    names = sorted([*_built_in(), *_registered, *(point.name for point in _find_entry_points())])
    if twice := [one for one, other in pairwise(names) if one == other]:
        raise BadSetting(f"two families are called {twice[0]}: uninstall one of the packages")
    return tuple(names)


def find_family(name: str) -> Family:
    """Return the family of that name. Raises BadSetting with the nearest name."""
    if name in _registered:
        return _registered[name]
    # only this one is imported: loading the entry points of others takes time
    if name in _built_in():
        return _load(import_module(f"{_PACKAGE}.{name}"), name)
    for point in _find_entry_points():
        if point.name == name:
            return _load(point.load(), name)
    raise BadSetting(f"there is no model {name!r}: {_suggest(name, list_families())}")


def is_built_in(name: str) -> bool:
    """Return whether a family is part of Filmgate, not of another installed package."""
    return name in _built_in()


def register_family(family: Family) -> None:
    """Add a family for this process, as in a notebook; a package names it in an entry point.

    Registered again, it replaces the one before. Raises BadSetting if the name is taken.
    """
    if not isinstance(family, Family):
        raise BadSetting(f"cannot register {family!r:.60}: pass a Family")
    if family.name in list_families() and family.name not in _registered:
        raise BadSetting(f"there is a family called {family.name} already: choose another name")
    _registered[family.name] = family


def load_families() -> tuple[Family, ...]:
    """Return every family, sorted by name."""
    return tuple(map(find_family, list_families()))


def list_interpolators() -> tuple[str, ...]:
    """Return the names of the families that make frames between frames."""
    return tuple(family.name for family in load_families() if family.build_interpolator)


def list_upscalers() -> tuple[str, ...]:
    """Return the names of the families that enlarge images."""
    return tuple(family.name for family in load_families() if family.build_upscaler)


def list_flow_models() -> tuple[str, ...]:
    """Return the names of the optical flow models of all families."""
    return tuple(name for family in load_families() for name in family.flow_models)


def list_trackers() -> tuple[str, ...]:
    """Return the names of the families that find people or faces."""
    return tuple(family.name for family in load_families() if family.build_tracker)


def list_pose_models() -> tuple[str, ...]:
    """Return the names of the families that estimate the poses of people in boxes."""
    return tuple(family.name for family in load_families() if family.build_pose)


def check_options(name: str, options: Any) -> Any:
    """Return the options of the family `name`, its defaults for None.

    Raises BadSetting if they are those of another family.
    """
    wanted = find_family(name).options
    if options is None:
        return wanted()
    if not isinstance(options, wanted):
        raise BadSetting(f"options is {type(options).__name__}, and the model is {name}: pass "
                         f"{wanted.__name__}, or another model")  # fmt: skip
    return options


# --- models ---------------------------------------------------------------------------------------


def build_interpolator(
    name: str, spec: StreamSpec, options: Any = None, placement: Placement | None = None
) -> FrameInterpolator:
    """Return the function that makes frames between frames of a stream like `spec`.

    Raises BadSetting for a name or options that do not fit, Unsupported for a stream that the
    model cannot take, BadWeights.
    """
    build = find_family(name).build_interpolator if name in list_families() else None
    if build is None:
        raise BadSetting(f"model is {name!r}: pass one of {', '.join(list_interpolators())}")
    return build(spec, check_options(name, options), placement or Placement())


def build_upscaler(
    name: str, spec: StreamSpec, scale: int, options: Any = None, placement: Placement | None = None
) -> ImageUpscaler | AnyStage:
    """Return what enlarges images of a stream like `spec` `scale` times in width and height.

    A function of one image, or a stage of planes to planes if the model has memory. Raises
    BadSetting, Unsupported, BadWeights.
    """
    build = _find_upscaler(name).build_upscaler
    assert build is not None
    return build(spec, scale, check_options(name, options), placement or Placement())


def predict_memory(
    name: str, spec: StreamSpec, scale: int, options: Any = None
) -> tuple[MemoryPrediction, ...]:
    """Predict the upscaler's memory on a GPU from shapes, without weights; empty if unknown.

    Raises BadSetting, Unsupported.
    """
    predict = _find_upscaler(name).predict_memory
    return tuple(predict(spec, scale, check_options(name, options))) if predict else ()


def build_flow(model: str, options: Any = None, placement: Placement | None = None) -> "Estimator":
    """Return what estimates optical flow with `model`, one of `list_flow_models`.

    Raises BadSetting, BadWeights.
    """
    family = find_flow_family(model)
    assert family.build_flow is not None
    return family.build_flow(model, check_options(family.name, options), placement or Placement())


def find_flow_family(model: str) -> Family:
    """Return the family of an optical flow model. Raises BadSetting."""
    for family in load_families():
        if model in family.flow_models:
            return family
    raise BadSetting(f"flow is {model!r}: pass one of {', '.join(list_flow_models())}")


def build_tracker(name: str, options: Any = None, placement: Placement | None = None) -> AnyStage:
    """Return the stage that finds people or faces and adds a record for each to its frame.

    Raises BadSetting, BadWeights.
    """
    build = _find_build(name, "model", lambda family: family.build_tracker)
    return build(check_options(name, options), placement or Placement())


def build_pose(name: str, options: Any = None, placement: Placement | None = None) -> PersonPoses:
    """Return the function that estimates the poses of people in boxes.

    Raises BadSetting, BadWeights.
    """
    build = find_family(name).build_pose if name in list_families() else None
    if build is None:
        raise BadSetting(f"pose is {name!r}: pass one of {', '.join(list_pose_models())}")
    return build(check_options(name, options), placement or Placement())


def build_detector(
    name: str, options: Any = None, placement: Placement | None = None
) -> PersonDetector:
    """Return what finds people in images. Raises BadSetting, BadWeights."""
    build = _find_build(name, "detector", lambda family: family.build_detector)
    return build(check_options(name, options), placement or Placement())


def build_person_tracker(
    name: str, options: Any = None, placement: Placement | None = None
) -> PersonTracker[Any]:
    """Return what decides which detections are of the same person.

    Raises BadSetting, BadWeights.
    """
    build = _find_build(name, "tracker", lambda family: family.build_person_tracker)
    return build(check_options(name, options), placement or Placement())


# --- weights --------------------------------------------------------------------------------------


def find_weight_files(name: str, options: Any = None) -> Iterator[Path]:
    """Return the files of weights that the family opens. Raises BadWeights if one is missing."""
    family, options = find_family(name), check_options(name, options)
    if family.weight_files:
        yield from family.weight_files(options)
        return
    place: Path | None = getattr(options, "weights", None)  # the contract fixes this name
    store = WeightsStore.open_default()
    yield from (store.find(weights, place) for weights in family.weights)
    if not family.weights:
        homes = [place] if place else [store.get_folder(one) for one in family.repositories]
        yield from find_tensor_files(homes)


def find_flow_files(model: str, options: Any = None) -> Iterator[Path]:
    """Return the files of an optical flow model: the weights of its name. Raises BadWeights."""
    family = find_flow_family(model)
    place: Path | None = getattr(check_options(family.name, options), "weights", None)
    for weights in family.weights:
        if weights.name == model:
            yield WeightsStore.open_default().find(weights, place)


def find_tensor_files(places: Iterable[Path]) -> Iterator[Path]:
    """Return the given files, and all safetensors files in the given folders."""
    for place in places:
        yield from [place] if place.is_file() else sorted(place.rglob("*.safetensors"))


def hash_weights(name: str, options: Any = None) -> str:
    """Return the sha256 of each file of weights, "" for a family without. Raises BadWeights."""
    store = WeightsStore.open_default()
    return " ".join(store.sha256(file) for file in find_weight_files(name, options))


def list_weights(family: str | None = None) -> tuple[Weights, ...]:
    """Return all published files of weights, or those of one family.

    Raises BadSetting if two have the same name.
    """
    return tuple(_unique(one for each in _select(family) for one in each.weights))


def list_repositories(family: str | None = None) -> tuple[WeightsRepository, ...]:
    """Return all published folders of weights, or those of one family."""
    return tuple(_unique(one for each in _select(family) for one in each.repositories))


def find_weights(name: str) -> Weights | WeightsRepository:
    """Return the published file or folder of this name. Raises BadSetting with the nearest."""
    published: list[Weights | WeightsRepository] = [*list_weights(), *list_repositories()]
    known = {one.name: one for one in published}
    if name in known:
        return known[name]
    if name in list_families():
        own = [one.name for one in known.values() if one.family == name]
        wanted = f"pass {' or '.join(own)}" if own else "it has none to download"
        raise BadSetting(f"{name} is a family, not the name of weights: {wanted}")
    raise BadSetting(f"no weights are called {name!r}: {_suggest(name, tuple(known))}")


def find_together(name: str) -> tuple[Weights | WeightsRepository, ...]:
    """Return what is downloaded by this name: all files of a family that needs them all, or one.

    Raises BadSetting with the nearest name.
    """
    if name in list_families() and (family := find_family(name)).needs_all_weights:
        return (*family.weights, *family.repositories)
    return (find_weights(name),)


def get_tensor_shapes(weights: Weights) -> Mapping[str, tuple[int, ...]]:
    """Return the tensors that the file must hold, by name; empty if its family does not say."""
    describe = find_family(weights.family).tensor_shapes
    return dict(describe(weights)) if describe else {}


def identify_weights(path: Path) -> str:
    """Return the name of the family whose weights a file holds, by its tensors.

    Raises BadWeights if no family claims the file, BadSetting if several do.
    """
    from importlib.util import find_spec

    from filmgate.weights.state_dict import read_shapes  # imports torch

    shapes = read_shapes(path)
    claims = find_claims(shapes)
    if len(claims) > 1:
        raise BadSetting(f"{path} is claimed by {' and '.join(claims)}: name the family with "
                         "--model and the file with --weights")  # fmt: skip
    if not claims:
        first = ", ".join(list(shapes)[:3])
        hint = "" if find_spec("spandrel") else f", and {advise_install('image')} adds more"
        raise BadWeights(f"{path} holds {len(shapes)} tensors ({first} ...) that no family here "
                         f"knows: filmgate models lists the families{hint}")  # fmt: skip
    return claims[0]


def find_claims(shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the families that claim tensors of these names and shapes."""
    families = load_families()
    for last in (False, True):
        names = [family.name for family in families
                 if family.last_resort is last
                 and family.claims and family.claims(shapes)]  # fmt: skip
        if names:
            return names
    return []


def _find_upscaler(name: str) -> Family:
    family = find_family(name) if name in list_families() else None
    if family is None or family.build_upscaler is None:
        raise BadSetting(f"model is {name!r}: pass one of {', '.join(list_upscalers())}")
    return family


def _find_build(name: str, what: str, get: Callable[[Family], B | None]) -> B:
    """Return what `get` returns for the family. Raises BadSetting with those that have it."""
    build = get(find_family(name)) if name in list_families() else None
    if build is None:
        able = ", ".join(family.name for family in load_families() if get(family))
        raise BadSetting(f"{what} is {name!r}: pass one of {able}")
    return build


def _select(name: str | None) -> tuple[Family, ...]:
    return load_families() if name is None else (find_family(name),)


def _unique(published: Iterable[T]) -> list[T]:
    found = list(published)
    names = [one.name for one in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadSetting(f"two files of weights are called {twice[0]}: rename one of them")
    return found


def _load(module: Any, name: str) -> Family:
    """Return the FAMILY of a module; an entry point may name the value itself."""
    family = module if isinstance(module, Family) else vars(module).get("FAMILY")
    if not isinstance(family, Family) or family.name != name:
        raise BadSetting(f"the model {name} has no Family of that name: its module must hold "
                         f"FAMILY = Family(name={name!r}, ...)")  # fmt: skip
    return family


@cache  # slow: every installed package is looked at
def _find_entry_points() -> tuple["EntryPoint", ...]:
    return tuple(import_module("importlib.metadata").entry_points(group=GROUP))


def _built_in() -> tuple[str, ...]:
    return _list_modules(tuple(import_module(_PACKAGE).__path__))


@cache
def _list_modules(folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(module.name for module in iter_modules(folders) if module.name[0] != "_")


def _suggest(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"did you mean {close[0]!r}?" if close else f"pass one of {', '.join(known) or 'none'}"
