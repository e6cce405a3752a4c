"""A stage that runs a model: its results may be cached and checked."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

from filmgate.core.chain import Chain
from filmgate.core.stage import AnyStage, StageWrapper

CHECKS = ("finite", "black", "flashing", "frozen", "shuffled")  # see `check_outputs`


@dataclass(frozen=True)
class ModelStage(StageWrapper):
    """A stage with what wrappers need to know about it.

    `settings` and `weights` are all that affects its results besides its frames (see `cached`).
    `checks` and `time_scale` are for `check_outputs`; no checks for code without a network.
    `label` is its name, if not the stage's. `stores`: whether a cache may store its results.
    """

    settings: str
    weights: str = ""
    checks: tuple[str, ...] = ()
    time_scale: Fraction = Fraction(1)
    label: str = ""
    stores: bool = True

    @property
    def name(self) -> str:
        return self.label or self.stage.name


@runtime_checkable
class HasLowMemory(Protocol):
    """A stage that has a form with lower memory use."""

    def low_memory(self) -> AnyStage:
        """Return the slower, smaller form; its last bits may differ."""
        ...


def find_model_stages(stage: AnyStage | Chain) -> Iterator[ModelStage]:
    """Yield the model stages in a chain, and those inside of them."""
    if isinstance(stage, ModelStage):
        yield stage
        yield from find_model_stages(stage.stage)
    elif isinstance(stage, Chain):
        for part in stage.stages:
            yield from find_model_stages(part)


def with_low_memory(stage: AnyStage) -> AnyStage:
    """Return the low-memory form of a stage, or the stage itself if it has none."""
    return stage.low_memory() if isinstance(stage, HasLowMemory) else stage


def has_low_memory(stage: AnyStage | Chain) -> bool:
    """Tell whether any model stage in it changes with low memory."""
    return any(with_low_memory(model.stage) != model.stage for model in find_model_stages(stage))
