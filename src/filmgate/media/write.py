"""Frames as a file: a result that appears under its name only when whole."""

from __future__ import annotations

import errno
import io
import math
import os
import secrets
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import av
from av.packet import Packet

from filmgate.core.faults import fault
from filmgate.core.frame import Frame, Spec
from filmgate.core.snapshot import Keep, Snapshot
from filmgate.errors import BadSetting, OutputExists, Unsupported
from filmgate.media.encode import Encoder
from filmgate.media.file import Output
from filmgate.media.mux import Muxer
from filmgate.media.origin import Origin
from filmgate.media.safety import writing
from filmgate.media.tracks import FORMATS

_MICROSECOND = Fraction(1, 1_000_000)


class Result:
    """The file of a result, under a hidden name until it is whole.

    Takes the picture's packets, in decoding order and in `tick` seconds, wherever they come from;
    `encoder` describes them. With `keep`, the hidden file lies in its folder and can be given its
    name by a later run. Raises UserError before the first one.
    """

    def __init__(
        self,
        output: Output,
        spec: Spec,
        encoder: Encoder,
        origin: Origin,
        *,
        slow: Fraction | None,
        tags: Mapping[str, str],
        keep: Keep | None = None,
    ) -> None:
        self.path, suffix = Path(output.path), checked(output, origin)
        self._whole = self._piped = output.piped
        self._keep = keep
        run = os.environ.get("FILMGATE_RUN") or secrets.token_hex(4)  # whose leftover it would be
        self._part = self.path.with_name(f".{self.path.stem[:100]}.{run}.part{suffix}")
        if keep is not None:
            self._part = keep.path / f"result{suffix}"
        try:
            self._muxer = Muxer(
                Outward(sys.stdout.buffer) if self._piped else self._part,
                suffix,
                encoder.stream,
                encoder.tick,
                origin,
                variable=spec.rate is None,
                slow=slow,
                tags=tags,
            )
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        self.dropped = [*encoder.dropped, *self._muxer.dropped]

    def write(self, packets: Iterable[Packet[Any]]) -> None:
        """Takes the next packets of the picture."""
        with writing(self.path):
            self._muxer.write(packets)

    def finish(self, end: int) -> None:
        """Nothing follows the picture's `end` (ticks): whole, durable, and under its name."""
        with writing(self.path):
            self._muxer.close(end)
        if self._piped:
            sys.stdout.buffer.flush()
            return
        with open(self._part, "rb+") as file:
            os.fsync(file.fileno())
        if self._keep is not None:
            self._keep.whole(self._part)
        named(self._part, self.path)
        fault("join.named")
        self._whole = True

    def close(self) -> None:
        """Leaves nothing behind unless it is whole."""
        if not self._whole:
            with suppress(av.FFmpegError):  # a trailer for a file that is thrown away
                self._muxer.close(None)
            self._part.unlink(missing_ok=True)


def named(part: Path, path: Path) -> None:
    """Gives a whole file its name; it is copied first if that is on another disk."""
    try:
        os.replace(part, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        aside = path.with_name(f".{path.stem[:100]}.{part.parent.name}.part{path.suffix}")
        shutil.copyfile(part, aside)
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(aside, path)
        part.unlink()
    synced(path.parent)


class Outward(io.BufferedIOBase):
    """A file that is only written to, as a pipe is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def writable(self) -> bool:
        return True


class Recording:
    """A result being written in one go.

    `spec` is what arrives: Planes of `spec.pixels`. `origin` gives the other tracks (`slow` times
    as long; None: none that has times), chapters, metadata, rotation, pixel aspect and place in
    time. `tags` are added; `dropped` says in words what is not carried. Left without its
    last commit, it leaves nothing behind. Raises UserError before the first frame.
    """

    resume: Snapshot | None = None  # there is nothing to go on from

    def __init__(
        self,
        output: Output,
        spec: Spec,
        origin: Origin,
        *,
        slow: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> None:
        self.path, self.tick = Path(output.path), tick_of(output, spec, origin)
        checked(output, origin)
        self._encoder = Encoder(output, spec, self.tick, origin, threads)
        self._result = Result(output, spec, self._encoder, origin, slow=slow, tags=tags or {})
        self.dropped = self._result.dropped

    def write(self, frames: Sequence[Frame]) -> None:
        """Takes the next frames; they may wait in the encoder."""
        with writing(self.path):
            packets = self._encoder.packets(frames)
        self._result.write(packets)

    def commit(self, snapshot: Snapshot) -> None:
        """The end, if the snapshot has no state: the file gets its name."""
        if snapshot.state is None:
            self.finish()

    def finish(self) -> None:
        """Nothing follows: the file is made whole and durable, and gets its name."""
        with writing(self.path):
            packets = self._encoder.flush()
        self._result.write(packets)
        self._result.finish(self._encoder.end)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._encoder.close()
        self._result.close()


def checked(output: Output, origin: Origin) -> str:
    """The suffix of the output, if a file may appear there. Raises BadSetting, OutputExists."""
    path, suffix = Path(output.path), output.suffix
    if suffix not in FORMATS:
        raise BadSetting(
            f"the output is {path.name}, wanted a name that ends in {', '.join(FORMATS)}, or "
            "--container"
        )
    if output.piped:
        return suffix
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: make it first")
    if path.exists():
        if origin.path and path.samefile(origin.path):
            raise BadSetting(f"{path} is the film itself: name another output")
        if not output.overwrite:
            raise OutputExists(f"{path} exists: name another output, or say overwrite")
    return suffix


def tick_of(output: Output, spec: Spec, origin: Origin) -> Fraction:
    """The unit (seconds) that timestamps are counted in: exact where the container can."""
    if output.suffix in (".mkv", ".webm"):
        return Fraction(1, 1000)
    if output.suffix == ".y4m":
        if spec.rate is None:
            raise Unsupported("y4m knows one rate only and the film's varies: choose nut or mkv")
        return 1 / spec.rate
    ticks = math.lcm(spec.time_base.denominator, origin.place.denominator)
    if ticks > 1_000_000:  # an mp4 counts a frame's duration in 32 bits
        return _MICROSECOND
    while ticks < 10_000:
        ticks *= 2
    return Fraction(1, ticks)


def synced(folder: Path) -> None:
    """Makes the names in a folder durable, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
