"""`Costly`: a stage whose results are worth keeping, and looking at; who builds the line may."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

from filmgate.core.chain import Chain
from filmgate.core.stage import AnyStage, Around

CHECKS = ("finite", "black", "flashing", "frozen", "shuffled")  # what `guarded` looks for


@dataclass(frozen=True)
class Costly(Around):
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
class Thrifty(Protocol):
    """A stage that can do with less memory."""

    def lean(self) -> AnyStage:
        """The same, holding less and taking longer; its last bits may be others."""
        ...


def costlies(stage: AnyStage | Chain) -> Iterator[Costly]:
    """The costly stages of a line, and those within them."""
    if isinstance(stage, Costly):
        yield stage
        yield from costlies(stage.stage)
    elif isinstance(stage, Chain):
        for part in stage.stages:
            yield from costlies(part)


def leaner(stage: AnyStage) -> AnyStage:
    """The stage itself, lean if it can be."""
    return stage.lean() if isinstance(stage, Thrifty) else stage


def can_be_lean(stage: AnyStage | Chain) -> bool:
    """Whether something costly in it is another when it is lean."""
    return any(leaner(costly.stage) != costly.stage for costly in costlies(stage))
