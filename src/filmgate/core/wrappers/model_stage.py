"""A stage that runs a model: its results may be cached and checked."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

from filmgate.core.chain import Chain
from filmgate.core.stage import AnyStage, StageWrapper

CHECKS = ("finite", "black", "flashing", "frozen", "shuffled")  # what `guarded` looks for


@dataclass(frozen=True)
class ModelStage(StageWrapper):
    """The stage itself, with what a wrapper has to know of it.

    `settings` and `weights` are all that its results follow from beside its frames (see `cached`);
    `checks` and `stretch` are for `guarded`: no checks where no network can go wrong. `called`: its
    name, if not the stage's.
    """

    settings: str
    weights: str = ""
    checks: tuple[str, ...] = ()
    stretch: Fraction = Fraction(1)
    called: str = ""

    @property
    def name(self) -> str:
        return self.called or self.stage.name


@runtime_checkable
class HasLowMemory(Protocol):
    """A stage that can do with less memory."""

    def low_memory(self) -> AnyStage:
        """The same, holding less and taking longer; its last bits may be others."""
        ...


def find_model_stages(stage: AnyStage | Chain) -> Iterator[ModelStage]:
    """The costly stages of a line, and those within them."""
    if isinstance(stage, ModelStage):
        yield stage
        yield from find_model_stages(stage.stage)
    elif isinstance(stage, Chain):
        for part in stage.stages:
            yield from find_model_stages(part)


def with_low_memory(stage: AnyStage) -> AnyStage:
    """The stage itself, lean if it can be."""
    return stage.low_memory() if isinstance(stage, HasLowMemory) else stage


def has_low_memory(stage: AnyStage | Chain) -> bool:
    """Whether something costly in it is another when it is lean."""
    return any(with_low_memory(costly.stage) != costly.stage for costly in find_model_stages(stage))
