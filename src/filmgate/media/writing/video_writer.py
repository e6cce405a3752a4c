"""Frames as a file: a result that appears under its name only when whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import Snapshot
from filmgate.media.containers.open import writing
from filmgate.media.sinks import VideoOutput
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.writing.encoder import Encoder
from filmgate.media.writing.output_file import OutputFile, checked, tick_of


class VideoWriter:
    """A result being written in one go.

    `spec` is what arrives: Planes of `spec.pixels`. `origin` gives the other tracks (`slow` times
    as long; None: none that has times), chapters, metadata, rotation, pixel aspect and place in
    time. `tags` are added; `dropped` says in words what is not carried. Left without its
    last commit, it leaves nothing behind. Raises UserError before the first frame.
    """

    resume: Snapshot | None = None  # there is nothing to go on from

    def __init__(
        self,
        output: VideoOutput,
        spec: StreamSpec,
        origin: SourceMetadata,
        *,
        slow: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
    ) -> None:
        self.path, self.tick = Path(output.path), tick_of(output, spec, origin)
        checked(output, origin)
        self._encoder = Encoder(output, spec, self.tick, origin, threads)
        self._result = OutputFile(output, spec, self._encoder, origin, slow=slow, tags=tags or {})
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

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._encoder.close()
        self._result.close()
