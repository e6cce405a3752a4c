"""Sample stages in wrappers, for the tests of the laws."""

from collections.abc import Sequence

from filmgate.core.adapters import Window, each, repeat_edges, windowed
from filmgate.core.frame import Frame
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.cached import KEY_PARTS, MemoryStore, cached
from filmgate.core.wrappers.output_checks import check_outputs


def samples() -> tuple[AnyStage, ...]:
    """Return one stage of each kind."""
    key = dict.fromkeys(KEY_PARTS, "a sample")
    store, delayed = MemoryStore(), windowed(_show_previous, 1, 1, name="delayed")
    return (
        cached(each(_copy), store, key, every=4),
        cached(delayed, store, key, every=4),
        check_outputs(each(_copy)),
        check_outputs(cached(delayed, store, key, every=4)),
    )


def _copy(frames: Sequence[Frame]) -> list[Frame]:
    return [frame.with_image(frame.image, keep=("cut",)) for frame in frames]


def _show_previous(windows: Sequence[Window]) -> list[list[Frame]]:
    return [[w.centre.with_image(repeat_edges(w)[0].image, keep=("cut",))] for w in windows]
