"""Write a video in closed segments that survive a crash, and join them at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
from av.packet import Packet

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import FileSink
from filmgate.core.snapshot import CheckpointStore, Commit
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import StreamsRefused
from filmgate.media.containers.open import translate_write_errors
from filmgate.media.options import EncodeOptions
from filmgate.media.writing.encoder import Encoder, copy_raw_tag
from filmgate.media.writing.output_file import (
    OutputFile,
    check_output,
    choose_tick,
    make_loss_watch,
)
from filmgate.media.writing.segment_join import Segment, check_segment, join_segments
from filmgate.storage.atomic import replace_durably
from filmgate.storage.fingerprint import sha256_of

# NUT keeps any time base and the order of B-frames. Codecs that it has no name for use mov.
_CONTAINERS: Mapping[str, str] = MappingProxyType({"prores": "mov"})
_MAX_REORDER = 16  # frames, of any codec
_SEGMENT_NAME = re.compile(r"\.?\d{6,}\.(nut|mov)")


class SegmentWriter(FileSink):
    """An opened video output that is written in segments; each commit closes one.

    `save` closes a segment in the folder of `checkpoints` and makes it durable. At the end they
    are joined to the output, with other streams as `VideoWriter` copies them. Raises UserError
    before the first frame.
    """

    def __init__(
        self,
        checkpoints: CheckpointStore,
        options: EncodeOptions,
        spec: StreamSpec,
        source: SourceMetadata,
        *,
        time_scale: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> None:
        self._checkpoints, self._folder = checkpoints, checkpoints.path
        self._options, self._spec, self._source = options, spec, source
        self._time_scale, self._tags, self._threads = time_scale, tags or {}, threads
        self.path, self.tick = options.path, choose_tick(options, spec, source)
        check_output(options, source)
        self._open: _OpenSegment | None = None
        self._playable_end = 0  # of the preview so far, in ticks
        self._ready: Encoder | None = self._make_encoder()  # for the first segment
        try:
            # raises now what the join would raise
            trial = self._make_output(self._ready, options, source, checkpoints)
            self.dropped = trial.dropped
            self._watch = make_loss_watch(options, spec)
            trial.close()
        except BaseException:
            self._ready.close()
            raise
        self._segments: tuple[Segment, ...] = ()
        self._result: OutputFile | None = None

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames; they may wait in the encoder."""
        self.dropped = [*self.dropped, *self._watch.check(frames)]
        if frames and self._open is None:
            container = _CONTAINERS.get(self._options.codec, "nut")
            path = self._folder / f"{len(self._segments) + 1:06}.{container}"
            encoder, self._ready = self._ready or self._make_encoder(), None
            self._open = _OpenSegment(path, encoder, self.tick)
        if self._open is not None:
            self._open.write(frames)

    def save(self) -> tuple[Segment, ...]:
        """Close the segment; return all of them."""
        if self._open is not None:
            self._segments += (self._open.finish(),)
            self._open = None
        return self._segments

    def release(self, *, ended: bool) -> None:
        """Write the preview, if one is wanted."""
        if self._checkpoints.playable and not ended:
            self._write_playable()

    def complete(self) -> Path | None:
        """Join the segments."""
        self._result, path = self._join(self._options, self._source, self._checkpoints)
        late = [text for text in self._result.dropped if text not in self.dropped]
        self.dropped = [*self.dropped, *late]
        self.is_complete = self._result.is_complete
        return path

    def publish(self) -> None:
        """Give the joined video its name."""
        assert self._result is not None
        self._result.publish()

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._ready is not None:
            self._ready.close()
        if self._open is not None:
            self._open.close()
        if self._result is not None:
            self._result.close()

    def verify(self, pieces: tuple[Segment, ...]) -> None:
        """Raise FilmgateError if the file of a segment is damaged."""
        for segment in pieces:
            check_segment(self._folder / segment.name, segment)

    def resume(self, commit: Commit | None, commits: Sequence[Commit]) -> None:
        """Continue after `commit`; delete the segments after it."""
        if commit is not None:
            self._segments = commit.pieces
        kept = {segment.name for segment in self._segments}
        for entry in os.scandir(self._folder):
            ours = _SEGMENT_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if ours and entry.name not in kept:
                os.unlink(entry.path)

    def _write_playable(self) -> None:
        """Write a preview of the video so far, whenever it has grown by a quarter."""
        if not self._segments or self._segments[-1].end < self._playable_end * 1.25:
            return
        self._playable_end = end = self._segments[-1].end
        path = self._folder / f"playable{self._options.suffix}"
        options = replace(self._options, path=path, overwrite=True)
        start = round(self._source.output_offset / self.tick)
        duration = (end - start) * self.tick / (self._time_scale or 1)
        until = self._source.offset + duration
        source = replace(self._source, until=min(until, self._source.until or until))
        result, _ = self._join(options, source)
        try:
            result.publish()
        finally:
            result.close()

    def _join(
        self,
        options: EncodeOptions,
        source: SourceMetadata,
        checkpoints: CheckpointStore | None = None,
    ) -> tuple[OutputFile, Path | None]:
        """Return an output with all segments, complete, and its file.

        Other streams that it cannot hold in the end are left out.
        """
        end = self._segments[-1].end if self._segments else 0
        failed: frozenset[int] = frozenset()
        while True:
            encoder = self._make_encoder()
            try:
                result = self._make_output(encoder, options, source, checkpoints, failed)
                with ExitStack() as stack:
                    stack.callback(result.close)
                    result.write(join_segments(self._folder, self._segments, encoder))
                    path = result.complete(end)
                    stack.pop_all()
                    return result, path
            except StreamsRefused as error:
                if error.indexes <= failed:
                    raise
                failed |= error.indexes
            finally:
                encoder.close()

    def _make_encoder(self) -> Encoder:
        return Encoder(self._options, self._spec, self.tick, self._source, self._threads)

    def _make_output(
        self,
        encoder: Encoder,
        options: EncodeOptions,
        source: SourceMetadata,
        checkpoints: CheckpointStore | None,
        failed: AbstractSet[int] = frozenset(),
    ) -> OutputFile:
        return OutputFile(
            options,
            self._spec,
            encoder,
            source,
            time_scale=self._time_scale,
            tags=self._tags,
            checkpoints=checkpoints,
            failed=failed,
        )


