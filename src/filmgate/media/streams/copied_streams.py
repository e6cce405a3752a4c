"""The other streams of an output while it is written: only packets that it can hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from filmgate.media.streams.copy import copy_packets
from filmgate.media.streams.description import describe_stream
from filmgate.media.streams.growing_times import GrowingTimes
from filmgate.media.streams.output_container import allows_equal_times, is_mp4
from filmgate.media.streams.packets import get_time
from filmgate.media.streams.report import CopyReport
from filmgate.media.streams.time_mapping import TimeMapping
from filmgate.media.streams.trial import StreamTrial


@dataclass(frozen=True, slots=True)
class _Output:
    """A stream of the output. `trial`: None for audio that is re-encoded."""

    source: Stream
    stream: Stream
    times: GrowingTimes
    trial: StreamTrial | None


class CopiedStreams:
    """Packets of the source's other streams for an output whose header is written.

    `outputs` are its streams by index of the source's; `codecs` those that are converted. Packets
    that the container cannot hold are left out, and times are moved so that they grow: `report`
    has both.
    """

    def __init__(
        self,
        input: InputContainer,
        suffix: str,
        outputs: Mapping[int, Stream],
        codecs: Mapping[int, str | None],
        mapping: TimeMapping,
    ) -> None:
        self.report = CopyReport()
        self._outputs: dict[int, _Output] = {}
        for index, stream in outputs.items():
            if stream.type == "attachment":
                continue
            source, codec = input.streams[index], codecs[index]
            encoded = codec is not None and isinstance(source, AudioStream)
            times = GrowingTimes(stream.time_base or Fraction(1), allows_equal_times(suffix))
            trial = None if encoded else StreamTrial(suffix, source, codec)
            self._outputs[stream.index] = _Output(source, stream, times, trial)
        self._packets = copy_packets(input, outputs, codecs, mapping, is_mp4(suffix), self.report)
        self._next = next(self._packets, None)

    @property
    def has_more(self) -> bool:
        """Whether any packet is left."""
        return self._next is not None

    def read_until(self, until: Fraction | None) -> Iterator[Packet[Any]]:
        """Yield the next packets up to `until` seconds; all for None."""
        while self._next is not None:
            packet = self._next
            time = get_time(packet)
            if until is not None and time is not None and time > until:
                return
            if self._prepare(packet):
                yield packet
            self._next = next(self._packets, None)

    def finish(self) -> dict[int, str]:
        """Return the streams that cannot be completed: descriptions by index of the source's."""
        return {
            output.source.index: describe_stream(output.source)
            for output in self._outputs.values()
            if output.trial is not None and not output.trial.finish()
        }

    def describe(self) -> dict[int, str]:
        """Return descriptions of all streams with packets, by index of the source's."""
        return {o.source.index: describe_stream(o.source) for o in self._outputs.values()}

    def _prepare(self, packet: Packet[Any]) -> bool:
        """Set the packet's times; return whether the container takes it."""
        output = self._outputs[packet.stream.index]
        time, name = get_time(packet), describe_stream(output.source)
        if output.times.apply(packet):
            self.report.move(name, get_time(packet) or Fraction(0))
        if output.trial is None:
            return True
        if output.trial.accepts(packet):
            packet.stream = output.stream
            return True
        self.report.refuse(name, time or Fraction(0))
        return False
