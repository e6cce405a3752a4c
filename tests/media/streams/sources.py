"""Small videos with audio of any codec, and with faults in their other streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.audio.stream import AudioStream

from tests import videos

CLICKS = (0.25, 0.75)  # seconds


def make_video(
    path: Path,
    codecs: Sequence[str] = ("aac",),
    *,
    layout: str = "stereo",
    rate: int = 48_000,
    sample_format: str = "",
    timecode: str = "",
) -> Path:
    """Write a video of 1 s with an audio stream of each codec: a click at each of CLICKS."""
    contents = codecs, layout, rate, sample_format, timecode
    return videos.write_once(path, contents, lambda: _encode(path, *contents))


def _encode(
    path: Path, codecs: Sequence[str], layout: str, rate: int, sample_format: str, timecode: str
) -> None:
    kind = videos.Video(frames=25, suffix=path.suffix)
    if path.suffix in (".ts", ".m2ts", ".avi"):
        kind = videos.Video(frames=25, codec="mpeg2video", options={}, tick=Fraction(1, 25),
                            suffix=path.suffix)  # fmt: skip
    options = {"mpegts_m2ts_mode": "1"} if path.suffix == ".m2ts" else {}
    with av.open(str(path), "w", container_options=options) as out:
        video = videos._add_video(out, kind)
        if timecode:
            video.metadata["timecode"] = timecode
        sounds = []
        for codec in codecs:
            stream = out.add_stream(codec, rate)
            assert isinstance(stream, AudioStream)
            stream.layout, stream.bit_rate = layout, 128_000
            if sample_format:
                stream.format = sample_format
            sounds.append(stream)
        out.start_encoding()
        videos._write_frames(out, video, kind)
        for stream in sounds:
            _write_clicks(out, stream, layout, rate)


def make_wave(rate: int, seconds: float = 1) -> npt.NDArray[np.float32]:
    """Return mono audio with a click of 10 ms at each of CLICKS."""
    wave = np.zeros(round(rate * seconds), np.float32)
    length = rate // 100
    for click in CLICKS:
        at = round(click * rate)
        wave[at : at + length] = np.sin(np.arange(length) * 0.4) * np.hanning(length) * 0.8
    return wave


def _write_clicks(out: Any, stream: AudioStream, layout: str, rate: int) -> None:
    wave, channels = make_wave(rate), av.AudioLayout(layout).nb_channels
    resampler = av.AudioResampler(stream.format.name, layout, rate)
    for at in range(0, len(wave), 480):
        samples = np.repeat(wave[at : at + 480], channels)[None]
        frame = av.AudioFrame.from_ndarray(samples, "flt", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
        for part in resampler.resample(frame):
            out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def read_samples(path: Path, index: int = 0) -> npt.NDArray[np.float32]:
    """Return the first channel of audio stream `index`, from -1 to 1, as it is stored."""
    convert = av.AudioResampler("flt")  # packed: PyAV cannot read eight planes
    with av.open(str(path)) as container:
        frames = [_to_float(frame, convert) for frame in container.decode(audio=index)]
    return np.concatenate(frames) if frames else np.zeros(0, np.float32)


def find_clicks(path: Path, index: int = 0) -> list[float]:
    """Return the times of clicks in audio stream `index`, in seconds after the first frame."""
    found: list[float] = []
    convert = av.AudioResampler("flt")
    with av.open(str(path)) as container:
        begin = next(container.decode(video=0))
        assert begin.pts is not None
        offset = float(begin.pts * Fraction(begin.time_base or 1))
    with av.open(str(path)) as container:
        for frame in container.decode(audio=index):
            assert frame.pts is not None
            start = float(frame.pts * Fraction(frame.time_base or 1)) - offset
            for at in np.flatnonzero(np.abs(_to_float(frame, convert)) > 0.25):
                time = start + at / frame.sample_rate
                if not found or time - found[-1] > 0.1:
                    found.append(time)
    return found


def _to_float(frame: av.AudioFrame, convert: av.AudioResampler) -> npt.NDArray[np.float32]:
    channels = frame.layout.nb_channels
    parts = [part.to_ndarray() for part in convert.resample(frame)]
    return np.asarray(np.concatenate(parts, axis=1).reshape(-1, channels)[:, 0], np.float32)


def list_times(path: Path, kind: str = "audio") -> list[Fraction]:
    """Return the decoding times of the first stream of a kind, in seconds, as they are stored."""
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams if s.type == kind)
        return [Fraction(p.dts or 0) * p.time_base for p in container.demux(stream) if p.size]


def change_pes(
    path: Path, kind: str, change: Callable[[int, int], int], output: Path | None = None
) -> Path:
    """Change the times of a kind of stream in a transport stream, in ticks of 90 kHz.

    `change` gets the number of the packet and its time, and returns the new one.
    """
    first, last = {"audio": (0xC0, 0xDF), "video": (0xE0, 0xEF)}[kind]
    data, count = bytearray(path.read_bytes()), 0
    for at in range(0, len(data), 188):
        if not data[at + 1] & 0x40:  # no packet starts here
            continue
        skip = 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
        pes = at + skip
        if data[pes : pes + 3] != b"\0\0\1" or not first <= data[pes + 3] <= last:
            continue
        stamps = (pes + 9, pes + 14) if data[pes + 7] & 0x40 else (pes + 9,)
        for stamp in stamps if data[pes + 7] & 0x80 else ():
            _write_stamp(data, stamp, change(count, _read_stamp(data, stamp)))
        count += 1
    assert count
    target = output or path
    target.write_bytes(bytes(data))
    return target


def _read_stamp(data: bytearray, at: int) -> int:
    a, b, c = data[at], int.from_bytes(data[at + 1 : at + 3]), int.from_bytes(data[at + 3 : at + 5])
    return (a >> 1 & 7) << 30 | b >> 1 << 15 | c >> 1


def _write_stamp(data: bytearray, at: int, time: int) -> None:
    data[at] = data[at] & 0xF1 | (time >> 30 & 7) << 1
    data[at + 1 : at + 3] = ((time >> 15 & 0x7FFF) << 1 | 1).to_bytes(2)
    data[at + 3 : at + 5] = ((time & 0x7FFF) << 1 | 1).to_bytes(2)


def hide_codec(path: Path) -> Path:
    """Give the last track of a mov, which is AAC, a codec that FFmpeg has no decoder for."""
    data = path.read_bytes()
    at = data.rindex(b"stsd") + 16
    rest = data[at + 4 :].replace(b"mp4a", b"apac").replace(b"esds", b"dapa")
    path.write_bytes(data[:at] + b"apac" + rest)
    return path
