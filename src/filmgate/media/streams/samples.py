"""Read the first packets of streams, to try an output with them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream

from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.audio.tempo import encode_audio
from filmgate.media.containers.open import open_source
from filmgate.media.streams.description import has_decoder
from filmgate.media.streams.packets import DAMAGE, get_time
from filmgate.media.streams.trial import REFUSALS, StreamTrial, decode_seconds, read_seconds

_PACKETS = 32  # of each stream
_STREAM_BYTES = 4_000_000  # of each stream; the first packet may be larger
_SECONDS = Fraction(10)  # from the first packet on; a stream may have none
_READ_BYTES = 64_000_000  # of all streams


@dataclass(frozen=True, slots=True)
class Sample:
    """The first packets of a stream; `seconds` of them can be decoded, if it is audio."""

    packets: Sequence[Packet[Any]] = ()
    seconds: Fraction = Fraction(0)


def read_samples(source: SourceMetadata, streams: Sequence[Stream]) -> dict[int, Sample]:
    """Return samples of the source's `streams` by index, without packets after damage."""
    found: dict[int, list[Packet[Any]]] = {s.index: [] for s in streams}
    with open_source(source) as container:
        _read(container, found)
        seconds = {
            s.index: decode_seconds(s, found[s.index])
            for s in container.streams.audio
            if s.index in found and has_decoder(s)
        }
    return {n: Sample(packets, seconds.get(n, Fraction(0))) for n, packets in found.items()}


def fits_encoded(suffix: str, source: SourceMetadata, stream: AudioStream, codec: str) -> bool:
    """Whether the first packets of `stream` can be re-encoded for the container."""
    samples: dict[int, list[Packet[Any]]] = {stream.index: []}
    try:
        file = io.BytesIO()
        trial = StreamTrial(suffix, stream, codec, file)
        assert isinstance(trial.stream, AudioStream)
        with open_source(source) as container:
            _read(container, samples)
            decoded = next(s for s in container.streams.audio if s.index == stream.index)
            complete = SourceMetadata(path=source.path)
            packets = encode_audio(
                samples[stream.index], decoded, trial.stream, complete, Fraction(1), lambda _: None
            )
            if not all(trial.accepts(packet) for packet in packets) or not trial.finish():
                return False
            return not samples[stream.index] or read_seconds(file, suffix) > 0
    except REFUSALS:
        return False


def _read(container: Any, samples: dict[int, list[Packet[Any]]]) -> None:
    """Add packets to `samples` until each stream has enough, or the bounds are reached."""
    tabled = "mov" in container.format.name  # streams are found by tables: no need to read others
    read = [s for s in container.streams if s.index in samples or not tabled]
    missing = {s.index for s in read if s.index in samples and s.type != "attachment"}
    begin: Fraction | None = None
    sizes, total = dict.fromkeys(samples, 0), 0
    try:
        for packet in container.demux(read) if missing else ():
            index, time = packet.stream.index, get_time(packet)
            if begin is None:
                begin = time
            total += packet.size
            late = time is not None and begin is not None and time > begin + _SECONDS
            if late or total > _READ_BYTES:
                return
            if index not in missing or not packet.size:
                continue
            if begin is not None and begin < 0:  # an mp4 hides what is before 0
                _shift(packet, -begin)
            samples[index].append(packet)
            sizes[index] += packet.size
            if len(samples[index]) >= _PACKETS or sizes[index] > _STREAM_BYTES:
                missing.discard(index)
                if not missing:
                    return
    except DAMAGE:
        return


def _shift(packet: Packet[Any], seconds: Fraction) -> None:
    """Move the times of a packet."""
    ticks = round(seconds / packet.time_base)
    packet.pts = None if packet.pts is None else packet.pts + ticks
    packet.dts = None if packet.dts is None else packet.dts + ticks
