"""The result file, hidden until it is complete."""

from __future__ import annotations

import io
import math
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.packet import Packet

from filmgate.core.frame import StreamSpec
from filmgate.core.instrumentation.fault_injection import fault
from filmgate.core.snapshot import CheckpointStore
from filmgate.errors import BadSetting, OutputExists, Unsupported
from filmgate.media.containers.open import writing
from filmgate.media.sinks import VideoOutput
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.streams.selection import FORMATS
from filmgate.media.writing.encoder import Encoder
from filmgate.media.writing.muxer import Muxer
from filmgate.storage.atomic import named

_MICROSECOND = Fraction(1, 1_000_000)


class OutputFile:
    """The file of a result, under a hidden name until it is whole.

    Takes the picture's packets, in decoding order and in `tick` seconds, wherever they come from;
    `encoder` describes them. With `keep`, the hidden file lies in its folder and can be given its
    name by a later run. Raises UserError before the first one.
    """

    def __init__(
        self,
        output: VideoOutput,
        spec: StreamSpec,
        encoder: Encoder,
        origin: SourceMetadata,
        *,
        slow: Fraction | None,
        tags: Mapping[str, str],
        keep: CheckpointStore | None = None,
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


class Outward(io.BufferedIOBase):
    """A file that is only written to, as a pipe is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def writable(self) -> bool:
        return True


def checked(output: VideoOutput, origin: SourceMetadata) -> str:
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


def tick_of(output: VideoOutput, spec: StreamSpec, origin: SourceMetadata) -> Fraction:
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
