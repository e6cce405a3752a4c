"""A film in pieces that outlive a crash: each closed and whole, joined without encoding again."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

import av
from av.packet import Packet

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import CheckpointStore, Commit, Snapshot
from filmgate.errors import FilmgateError
from filmgate.media.containers.open import writing
from filmgate.media.sinks import VideoOutput
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.writing.encoder import Encoder
from filmgate.media.writing.output_file import OutputFile, checked, tick_of
from filmgate.media.writing.segment_join import Segment, check_segment, joined
from filmgate.storage.atomic import synced

# NUT keeps any time base and the order of B-frames; what it has no name for goes into a mov.
_CONTAINERS: Mapping[str, str] = MappingProxyType({"prores": "mov"})
_DEPTH = 16  # frames; no codec reorders more
_PIECE = re.compile(r"\.?\d{6,}\.(nut|mov)")


class SegmentWriter:
    """A result that is written in pieces into a folder: every commit closes one and is durable.

    `keep` is told of each commit when its pieces are on disk; after the last one they are joined
    into the result, beside the other tracks, as Recording has them. `resume` is the place to go on
    from: the latest kept commit whose pieces are whole. Raises UserError before the first frame.
    """

    def __init__(
        self,
        keep: CheckpointStore,
        output: VideoOutput,
        spec: StreamSpec,
        origin: SourceMetadata,
        *,
        slow: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> None:
        self._keep, self._folder = keep, keep.path
        self._output, self._spec, self._origin = output, spec, origin
        self._slow, self._tags, self._threads = slow, tags or {}, threads
        self.path, self.tick = Path(output.path), tick_of(output, spec, origin)
        checked(output, origin)
        self._open: _Segment | None = None
        self._shown = 0  # where the film ends that can be watched already, in ticks
        encoder = self._encoder()
        try:
            trial = self._result(encoder)  # what can't be joined is told now
            self.dropped = trial.dropped
            trial.close()
        finally:
            encoder.close()
        self._pieces: tuple[Segment, ...] = ()
        self.resume: Snapshot | None = None
        self._go_on()

    def write(self, frames: Sequence[Frame]) -> None:
        """Takes the next frames; they may wait in the encoder."""
        if frames and self._open is None:
            kind = _CONTAINERS.get(self._output.coded, "nut")
            path = self._folder / f"{len(self._pieces) + 1:06}.{kind}"
            self._open = _Segment(path, self._encoder(), self.tick)
        if self._open is not None:
            self._open.write(frames)

    def commit(self, snapshot: Snapshot) -> None:
        """Closes the piece and keeps the snapshot; after the last one the result is joined."""
        if self._open is not None:
            self._pieces += (self._open.finish(),)
            self._open = None
        self._keep.keep(Commit(snapshot, self._pieces))
        if snapshot.state is None:
            self._join()
        elif self._keep.playable:
            self._show()

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._open is not None:
            self._open.close()

    def _go_on(self) -> None:
        """Takes the latest commit whose pieces are whole, and clears away what lies behind it."""
        for commit in self._keep.commits():
            try:
                for piece in commit.pieces:
                    check_segment(self._folder / piece.name, piece)
            except FilmgateError as error:
                self.dropped.append(f"{error}: goes on from before it")
                continue
            self._pieces, self.resume = commit.pieces, commit.snapshot
            break
        whole = {piece.name for piece in self._pieces}
        for entry in os.scandir(self._folder):
            ours = _PIECE.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if ours and entry.name not in whole:
                os.unlink(entry.path)

    def _join(self) -> None:
        encoder = self._encoder()
        result = self._result(encoder)
        try:
            result.write(joined(self._folder, self._pieces, encoder))
            result.finish(self._pieces[-1].end if self._pieces else 0)
        finally:
            encoder.close()
            result.close()

    def _show(self) -> None:
        """Makes a film of what is done so far, whenever that has grown by a quarter."""
        if not self._pieces or self._pieces[-1].end < self._shown * 1.25:
            return
        self._shown = end = self._pieces[-1].end
        path = self._folder / f"playable{self._output.suffix}"
        output = replace(self._output, path=path, overwrite=True)
        encoder = self._encoder()
        until = self._origin.offset + (end - encoder.start) * self.tick / (self._slow or 1)
        origin = replace(self._origin, until=min(until, self._origin.until or until))
        result = OutputFile(output, self._spec, encoder, origin, slow=self._slow, tags=self._tags)
        try:
            result.write(joined(self._folder, self._pieces, encoder))
            result.finish(end)
        finally:
            encoder.close()
            result.close()

    def _encoder(self) -> Encoder:
        return Encoder(self._output, self._spec, self.tick, self._origin, self._threads)

    def _result(self, encoder: Encoder) -> OutputFile:
        return OutputFile(self._output, self._spec, encoder, self._origin, slow=self._slow,
                      tags=self._tags, keep=self._keep)  # fmt: skip


class _Segment:
    """One piece being written: an encoder and a container of its own, hidden until it is whole."""

    def __init__(self, path: Path, encoder: Encoder, tick: Fraction) -> None:
        self._path, self._part, self._encoder = path, path.with_name(f".{path.name}"), encoder
        kind = path.suffix.removeprefix(".")
        with writing(path):
            self._container = av.open(
                os.path.abspath(self._part), "w", format=kind, options={"avoid_negative_ts": "0"}
            )
            self._stream = self._container.add_stream_from_template(encoder.stream)
            self._stream.time_base = tick
            self._container.start_encoding()
        self._tick = tick
        self._decoded: int | None = None  # when the packet before was, in ticks

    def write(self, frames: Sequence[Frame]) -> None:
        with writing(self._path):
            self._put(self._encoder.packets(frames))

    def finish(self) -> Segment:
        with writing(self._path):
            self._put(self._encoder.flush())
            self._container.close()
        self._encoder.close()
        with open(self._part, "rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size_bytes = file.seek(0, os.SEEK_END)
            os.fsync(file.fileno())
        os.replace(self._part, self._path)
        synced(self._path.parent)
        return Segment(self._path.name, size_bytes, digest, self._encoder.end)

    def close(self) -> None:
        self._encoder.close()
        with suppress(av.FFmpegError):
            self._container.close()
        self._part.unlink(missing_ok=True)

    def _put(self, packets: Sequence[Packet[Any]]) -> None:
        for packet in packets:
            packet.stream, packet.time_base = self._stream, self._tick
            packet.pts = (packet.pts or 0) - self._encoder.start  # none may be negative here
            # x265 leaves this time unset, with what lay in memory, in pieces of one or two frames.
            # It need only grow and lie before what is shown: when joined, all are stamped anew.
            self._decoded = packet.pts - _DEPTH if self._decoded is None else self._decoded + 1
            packet.dts = self._decoded if self._path.suffix == ".nut" else packet.pts
            self._container.mux_one(packet)
