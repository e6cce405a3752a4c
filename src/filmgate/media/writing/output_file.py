"""The output file, hidden until it is complete."""

from __future__ import annotations

import io
import math
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from fractions import Fraction
from typing import Any, BinaryIO

import av
from av.packet import Packet

from filmgate.core.frame import StreamSpec
from filmgate.core.instrumentation.fault_injection import inject_fault
from filmgate.core.snapshot import CheckpointStore
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, OutputExists, Unsupported
from filmgate.media.containers.open import translate_write_errors
from filmgate.media.options import EncodeOptions
from filmgate.media.streams.selection import MUXERS
from filmgate.media.writing.encoder import Encoder
from filmgate.media.writing.muxer import Muxer
from filmgate.storage.atomic import fsync_file, replace_durably

_MICROSECOND = Fraction(1, 1_000_000)
_STEM_BYTES = 100  # of the name that a hidden file repeats


class OutputFile:
    """The file of an output, under a hidden name until it is complete.

    It takes packets of the video in decoding order and in the ticks of `encoder`, which describes
    them. With `checkpoints`, the hidden file is in that folder, and a later run can rename it.
    Raises UserError before the first packet.
    """

    def __init__(
        self,
        options: EncodeOptions,
        spec: StreamSpec,
        encoder: Encoder,
        source: SourceMetadata,
        *,
        time_scale: Fraction | None,
        tags: Mapping[str, str],
        checkpoints: CheckpointStore | None = None,
        run_name: str = "",
    ) -> None:
        check_output(options, source)
        self.path, suffix = options.path, options.suffix
        self._complete = self._to_pipe = options.to_pipe
        self._checkpoints = checkpoints
        stem = os.fsencode(self.path.stem)[:_STEM_BYTES].decode(errors="ignore")
        # `VideoOutput.find_leftovers` finds it after a crash.
        self._part = self.path.with_name(f".{stem}.{run_name or secrets.token_hex(4)}.part{suffix}")
        if checkpoints is not None:
            self._part = checkpoints.path / f"result{suffix}"
        try:
            self._muxer = Muxer(
                Outward(sys.stdout.buffer) if self._to_pipe else self._part,
                suffix,
                encoder.stream,
                encoder.tick,
                source,
                variable=spec.rate is None,
                time_scale=time_scale,
                tags=tags,
            )
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        self.dropped = [*encoder.dropped, *self._muxer.dropped]

    def write(self, packets: Iterable[Packet[Any]]) -> None:
        """Write the next packets of the video."""
        with translate_write_errors(self.path):
            self._muxer.write(packets)

    def finish(self, end: int) -> None:
        """Complete the file with the video's `end` in ticks, make it durable, and rename it."""
        with translate_write_errors(self.path):
            self._muxer.close(end)
        if self._to_pipe:
            sys.stdout.buffer.flush()
            return
        if self._checkpoints is not None:
            fsync_file(self._part)
            self._checkpoints.mark_complete(self._part)
        replace_durably(self._part, self.path)
        inject_fault("join.named")
        self._complete = True

    def close(self) -> None:
        """Delete the file unless it is complete."""
        if not self._complete:
            with suppress(av.FFmpegError):  # from the trailer of a file that is thrown away
                self._muxer.close(None)
            self._part.unlink(missing_ok=True)


class Outward(io.BufferedIOBase):
    """A file that can only be written, as a pipe."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def writable(self) -> bool:
        return True


def check_output(options: EncodeOptions, source: SourceMetadata) -> None:
    """Raise BadSetting or OutputExists if the output cannot be written at its path."""
    path = options.path
    if options.suffix not in MUXERS:
        raise BadSetting(
            f"the output is {path.name}, wanted a name that ends in {', '.join(MUXERS)}, or "
            "--container"
        )
    if options.to_pipe:
        return
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: make it first")
    if path.exists():
        if source.path and path.samefile(source.path):
            raise BadSetting(f"{path} is the input: choose another output")
        if not options.overwrite:
            raise OutputExists(f"{path} exists: choose another output, or pass --overwrite")


def choose_tick(options: EncodeOptions, spec: StreamSpec, source: SourceMetadata) -> Fraction:
    """Return the unit of timestamps in seconds: exact where the container allows it."""
    if options.suffix in (".mkv", ".webm"):
        return Fraction(1, 1000)
    if options.suffix == ".y4m":
        if spec.rate is None:
            raise Unsupported(
                "y4m has a constant rate and that of the video varies: pass --container nut or mkv"
            )
        return 1 / spec.rate
    ticks = math.lcm(spec.time_base.denominator, source.output_offset.denominator)
    if ticks > 1_000_000:  # an mp4 stores a frame's duration in 32 bits
        return _MICROSECOND
    while ticks < 10_000:
        ticks *= 2
    return Fraction(1, ticks)
