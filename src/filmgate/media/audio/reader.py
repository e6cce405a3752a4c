"""Audio as a source: seconds of sound, one channel at 16 kHz, as networks for speech take it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import Cursor
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadInput
from filmgate.media.containers.open import open_container, translate_errors

SAMPLE_RATE = 16_000
PIXELS = "audio"  # the pixel format of frames that hold samples
_DAMAGE = (av.FFmpegError, ValueError)
_MOST_DAMAGED = 1000  # packets in a row after which the rest of the file is not tried


@dataclass(frozen=True, slots=True)
class AudioReader:
    """A file of audio whose frames are its seconds: arrays (n,) float32 in [-1, 1].

    Samples are rounded to 16 bits. The last second may be shorter. Damaged packets are left out.
    """

    path: Path

    @contextmanager
    def check(self) -> Iterator[AudioReader]:
        """Yield this reader if the file has audio. Raises BadInput."""
        with closing(self.iter_seconds()) as seconds:
            if next(seconds, None) is None:
                raise BadInput(f"{self.path} has audio without a single sample: pass another file")
        yield self

    @property
    def spec(self) -> StreamSpec:
        """A stream without images, one frame a second."""
        return StreamSpec(width=0, height=0, rate=Fraction(1), time_base=Fraction(1, SAMPLE_RATE),
                          pixels=PIXELS, dtype="float32")  # fmt: skip

    @property
    def metadata(self) -> SourceMetadata:
        """Where the audio is."""
        return SourceMetadata(path=self.path, is_audio=True)

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """See `core.job.Source.read`. Audio before the cursor is decoded again, and dropped."""
        held, start = list[Frame](), cursor.index if cursor else 0
        for n, samples in enumerate(self.iter_seconds()):
            if n < start:
                continue
            held.append(Frame(n, Fraction(n), Fraction(len(samples), SAMPLE_RATE), samples))
            if (n + 1) % size == 0:
                yield held, Cursor(n + 1, (n + 1) * SAMPLE_RATE)
                held = []
        if held:
            after = held[-1].index + 1
            yield held, Cursor(after, after * SAMPLE_RATE)

    def iter_seconds(self) -> Generator[npt.NDArray[np.float32], None, None]:
        """Yield the samples of each second. Raises BadInput for a file without audio."""
        parts, count = list[npt.NDArray[np.float32]](), 0
        with open_container(self.path, audio=True) as container:
            for part in _resample(container, find_audio(self.path, container), self.path):
                parts.append(part)
                count += len(part)
                while count >= SAMPLE_RATE:
                    joined = np.concatenate(parts)
                    yield joined[:SAMPLE_RATE]
                    parts, count = [joined[SAMPLE_RATE:]], count - SAMPLE_RATE
        if count:
            yield np.concatenate(parts)


def find_audio(path: Path, container: InputContainer) -> AudioStream:
    """Return the best audio stream that can be decoded. Raises BadInput."""
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream) or not stream.codec_context:
        streams = ", ".join(f"{s.index}: {s.type}" for s in container.streams) or "nothing"
        raise BadInput(f"{path} has no audio that can be decoded: it has {streams}. Pass a file "
                       "with speech")  # fmt: skip
    return stream


def _resample(
    container: InputContainer, stream: AudioStream, path: Path
) -> Iterator[npt.NDArray[np.float32]]:
    resampler: AudioResampler | None = None
    form: tuple[object, ...] = ()
    for frame in _decode(container, stream, path):
        found = frame.format.name, frame.sample_rate, frame.layout.name
        if found != form:  # the first, or the format changes in the middle
            if resampler is not None:
                yield from map(_to_floats, resampler.resample(None))
            resampler, form = AudioResampler("s16", "mono", SAMPLE_RATE), found
        frame.pts = None  # gaps and jumps in the times are not filled
        assert resampler is not None
        with translate_errors(path, "resampling its audio"):
            parts = resampler.resample(frame)
        yield from map(_to_floats, parts)
    if resampler is not None:
        yield from map(_to_floats, resampler.resample(None))


def _decode(container: InputContainer, stream: AudioStream, path: Path) -> Iterator[Any]:
    """Yield decoded frames, past damaged packets."""
    damaged = 0
    packets = container.demux(stream)
    while damaged < _MOST_DAMAGED:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = stream.decode(packet)
        except _DAMAGE:
            damaged += 1
            continue
        damaged = 0
        yield from frames
    with suppress(*_DAMAGE):
        yield from stream.decode(None)


def _to_floats(frame: Any) -> npt.NDArray[np.float32]:
    return frame.to_ndarray().ravel().astype(np.float32) / 32768  # type: ignore[no-any-return]
