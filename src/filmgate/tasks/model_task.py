"""What tasks that run a model have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from filmgate.core.model_cache import ModelCache
from filmgate.device.placement import Placement, check_device, choose_device
from filmgate.errors import BadSetting, BadWeights
from filmgate.media.settings import check_settings
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
from filmgate.tasks.settings import find_paths, list_settings, shorten, suggest


class ModelTask(ABC):
    """A task that runs a model: `model` names its family, `options` are that family's.

    Subclasses are frozen dataclasses with these three fields; `options` is marked FLAT.
    """

    __slots__ = ()

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
        if self.options is not None:
            check_settings(check_options(self.model, self.options))

    def check_weights(self) -> None:
        """Raise BadWeights if a file of weights is missing; nothing is read, no library loaded."""
        for path in find_paths(self.options):
            if not path.exists():
                raise BadWeights(f"{path} does not exist, wanted weights of {self.model}: check "
                                 "the name")  # fmt: skip
        family = self.find_model(self.model)
        if family.weights and not family.weight_files:
            list(find_weight_files(self.model, self.options))

    def place(self, models: ModelCache | None) -> Placement:
        """Return where the model runs, with the networks loaded so far. Raises BadSetting."""
        uses_device = find_family(self.model).uses_device
        return choose_device(self.device if uses_device else "cpu", models)

    def hash_weights(self) -> str:
        """Return the sha256 of the weights, "" for a model without. Raises BadWeights."""
        return hash_weights(self.model, self.options)

    def describe_settings(self, placement: Placement) -> str:
        """Return all settings that affect results, for cache keys: without paths."""
        return f"{list_settings(self, without=('device',), paths=False)} on {placement.device}"


def _explain_model(cls: type[ModelTask], name: str, family: Family | None) -> str:
    """Return why the model `name` cannot do the task, and which models can."""
    task, known = find_task_name(cls), list(cls.list_models())  # type: ignore[arg-type]  # mypy#14941: a task is a dataclass
    able = f"{task} has {' and '.join(filter(None, [', '.join(known[:-1]), *known[-1:]]))}"
    if family is not None:
        others = [other for other, its in load_tasks().items()
                  if issubclass(its, ModelTask) and its.supports(family)]  # fmt: skip
        what = f"is for {' and '.join(others)}" if others else "does no task of its own"
        if not others and family.flow_models:
            what = "estimates optical flow for other models"
        return f"the model {name} {what}: {able}, pass one of them"
    if Path(name).suffix or len(Path(name).parts) > 1 or not name:
        return (f"model is {shorten(name)}, which is not the name of a model: {able}; a file of "
                f"weights ends in {', '.join(SUFFIXES)}")  # fmt: skip
    return f"there is no model {shorten(name)} for {task}: {suggest(name, known)}"
