"""Where a film is cut: a change that stands alone and that no motion explains."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from filmgate.core.adapters import Window, windowed
from filmgate.core.frame import Frame
from filmgate.core.stage import AnyStage
from filmgate.errors import Unsupported
from filmgate.media.pixels.planes import Planes

Small = npt.NDArray[np.float32]  # (_SIDE, _SIDE), 8-bit levels, mean 0: a flash is no change

_SIDE = 64
_BLOCK = 8
_MOTION = 6  # blocks are looked for this many small pixels around: a tenth of the picture
# On nine films of 6 to 140 seconds every cut scores 0.65 or more, all else 0.32 or less.
_CHANGED = 0.4
_ALONE = 2.0  # a cut changes this many times more than the frames before and after it do
_LEVELS = 4.0  # contrast that does not count: two dark pictures differ little, cut or not


def cuts() -> AnyStage:
    """A stage that marks the first frame of every shot but the film's first (extra "cut").

    Looks at two frames before and one after. Flashes, fades and fast motion are no cuts; a shot of
    one frame is taken for a flash.
    """
    return windowed(_mark, 2, 1, name="cuts")


def samples() -> tuple[AnyStage, ...]:
    """For trials."""
    return (cuts(),)


def change(a: Small, b: Small) -> float:
    """How much of one small picture cannot be found near its place in the other, in levels.

    Mean absolute difference of 8x8 blocks at their best shift, the mean of both directions.
    """
    return (_unmatched(a, b) + _unmatched(b, a)) / 2


def small(image: object) -> Small:
    """The first plane's 64x64 small picture, in 8-bit levels around its mean."""
    if not isinstance(image, Planes):
        raise Unsupported(f"cuts were looked for in {type(image).__name__}: planes are wanted")
    levels = cv2.resize(image.arrays[0], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    scaled = levels.astype(np.float32) / (1 << (image.bits - 8))
    return np.asarray(scaled - scaled.mean(), np.float32)


def _mark(windows: Sequence[Window]) -> list[list[Frame]]:
    smalls = dict[int, Small]()  # windows overlap: each picture is made small once

    def seen(frame: Frame) -> Small:
        if frame.index not in smalls:
            smalls[frame.index] = small(frame.image)
        return smalls[frame.index]

    def is_cut(window: Window) -> bool:
        earlier, before, frame, after = window.frames
        if before is None or frame is None:
            return False
        a, b = seen(before), seen(frame)
        enough = _CHANGED * (float(np.abs(a).mean() + np.abs(b).mean()) / 2 + _LEVELS)
        if np.abs(a - b).mean() < enough:  # cheap, and no search makes it more
            return False
        found = change(a, b)
        around = [(x, y) for x, y in ((earlier, before), (frame, after)) if x and y]
        return found >= enough and all(
            found >= _ALONE * change(seen(x), seen(y)) for x, y in around
        )

    return [
        [window.centre.learnt(cut=True) if is_cut(window) else window.centre] for window in windows
    ]


def _unmatched(a: Small, b: Small) -> float:
    wide = cv2.copyMakeBorder(a, *(_MOTION,) * 4, cv2.BORDER_REPLICATE)
    apart = np.abs(sliding_window_view(wide, b.shape) - b)  # (shifts, shifts, 64, 64)
    blocks = apart.reshape(*apart.shape[:2], _SIDE // _BLOCK, _BLOCK, _SIDE // _BLOCK, _BLOCK)
    return float(blocks.mean((3, 5)).min((0, 1)).mean())
