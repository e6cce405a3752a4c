"""Notice interlacing that nothing says, and that begins later in a video."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from filmgate.media.fields.combs import can_have_fields, extract_luma, measure_combs
from filmgate.media.pixels.planes import Planes

if TYPE_CHECKING:
    from filmgate.media.fields.combs import Luma

_DENSE = 60  # frames at the start that are all looked at
_EVERY = 12  # after that, one frame of so many
_MIN_LOOKS = 8  # at frames in which something moves, before a verdict
_RECENT = 12  # of those, the last ones that count
_MIN_SHARE = 0.75  # of them, combed in interlaced video
_CYCLE = 5  # frames in which film on TV (3:2) has two that are combed
_MIN_CYCLES = 3


ADVICE = (
    "pass --deinterlace frames for one frame of both fields, or fields for one of each. Without it "
    "the result has both fields in each frame, and no mark that it is interlaced"
)


class FieldWatch:
    """Looks at frames in which something moves, and reports once what most of them show.

    Frames are looked at across the entire video; nothing is changed.
    """

    def __init__(self) -> None:
        self._before: Planes | None = None
        self._luma: Luma | None = None  # of the frame before, if it was looked at
        self._index, self._reported = 0, False
        self._recent: deque[bool] = deque(maxlen=_RECENT)
        self._row: deque[bool] = deque(maxlen=_CYCLE * _MIN_CYCLES)  # frames one after the other

    def look(self, planes: Planes, time: float, *, marked: bool) -> str:
        """Return what to report with this frame; `marked`: it says that it is interlaced."""
        index, self._index = self._index, self._index + 1
        before, self._before = self._before, planes
        luma_before, self._luma = self._luma, None
        if self._reported:
            self._before = None
            return ""
        if marked:
            return self._report(f"from {time:.3f} s on the video says that it is interlaced")
        if before is None or (index >= _DENSE and index % _EVERY):
            return ""
        if not can_have_fields(planes) or before.size != planes.size:
            return ""
        self._luma = extract_luma(planes)
        combs = measure_combs(
            self._luma, extract_luma(before) if luma_before is None else luma_before
        )
        if not combs.is_moving:
            self._row.clear()
            return ""
        self._recent.append(combs.is_combed)
        if index < _DENSE:
            self._row.append(combs.is_combed)
        return self._judge(time)

    def _judge(self, time: float) -> str:
        combed, looks = sum(self._recent), len(self._recent)
        if looks >= _MIN_LOOKS and combed >= _MIN_SHARE * looks:
            return self._report(
                f"up to {time:.3f} s {combed} of {looks} moving frames that were looked at are "
                "combed, as interlaced ones are, and nothing says so"
            )
        row = list(self._row)
        cycles = [row[at : at + _CYCLE] for at in range(0, len(row), _CYCLE)]
        if len(row) == self._row.maxlen and sum(row[:_CYCLE]) == 2 and cycles[1:] == cycles[:-1]:
            return self._report(
                f"up to {time:.3f} s two of five frames are combed, as film on TV (3:2) is: pass "
                "--deinterlace film to get the film's own frames, or off",
                advise=False,
            )
        return ""

    def _report(self, text: str, *, advise: bool = True) -> str:
        self._reported = True
        self._before = None
        return f"{text}: {ADVICE}" if advise else text
