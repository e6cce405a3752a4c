"""Write a video in closed segments that survive a crash, and join them at the end."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
from av.packet import Packet

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import CheckpointStore, Commit, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.containers.open import translate_write_errors
from filmgate.media.options import EncodeOptions
from filmgate.media.writing.encoder import Encoder, copy_raw_tag
from filmgate.media.writing.output_file import OutputFile, check_output, choose_tick
from filmgate.media.writing.segment_join import Segment, check_segment, join_segments
from filmgate.storage.atomic import replace_durably
from filmgate.storage.fingerprint import sha256_of

# NUT keeps any time base and the order of B-frames. Codecs that it has no name for use mov.
_CONTAINERS: Mapping[str, str] = MappingProxyType({"prores": "mov"})
_MAX_REORDER = 16  # frames, of any codec
_SEGMENT_NAME = re.compile(r"\.?\d{6,}\.(nut|mov)")


class SegmentWriter:
    """An opened video output that is written in segments; each commit closes one.

    `checkpoints` stores a commit when its segments are durable. After the last one the segments
    are joined to the output, with other streams as `VideoWriter` copies them. `resume` is the
    latest stored commit whose segments are intact. Raises UserError before the first frame.
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
        encoder = self._make_encoder()
        try:
            trial = self._make_output(encoder)  # raises now what the join would raise
            self.dropped = trial.dropped
            trial.close()
        finally:
            encoder.close()
        self._segments: tuple[Segment, ...] = ()
        self.resume: Snapshot | None = None
        self._resume()

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames; they may wait in the encoder."""
        if frames and self._open is None:
            container = _CONTAINERS.get(self._options.codec, "nut")
            path = self._folder / f"{len(self._segments) + 1:06}.{container}"
            self._open = _OpenSegment(path, self._make_encoder(), self.tick)
        if self._open is not None:
            self._open.write(frames)

    def commit(self, snapshot: Snapshot) -> None:
        """Close the segment and store the snapshot; after the last one, join the segments."""
        if self._open is not None:
            self._segments += (self._open.finish(),)
            self._open = None
        self._checkpoints.save(Commit(snapshot, self._segments))
        if snapshot.state is None:
            self._join(self._make_encoder())
        elif self._checkpoints.playable:
            self._write_playable()

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *error: object) -> None:
        if self._open is not None:
            self._open.close()

    def _resume(self) -> None:
        """Choose the latest commit whose segments are intact; delete the segments after it."""
        commit = self._checkpoints.choose(self._verify)
        if commit is not None:
            self._segments, self.resume = commit.pieces, commit.snapshot
        kept = {segment.name for segment in self._segments}
        for entry in os.scandir(self._folder):
            ours = _SEGMENT_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if ours and entry.name not in kept:
                os.unlink(entry.path)

    def _verify(self, segments: tuple[Segment, ...]) -> None:
        for segment in segments:
            check_segment(self._folder / segment.name, segment)

    def _join(self, encoder: Encoder) -> None:
        result = self._make_output(encoder)
        try:
            result.write(join_segments(self._folder, self._segments, encoder))
            result.finish(self._segments[-1].end if self._segments else 0)
        finally:
            encoder.close()
            result.close()

    def _write_playable(self) -> None:
        """Write a preview of the video so far, whenever it has grown by a quarter."""
        if not self._segments or self._segments[-1].end < self._playable_end * 1.25:
            return
        self._playable_end = end = self._segments[-1].end
        path = self._folder / f"playable{self._options.suffix}"
        options = replace(self._options, path=path, overwrite=True)
        encoder = self._make_encoder()
        duration = (end - encoder.start) * self.tick / (self._time_scale or 1)
        until = self._source.offset + duration
        source = replace(self._source, until=min(until, self._source.until or until))
        result = OutputFile(
            options, self._spec, encoder, source, time_scale=self._time_scale, tags=self._tags
        )
        try:
            result.write(join_segments(self._folder, self._segments, encoder))
            result.finish(end)
        finally:
            encoder.close()
            result.close()

    def _make_encoder(self) -> Encoder:
        return Encoder(self._options, self._spec, self.tick, self._source, self._threads)

    def _make_output(self, encoder: Encoder) -> OutputFile:
        return OutputFile(
            self._options,
            self._spec,
            encoder,
            self._source,
            time_scale=self._time_scale,
            tags=self._tags,
            checkpoints=self._checkpoints,
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