class _OpenSegment:
    """A segment being written with its own encoder and container, hidden until it is complete."""

    def __init__(self, path: Path, encoder: Encoder, tick: Fraction) -> None:
        self._path, self._part, self._encoder = path, path.with_name(f".{path.name}"), encoder
        container = path.suffix.removeprefix(".")
        with translate_write_errors(path):
            self._container = av.open(
                os.path.abspath(self._part),
                "w",
                format=container,
                options={"avoid_negative_ts": "0"},
            )
            self._stream = self._container.add_stream_from_template(encoder.stream)
            self._stream.time_base = tick
            copy_raw_tag(encoder.stream, self._stream)
            self._container.start_encoding()
        self._tick = tick
        self._dts: int | None = None  # of the packet before, in ticks

    def write(self, frames: Sequence[Frame]) -> None:
        with translate_write_errors(self._path):
            self._mux(self._encoder.encode(frames))

    def finish(self) -> Segment:
        """Complete the file and make it durable under its name."""
        with translate_write_errors(self._path):
            self._mux(self._encoder.flush())
            self._container.close()
        self._encoder.close()
        segment = Segment(
            self._path.name, self._part.stat().st_size, sha256_of(self._part), self._encoder.end
        )
        replace_durably(self._part, self._path)
        return segment

    def close(self) -> None:
        """Throw the segment away."""
        self._encoder.close()
        with suppress(av.FFmpegError):
            self._container.close()
        self._part.unlink(missing_ok=True)

    def _mux(self, packets: Sequence[Packet[Any]]) -> None:
        for packet in packets:
            packet.stream, packet.time_base = self._stream, self._tick
            packet.pts = (packet.pts or 0) - self._encoder.start  # negative times are not allowed
            # x265 leaves dts uninitialized in segments of one or two frames. Here it need only
            # increase and be before pts: the join computes it for all segments.
            self._dts = packet.pts - _MAX_REORDER if self._dts is None else self._dts + 1
            packet.dts = self._dts if self._path.suffix == ".nut" else packet.pts
            self._container.mux_one(packet)
