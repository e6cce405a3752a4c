"""Audio as a source: seconds of one channel at 16 kHz, whatever the file has."""

import wave
from fractions import Fraction as F
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from filmgate.core.snapshot import Cursor
from filmgate.errors import BadInput
from filmgate.media.audio.audio_file import AudioFile
from filmgate.media.audio.reader import AudioReader
from tests.videos import Video, make


def save_wav(path: Path, seconds: float, rate: int = 16_000, channels: int = 1) -> Path:
    tone = 8000 * np.sin(np.arange(int(rate * seconds)) * 2 * np.pi * 440 / rate)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(np.repeat(tone[:, None], channels, 1).astype("<i2").tobytes())
    return path


def encode(source: Path, path: Path, codec: str, rate: int) -> Path:
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream(codec, rate)
        assert isinstance(stream, AudioStream)
        stream.layout = "mono"
        for frame in old.decode(audio=0):
            new.mux(stream.encode(frame))
        new.mux(stream.encode(None))
    return path


def test_seconds_of_a_wav_are_its_samples(tmp_path: Path) -> None:
    path = save_wav(tmp_path / "a.wav", 2.5)
    with AudioFile(path).open() as reader:
        chunks = list(reader.read(None, 2))
    frames = [frame for frames, _ in chunks for frame in frames]
    assert [len(frames) for frames, _ in chunks] == [2, 1]
    times = [(f.index, f.time, f.duration) for f in frames]
    assert times == [(0, F(0), F(1)), (1, F(1), F(1)), (2, F(2), F(1, 2))]
    samples = np.concatenate([np.asarray(frame.image) for frame in frames])
    with wave.open(str(path)) as file:
        stored = np.frombuffer(file.readframes(99_999), "<i2")
    assert np.array_equal(samples, stored / np.float32(32768))
    with AudioFile(path).open() as reader:
        ((late, _),) = reader.read(Cursor(2, 32_000), 8)
    assert np.array_equal(np.asarray(late[0].image), np.asarray(frames[2].image))


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1)])
def test_other_rates_and_channels_are_converted(tmp_path: Path, rate: int, channels: int) -> None:
    reader = AudioReader(save_wav(tmp_path / "a.wav", 1.0, rate, channels))
    samples = np.concatenate(list(reader.iter_seconds()))
    assert len(samples) == pytest.approx(16_000, abs=20)
    wanted = 8000 / 32768 * np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000)
    middle = slice(1000, 15_000)
    assert np.abs(samples[middle] - wanted[middle]).max() < 0.01


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("flac", "flac"),
        ("mp3", "mp3"),
        ("aac", "aac"),
        ("aiff", "pcm_s16be"),
        ("ogg", "libopus"),
        ("m4a", "aac"),
    ],
)
def test_every_format_that_is_named_is_read(tmp_path: Path, suffix: str, codec: str) -> None:
    source = save_wav(tmp_path / "a.wav", 1.0, 48_000)
    path = encode(source, tmp_path / f"a.{suffix}", codec, 48_000)
    samples = np.concatenate(list(AudioReader(path).iter_seconds()))
    assert len(samples) == pytest.approx(16_000, abs=1700)
    assert np.abs(samples).max() == pytest.approx(8000 / 32768, abs=0.08)


def test_audio_of_a_video_is_read_and_a_video_without_is_refused(tmp_path: Path) -> None:
    loud = make(Video(frames=25, sounds=("aac",)), tmp_path / "loud.mp4")
    assert sum(map(len, AudioReader(loud).iter_seconds())) == pytest.approx(16_000, abs=4000)
    silent = make(Video(frames=2), tmp_path / "silent.mp4")
    with pytest.raises(BadInput, match=r"silent\.mp4 has no audio.*0: video"):
        AudioFile(silent).open().__enter__()


@pytest.mark.parametrize("data", [b"", b"no audio at all", b"RIFF\x04\0\0\0WAVE", b"\xff\xfbno"])
def test_files_that_are_no_audio_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "speech.wav"
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"speech\.wav"):
        AudioFile(path).open().__enter__()


def test_damage_in_the_middle_is_left_out(tmp_path: Path) -> None:
    source = save_wav(tmp_path / "a.wav", 2.0)
    path = encode(source, tmp_path / "a.flac", "flac", 16_000)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(600)
    path.write_bytes(data)
    samples = np.concatenate(list(AudioReader(path).iter_seconds()))
    assert 16_000 < len(samples) < 32_100
