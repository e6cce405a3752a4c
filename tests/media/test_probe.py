"""Probing: contents of a file, and where its first frame and audio are."""

from fractions import Fraction
from pathlib import Path

import pytest

from filmgate.media.probe import find_audio_start, probe, read_frame_times
from filmgate.media.sources import VideoFile
from tests.media.conftest import FindVideo
from tests.videos import VIDEOS, Video, make


def test_probe_lists_streams_chapters_and_metadata(find_video: FindVideo) -> None:
    found = probe(find_video("rich"))
    assert [(t.index, t.kind, t.codec, t.language) for t in found.streams] == [
        (0, "video", "h264", "deu"), (1, "audio", "aac", "fra"), (2, "audio", "opus", "fra"),
        (3, "subtitle", "subrip", "eng"), (4, "attachment", "font.ttf", None),
    ]  # fmt: skip
    assert (found.best, found.streams[1].sample_rate, found.streams[1].channels) == (0, 48000, 1)
    assert [(c.start, c.end, c.metadata["title"]) for c in found.chapters] == [
        (0, Fraction(1, 5), "part 0"), (Fraction(1, 5), Fraction(2, 5), "part 1"),
    ]  # fmt: skip
    assert found.size_bytes == find_video("rich").stat().st_size
    assert found.metadata["MY_OWN_KEY"] == "kept"


def test_probe_reads_rotation_unless_only_the_header_is_read(find_video: FindVideo) -> None:
    image = probe(find_video("turned")).streams[0].video
    assert image is not None
    assert (image.width, image.height, image.rotation) == (64, 48, 90)
    quick = probe(find_video("turned"), header=True).streams[0].video
    assert quick is not None
    assert quick.rotation is None


def test_audio_only_file_can_be_probed(find_video: FindVideo) -> None:
    found = probe(find_video("mute.mp4"))
    assert (found.best, [t.kind for t in found.streams]) == (None, ["audio"])


@pytest.mark.parametrize(
    ("suffix", "changes", "codecs"),
    [
        (".mkv", {b"V_MPEG4/ISO/AVC": b"V_WHAT4/ISO/AVC"}, ["unknown", "aac"]),
        (".mkv", {b"A_AAC": b"A_WOW"}, ["h264", "unknown"]),
        (".mkv", {b"A_AAC": b"A_WOW", b"V_MPEG4/ISO/AVC": b"V_WHAT4/ISO/AVC"}, ["unknown"] * 2),
        (".mp4", {b"avc1": b"zzz1", b"avcC": b"zzzC"}, ["unknown", "aac"]),
        (".mp4", {b"mp4a": b"apac", b"esds": b"zzzz"}, ["h264", "unknown"]),
    ],
)
def test_streams_that_cannot_be_decoded_are_shown(
    suffix: str, changes: dict[bytes, bytes], codecs: list[str], tmp_path: Path
) -> None:
    path = make(Video(frames=3, sounds=("aac",), suffix=suffix), tmp_path / f"video{suffix}")
    data = path.read_bytes()
    for old, new in changes.items():
        assert old in data
        data = data.replace(old, new)
    path.write_bytes(data)
    found = probe(path)
    assert [stream.codec for stream in found.streams] == codecs
    video, audio = found.streams
    assert (found.best is None, video.video is None) == (codecs[0] == "unknown",) * 2
    assert (audio.sample_rate is None) == (codecs[1] == "unknown")


@pytest.mark.parametrize(
    ("name", "offset"),
    [("even", Fraction(0)), ("late_start", Fraction(1, 2)), ("late_start_mkv", Fraction(1, 2)),
     ("hidden_start", Fraction(0))],
)  # fmt: skip
def test_video_time_starts_at_zero_and_offset_is_its_container_time(
    name: str, offset: Fraction, find_video: FindVideo
) -> None:
    assert VideoFile(find_video(name)).open().offset == offset
    shown = [(time, duration) for time, duration, _ in VIDEOS[name].shown]
    assert list(read_frame_times(find_video(name))) == shown


def test_start_of_audio_is_found(find_video: FindVideo) -> None:
    assert find_audio_start(find_video("late_start")) == 0
    assert find_audio_start(find_video("rich"), index=2) is not None
    assert find_audio_start(find_video("even")) is None
