"""A source without a file: it counts frames, for tasks that generate their images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting
from filmgate.media.rates import check_rate

if TYPE_CHECKING:
    from filmgate.core.stage import AnyStage

EMPTY = "empty"  # the pixel format of frames that have no image yet


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCounter:
    """A source of `frames` empty frames; a task gives them images."""

    frames: int
    """Number of frames to generate."""

    fps: Fraction | int = 24
    """Frames per second, any fraction (24, 30000/1001)."""

    @property
    def files(self) -> tuple[Path, ...]:
        """No files are read."""
        return ()

    def __post_init__(self) -> None:
        if self.frames <= 0:
            raise BadSetting(f"frames is {self.frames}: wanted more than 0")
        if (rate := check_rate("fps", self.fps)) != self.fps:  # it was text, or the decimal form
            object.__setattr__(self, "fps", rate)

    @contextmanager
    def open(self, threads: int | None = None) -> Iterator[CountedFrames]:
        """Open the source. `threads` is not used."""
        yield CountedFrames(self.frames, Fraction(self.fps))

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return no stages: there is nothing to convert."""
        return ()


@dataclass(frozen=True, slots=True)
class CountedFrames:
    """Frames with an index, a time and a duration; their image is ()."""

    count: int
    fps: Fraction

    @property
    def spec(self) -> StreamSpec:
        """A stream of size 0x0: the task that generates says in its output how large it is."""
        return StreamSpec(width=0, height=0, rate=self.fps, time_base=1 / self.fps, pixels=EMPTY,
                          frames=self.count)  # fmt: skip

    @property
    def metadata(self) -> SourceMetadata:
        """Nothing: there is no file to copy from."""
        return SourceMetadata()

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """See `core.job.Source.read`."""
        start = cursor.index if cursor else 0
        while start < self.count:
            end = min(self.count, start - start % size + size)
            frames = [Frame(n, n / self.fps, 1 / self.fps, ()) for n in range(start, end)]
            yield frames, Cursor(end, end)
            start = end
