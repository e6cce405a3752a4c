"""Audio of another file in place of the source's, from the first frame of the output on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.audio.reader import find_audio
from filmgate.media.containers.open import open_source
from filmgate.media.options import StreamOptions
from filmgate.media.streams.copied_streams import CopiedStreams
from filmgate.media.streams.output_streams import add_stream
from filmgate.media.streams.selection import choose_streams
from filmgate.media.streams.time_mapping import TimeMapping

INDEX = -1  # of this audio among the streams that an output cannot hold


class ReplacedAudio:
    """The best audio of a file, copied or re-encoded as `options` says.

    `messages` tell what is changed or left out. Call `add` before the output's header is written,
    and `start` after it.
    """

    def __init__(
        self, path: Path, suffix: str, video: VideoStream, options: StreamOptions, stack: ExitStack
    ) -> None:
        self._suffix = suffix
        self._input = stack.enter_context(open_source(SourceMetadata(path=path, is_audio=True)))
        self._stream = find_audio(path, self._input)
        tick = self._stream.time_base or Fraction(1)
        self._source = SourceMetadata(path=path, is_audio=True, stream=INDEX, trimmed=True,
                                      offset=(self._stream.start_time or 0) * tick)  # fmt: skip
        chosen = choose_streams(suffix, video, [self._stream], self._source, Fraction(1),
                                StreamOptions(audio=options.audio))  # fmt: skip
        self._codecs, self.messages = chosen.kept, chosen.messages
        self._outputs: dict[int, Stream] = {}
        self._copied: CopiedStreams | None = None

    def add(self, container: OutputContainer) -> None:
        """Add its stream to an output."""
        for index, codec in self._codecs.items():
            self._outputs[index] = add_stream(container, self._suffix, self._stream, codec)

    def start(self) -> None:
        """Begin to read packets."""
        mapping = TimeMapping(self._source)
        parts = self._outputs, self._codecs, mapping
        self._copied = CopiedStreams(self._input, self._suffix, *parts)

    def read_until(self, until: Fraction) -> Iterator[Packet[Any]]:
        """Yield the next packets up to `until` seconds."""
        if self._copied is not None and self._outputs:
            yield from self._copied.read_until(until)

    def finish(self) -> dict[int, str]:
        """Return its description under INDEX if its stream cannot be completed."""
        failed = self._copied.finish() if self._copied else {}
        return _describe(failed.values(), self._source)

    def describe(self) -> dict[int, str]:
        """Return its description under INDEX, if it has packets."""
        named = self._copied.describe() if self._copied else {}
        return _describe(named.values(), self._source)


def _describe(names: Iterable[str], source: SourceMetadata) -> dict[int, str]:
    text = ", ".join(names)
    return {INDEX: f"{text} of {source.path}"} if text else {}
