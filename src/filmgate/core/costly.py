"""`Costly`: a stage whose results are worth keeping, and looking at; who builds the line may."""

from dataclasses import dataclass
from fractions import Fraction

from filmgate.core.stage import Around

CHECKS = ("finite", "black", "flashing", "frozen", "shuffled")  # what `guarded` looks for


@dataclass(frozen=True)
class Costly(Around):
    """The stage itself, with what a wrapper has to know of it.

    `settings` and `weights` are all that its results follow from beside its frames (see `cached`);
    `checks` and `stretch` are for `guarded`: no checks where no network can go wrong.
    """

    settings: str
    weights: str = ""
    checks: tuple[str, ...] = ()
    stretch: Fraction = Fraction(1)
