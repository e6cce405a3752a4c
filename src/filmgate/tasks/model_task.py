"""What tasks that run a model have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from filmgate.core.model_cache import ModelCache
from filmgate.device.placement import Placement, check_device, choose_device
from filmgate.models.registry import check_options, find_family, hash_weights
from filmgate.tasks.settings import list_settings


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
    def list_models(cls) -> tuple[str, ...]:
        """Return the names of the families that can do this task."""

    def check_model(self) -> None:
        """Raise BadSetting for a device that does not exist or options of another family."""
        check_device(self.device)
        if self.options is not None:
            check_options(self.model, self.options)

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
