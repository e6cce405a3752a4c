"""Frames as a file: a result that appears under its name only when whole."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av

from filmgate.core.frame import Frame, Spec
from filmgate.core.snapshot import Snapshot
from filmgate.errors import BadSetting, OutputExists
from filmgate.media.encode import Encoder
from filmgate.media.file import Output
from filmgate.media.mux import Muxer
from filmgate.media.origin import Origin
from filmgate.media.safety import writing
from filmgate.media.tracks import FORMATS

_MICROSECOND = Fraction(1, 1_000_000)


class Recording:
    """A result being written; its file has a hidden name until it is whole.

    `spec` is what arrives: Planes of `spec.pixels`. `origin` gives the other tracks (none that has
    times unless `tracks`), chapters, metadata, rotation, pixel aspect and the place in time.
    `tags` are added to the metadata; `dropped` says in words what is not carried. Left without its
    last commit, it leaves nothing behind. Raises UserError before the first frame.
    """

    def __init__(
        self,
        output: Output,
        spec: Spec,
        origin: Origin,
        *,
        tracks: bool = True,
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> None:
        path = Path(output.path)
        suffix = _check_place(path, output, origin)
        self.path, self._done = path, False
        self.tick = _tick(suffix, spec.time_base, origin.offset)
        self._encoder = Encoder(output, spec, self.tick, origin, threads)
        self._part = path.with_name(f".{path.stem[:100]}.{secrets.token_hex(4)}.part{suffix}")
        try:
            self._muxer = Muxer(
                self._part,
                self._encoder.stream,
                self.tick,
                origin,
                variable=spec.rate is None,
                timed=tracks,
                tags=tags or {},
            )
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        self.dropped = [*self._encoder.dropped, *self._muxer.dropped]

    def write(self, frames: Sequence[Frame]) -> None:
        """Takes the next frames; they may wait in the encoder."""
        with writing(self.path):
            self._muxer.write(self._encoder.packets(frames))

    def commit(self, snapshot: Snapshot) -> None:
        """The end, if the snapshot has no state: the file gets its name."""
        if snapshot.state is None:
            self.finish()

    def finish(self) -> None:
        """Nothing follows: the file is made whole and durable, and gets its name."""
        with writing(self.path):
            self._muxer.write(self._encoder.flush())
            self._muxer.close(self._encoder.end)
        with open(self._part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self._part, self.path)
        self._done = True
        if hasattr(os, "O_DIRECTORY"):
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._encoder.close()
        if not self._done:
            with suppress(av.FFmpegError):  # a trailer for a file that is thrown away
                self._muxer.close(None)
            self._part.unlink(missing_ok=True)


def _check_place(path: Path, output: Output, origin: Origin) -> str:
    """The suffix of the output, if a file may appear there."""
    suffix = output.suffix
    if suffix not in FORMATS:
        raise BadSetting(
            f"the output is {path.name}, wanted a name that ends in {', '.join(FORMATS)}, or "
            "--container"
        )
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: make it first")
    if path.exists():
        if origin.path and path.samefile(origin.path):
            raise BadSetting(f"{path} is the film itself: name another output")
        if not output.overwrite:
            raise OutputExists(f"{path} exists: name another output, or say overwrite")
    return suffix


def _tick(suffix: str, time_base: Fraction, offset: Fraction) -> Fraction:
    """The unit that timestamps are counted in: exact where the container can."""
    if suffix in (".mkv", ".webm"):
        return Fraction(1, 1000)
    ticks = math.lcm(time_base.denominator, offset.denominator)
    if ticks > 1_000_000:  # an mp4 counts a frame's duration in 32 bits
        return _MICROSECOND
    while ticks < 10_000:
        ticks *= 2
    return Fraction(1, ticks)
