"""Write frames to a video file in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import FileSink
from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.containers.open import translate_write_errors
from filmgate.media.options import EncodeOptions
from filmgate.media.writing.encoder import Encoder
from filmgate.media.writing.output_file import (
    OutputFile,
    check_output,
    choose_tick,
    make_loss_watch,
)


class VideoWriter(FileSink):
    """An opened video output that is written in one go and cannot be resumed.

    Frames are Planes as in `spec`. Other streams (`time_scale` times as long; None: only those
    without times), chapters, metadata, rotation, pixel aspect and start come from `source`. `tags`
    are added to the metadata; `dropped` names what is not copied. It leaves no file unless it is
    published. Raises UserError before the first frame.
    """

    def __init__(
        self,
        options: EncodeOptions,
        spec: StreamSpec,
        source: SourceMetadata,
        *,
        time_scale: Fraction | None = Fraction(1),
        tags: Mapping[str, str] | None = None,
        threads: int = 2,
        run_name: str = "",
    ) -> None:
        self.path, self.tick = options.path, choose_tick(options, spec, source)
        check_output(options, source)
        self._encoder = Encoder(options, spec, self.tick, source, threads)
        self._result = OutputFile(
            options,
            spec,
            self._encoder,
            source,
            time_scale=time_scale,
            tags=tags or {},
            run_name=run_name,
        )
        self.dropped = self._result.dropped
        self._watch = make_loss_watch(options, spec)

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames; they may wait in the encoder."""
        self.dropped = [*self.dropped, *self._watch.check(frames)]
        with translate_write_errors(self.path):
            packets = self._encoder.encode(frames)
        self._result.write(packets)

    def complete(self) -> Path | None:
        """Complete the file and make it durable."""
        with translate_write_errors(self.path):
            packets = self._encoder.flush()
        self._result.write(packets)
        path = self._result.complete(self._encoder.end)
        late = [text for text in self._result.dropped if text not in self.dropped]
        self.dropped = [*self.dropped, *late]
        self.is_complete = self._result.is_complete
        return path

    def publish(self) -> None:
        """Give the complete file its name."""
        self._result.publish()

    def finish(self) -> None:
        """Complete the file and give it its name."""
        self.complete()
        self.publish()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._encoder.close()
        self._result.close()
