"""What tasks that run a model have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from filmgate.core.job import SourceFile
from filmgate.core.model_cache import ModelCache
from filmgate.device.placement import Placement, check_device, choose_device
from filmgate.errors import BadSetting, BadWeights
from filmgate.media.settings import check_settings
from filmgate.models.compiling.shapes import FixedShapes
from filmgate.models.contracts import Family
from filmgate.models.registry import (
    SUFFIXES,
    check_options,
    find_family,
    find_weight_files,
    hash_weights,
    list_families,
    load_families,
)
from filmgate.tasks.registry import find_task_name, load_tasks
from filmgate.tasks.settings import FLAT, find_paths, join_words, list_settings, shorten, suggest

if TYPE_CHECKING:
    from filmgate.models.compiling.packages import CompiledNetwork


@dataclass(frozen=True, slots=True)
class ModelRole:
    """A further model of a task: the field `name` names its family, None for no model.

    The field `NAME_options` holds that family's options; its metadata is `metadata`, which puts
    `NAME_` before their names. `supports` tells which families can do it.
    """

    name: str
    supports: Callable[[Family], bool]

    @property
    def options_field(self) -> str:
        """The field with the options of the family."""
        return f"{self.name}_options"

    @property
    def prefix(self) -> str:
        """What stands before the names of the options."""
        return f"{self.name}_"

    @property
    def metadata(self) -> MappingProxyType[str, Any]:
        """The metadata of the field with the options."""
        return MappingProxyType({**FLAT, "prefix": self.prefix})

    def find_family(self, name: str) -> Family:
        """Return the family of that name. Raises BadSetting if it cannot do this."""
        family = find_family(name) if name in list_families() else None
        if family is None or not self.supports(family):
            known = [one.name for one in load_families() if self.supports(one)]
            raise BadSetting(f"{self.name} is {shorten(name)}: {suggest(name, known)}")
        return family


class ModelTask(ABC):
    """A task that runs a model: `model` names its family, `options` are that family's.

    Subclasses are frozen dataclasses with these three fields; `options` is marked FLAT. Another
    field than `model` may hold the name; `model` is a property then.
    """

    __slots__ = ()
    model_field: ClassVar[str] = "model"
    """The field, and so the flag, that names the family."""

    roles: ClassVar[tuple[ModelRole, ...]] = ()
    """The task's further models."""

    makes_records: ClassVar[bool] = False
    """Whether it makes records; its field `draw` says whether it draws them too."""

    @property
    @abstractmethod
    def model(self) -> str:
        """The name of the family."""

    @property
    @abstractmethod
    def options(self) -> Any:
        """An instance of the family's `options`; None for its defaults."""

    @property
    @abstractmethod
    def device(self) -> str:
        """What `choose_device` takes."""

    @classmethod
    @abstractmethod
    def supports(cls, family: Family) -> bool:
        """Return whether models of the family can do this task."""

    @classmethod
    def list_unused_options(cls, family: Family) -> tuple[str, ...]:
        """Return the options of a family that the task cannot use: no help shows them."""
        return ()

    @classmethod
    def list_models(cls) -> tuple[str, ...]:
        """Return the names of the families that can do this task."""
        return tuple(family.name for family in load_families() if cls.supports(family))

    @classmethod
    def find_model(cls, name: str) -> Family:
        """Return the family of that name. Raises BadSetting if it cannot do this task."""
        family = find_family(name) if name in list_families() else None
        if family is None or not cls.supports(family):
            raise BadSetting(_explain_model(cls, name, family))
        return family

    def check_model(self) -> None:
        """Raise BadSetting for an unknown device, a model that cannot do this task, or options of
        another family."""
        check_settings(self)
        check_device(self.device)
        self.find_model(self.model)
        for role in self.roles:
            name = getattr(self, role.name)
            if name is not None:
                role.find_family(name)
            elif getattr(self, role.options_field) is not None:
                raise BadSetting(f"there are options of a {role.name} and {role.name} is None: "
                                 "name its family")  # fmt: skip
        for name, options in self.iter_models():
            if options is not None:
                check_settings(check_options(name, options))

    def iter_models(self) -> Iterator[tuple[str, Any]]:
        """Yield the family and its options, None for its defaults, of each model of the task."""
        yield self.model, self.options
        for role in self.roles:
            if (name := getattr(self, role.name)) is not None:
                yield name, getattr(self, role.options_field)

    def find_weight_files(self) -> Iterator[Path]:
        """Return the files of weights of all models. Raises BadWeights if one is missing."""
        for name, options in self.iter_models():
            yield from find_weight_files(name, options)

    def check_weights(self) -> None:
        """Raise BadWeights if a file of weights is missing; nothing is read, no library loaded."""
        for name, options in self.iter_models():
            for path in find_paths(options):
                if not path.exists():
                    raise BadWeights(f"{path} does not exist, wanted weights of {name}: check "
                                     "the name")  # fmt: skip
            family = find_family(name)
            if family.weights and not family.weight_files:
                list(find_weight_files(name, options))

    def check_job_weights(self, source: SourceFile) -> None:
        """Raise BadWeights if a file of weights is missing, for a job with this source."""
        self.check_weights()

    def place(self, models: ModelCache | None) -> Placement:
        """Return where the models run, with the networks loaded so far. Raises BadSetting."""
        return choose_device(self.device if self._uses_device else "cpu", models)

    def explain_unused_device(self) -> str:
        """Return that a device was chosen and the models run on the CPU; "" otherwise."""
        if self.device in ("auto", "cpu") or self._uses_device:
            return ""
        names = join_words([name for name, _ in self.iter_models()])
        return f"--device {self.device} has no effect: {names} can only run on the CPU"

    @property
    def _uses_device(self) -> bool:
        return any(find_family(name).uses_device for name, _ in self.iter_models())

    def fix_shapes(self, frame: tuple[int, int] | None) -> FixedShapes:
        """Return what fixes the shapes of the model's networks besides its options.

        `frame`: width and height of the frames, None if not known.
        """
        return FixedShapes(frame=frame)

    def open_compiled(
        self, frame: tuple[int, int] | None, models: ModelCache
    ) -> Iterator[CompiledNetwork]:
        """Yield the networks that the option `compile` has compiled; those missing are built.

        Raises BadSetting, BadWeights.
        """
        family = find_family(self.model)
        if family.open_compiled is None:
            raise BadSetting(f"no network of {self.model} can be compiled: pass another model")
        options = check_options(self.model, self.options)
        yield from family.open_compiled(self.fix_shapes(frame), options, self.place(models))

    def hash_weights(self) -> str:
        """Return the sha256 of the weights, "" for models without. Raises BadWeights."""
        return " ".join(filter(None, (hash_weights(*model) for model in self.iter_models())))

    def describe_settings(self, placement: Placement) -> str:
        """Return all settings that affect results, for cache keys: without paths."""
        return f"{list_settings(self, without=('device',), paths=False)} on {placement.device}"


def _explain_model(cls: type[ModelTask], name: str, family: Family | None) -> str:
    """Return why the model `name` cannot do the task, and which models can."""
    task, known = find_task_name(cls), list(cls.list_models())  # type: ignore[arg-type]  # mypy#14941: a task is a dataclass
    able = f"{task} has {join_words(known)}"
    if family is not None:
        others = [other for other, its in load_tasks().items()
                  if issubclass(its, ModelTask) and its.supports(family)]  # fmt: skip
        what = f"is for {join_words(others)}" if others else "does no task of its own"
        if not others and family.flow_models:
            what = "estimates optical flow for other models"
        return f"the model {name} {what}: {able}, pass one of them"
    if Path(name).suffix or len(Path(name).parts) > 1 or not name:
        return (f"model is {shorten(name)}, which is not the name of a model: {able}; a file of "
                f"weights ends in {', '.join(SUFFIXES)}")  # fmt: skip
    return f"there is no model {shorten(name)} for {task}: {suggest(name, known)}"
