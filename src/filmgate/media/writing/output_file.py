"""The output file, hidden until it is complete."""

from __future__ import annotations

import io
import math
import os
import secrets
import sys
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.packet import Packet

from filmgate.core.frame import StreamSpec
from filmgate.core.snapshot import CheckpointStore
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, Busy, OutputExists, Unsupported
from filmgate.media.containers.open import translate_write_errors
from filmgate.media.options import EncodeOptions, check_video_name
from filmgate.media.rates import LossWatch, fit_fraction
from filmgate.media.writing.encoder import Encoder, writes_captions
from filmgate.media.writing.muxer import Muxer
from filmgate.storage.atomic import fsync_file, name_hidden, rename_durably
from filmgate.storage.file_kind import check_output_file

_MICROSECOND = Fraction(1, 1_000_000)


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
        failed: AbstractSet[int] = frozenset(),
    ) -> None:
        check_output(options, source)
        self.path, suffix = options.path, options.suffix
        self._kept = self._to_pipe = options.to_pipe
        self._survives = checkpoints is not None
        # `VideoOutput.find_leftovers` finds it after a crash.
        self._part = name_hidden(self.path, run_name or secrets.token_hex(4), suffix)
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
                streams=options.streams,
                failed=failed,
            )
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise
        self._encoder_dropped = tuple(encoder.dropped)

    @property
    def dropped(self) -> list[str]:
        """What is not carried over from the source, as messages; more at the end."""
        return [*self._encoder_dropped, *self._muxer.dropped]

    @property
    def is_complete(self) -> bool:
        """Whether nothing was lost that was to be copied, at the end."""
        return self._muxer.is_complete

    def write(self, packets: Iterable[Packet[Any]]) -> None:
        """Write the next packets of the video."""
        with translate_write_errors(self.path):
            self._muxer.write(packets)

    def complete(self, end: int) -> Path | None:
        """Complete the file with the video's `end` in ticks, and make it durable.

        Returns it under its hidden name, None for a pipe.
        """
        with translate_write_errors(self.path):
            self._muxer.close(end)
        if self._to_pipe:
            sys.stdout.buffer.flush()
            return None
        fsync_file(self._part)
        self._kept = self._survives
        return self._part

    def publish(self) -> None:
        """Give the complete file its name. Raises Busy if a file of this name is in use."""
        if not self._to_pipe:
            try:
                rename_durably(self._part, self.path)
            except Busy as error:
                spare = self._part
                if not self._survives:
                    spare = self.path.with_name(
                        f"{self.path.stem}.{secrets.token_hex(4)}{self._part.suffix}"
                    )
                    os.rename(self._part, spare)
                raise Busy(f"{error}. The complete video is {spare}") from error
        self._kept = True

    def close(self) -> None:
        """Delete the file unless it has its name, or is complete and a later run can name it."""
        if not self._kept:
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
    """Raise BadSetting or OutputExists if the output cannot be written at its path.

    A link counts as a file, wherever it leads: it would be replaced.
    """
    path = options.path
    check_video_name(path, options.suffix)
    if options.to_pipe:
        return
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: make it first")
    check_output_file(path)
    if os.path.lexists(path):
        inputs = filter(None, (source.path, source.audio))
        if path.exists() and any(path.samefile(one) for one in inputs):
            raise BadSetting(f"{path} is the input: choose another output")
        if not options.overwrite:
            raise OutputExists(f"{path} exists: choose another output, or pass --overwrite")


def make_loss_watch(options: EncodeOptions, spec: StreamSpec) -> LossWatch:
    """Return what notices frames with more than the output can store."""
    if options.suffix == ".y4m":
        return LossWatch("y4m", spec.rate, captions=False)
    return LossWatch(options.codec, None, captions=writes_captions(options))


def choose_tick(options: EncodeOptions, spec: StreamSpec, source: SourceMetadata) -> Fraction:
    """Return the unit of timestamps in seconds: exact where the container allows it."""
    if options.suffix in (".mkv", ".webm"):
        return Fraction(1, 1000)
    if options.suffix == ".y4m":
        if spec.rate is None:
            raise Unsupported(
                "y4m has a constant rate and that of the video varies: pass --container nut or mkv"
            )
        return 1 / fit_fraction(spec.rate)
    ticks = math.lcm(spec.time_base.denominator, source.output_offset.denominator)
    if ticks > 1_000_000:  # an mp4 stores a frame's duration in 32 bits
        return _MICROSECOND
    while ticks < 10_000:
        ticks *= 2
    return Fraction(1, ticks)
