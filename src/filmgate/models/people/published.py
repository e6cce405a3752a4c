"""The package that publishes the networks of people and faces, and its files here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from filmgate.errors import BadSetting, BadWeights
from filmgate.installation import advise_install
from filmgate.weights.definitions import Weights, Wheel
from filmgate.weights.store import WeightsStore

MEDIAPIPE = Wheel(
    "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl",
    "05dc4a9e593655a79558d05d6227d31018c2537a4bd3362b51e230cf22aecfe3",
)


def verify_files(weights: Sequence[Weights], place: Path | None) -> list[Path]:
    """Return the files of a family, in the folder `place` or the models folder.

    Raises BadSetting without LiteRT or if `place` is a file, BadWeights if a file is missing or
    damaged.
    """
    require_litert()
    family, store = weights[0].family, WeightsStore.open_default()
    if place is not None and place.is_file():
        names = " and ".join(one.file for one in weights)
        raise BadSetting(f"weights is the file {place}, and {family} needs {names}: pass a folder "
                         "with them")  # fmt: skip
    if place is None and not any(store.get_path(one).is_file() for one in weights):
        raise BadWeights(f"the weights of {family} are not here: run filmgate models pull {family},"
                         " or pass --weights FOLDER")  # fmt: skip
    return [store.verify(one, place) for one in weights]


def require_litert() -> None:
    """Raise BadSetting, with the command that installs it, if LiteRT is not installed."""
    from importlib.util import find_spec

    if find_spec("ai_edge_litert") is None:
        raise BadSetting("people and faces need LiteRT, which is not installed: run "
                         f"{advise_install('people')}")  # fmt: skip
