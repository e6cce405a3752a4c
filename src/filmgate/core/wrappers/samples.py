"""Sample stages in wrappers, on which the laws are tried."""

from collections.abc import Sequence

from filmgate.core.adapters import Window, each, repeat_edges, windowed
from filmgate.core.frame import Frame
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.cached import Memory, cached
from filmgate.core.wrappers.output_checks import check_outputs


def samples() -> tuple[AnyStage, ...]:
    """One of each, for trials."""
    key = dict.fromkeys(("source", "range", "settings", "weights", "code"), "a sample")
    store, late = Memory(), windowed(_earlier, 1, 1, name="earlier")
    return (
        cached(each(_again), store, key, every=4),
        cached(late, store, key, every=4),
        check_outputs(each(_again)),
        check_outputs(cached(late, store, key, every=4)),
    )


def _again(frames: Sequence[Frame]) -> list[Frame]:
    return [frame.made(frame.image, keep=("cut",)) for frame in frames]


def _earlier(windows: Sequence[Window]) -> list[list[Frame]]:
    return [[w.centre.made(repeat_edges(w)[0].image, keep=("cut",))] for w in windows]
