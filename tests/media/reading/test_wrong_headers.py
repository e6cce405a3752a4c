"""Headers, tags and endings that are wrong, as editors and recorders leave them."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest

from filmgate.errors import BadInput, Unsupported
from filmgate.media.sources import VideoFile
from tests.media.awkward import MORE, read_frames
from tests.media.conftest import FindVideo
from tests.videos import GOP, UNEVEN, Video, make, read_number

TICK = Fraction(1, 1000)


def lengthen_matroska(path: Path, seconds: float) -> None:
    """Write another length into the header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"\x44\x89\x88") + 3  # a double of milliseconds
    data[at : at + 8] = struct.pack(">d", 1000 * seconds)
    path.write_bytes(data)


def lengthen_avi(path: Path, frames: int) -> None:
    """Write another number of frames into both headers, and take the index away."""
    data = bytearray(path.read_bytes())
    for kind, place in ((b"avih", 16), (b"strh", 32)):
        at = data.index(kind) + 8 + place
        data[at : at + 4] = frames.to_bytes(4, "little")
    data[data.rindex(b"idx1") : data.rindex(b"idx1") + 4] = b"JUNK"
    path.write_bytes(data)


@pytest.mark.parametrize("keep_going", [False, True])
@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_length_in_the_header_that_is_longer_gets_a_notice(
    suffix: str, keep_going: bool, tmp_path: Path
) -> None:
    codec, options = ("libvpx", {"cpu-used": "8"}) if suffix == ".webm" else ("libx264", GOP)
    spec = Video(frames=40, suffix=suffix, codec=codec, options=options, tick=TICK)
    path = make(spec, tmp_path / f"video{suffix}")
    lengthen_matroska(path, 4000)
    frames = read_frames(VideoFile(path, keep_going=keep_going).open())
    assert [read_number(frame) for frame in frames] == list(range(40))
    notice = str(frames[-1].extras["notice"])
    assert notice.startswith("the video may be truncated: it ends after 1.5")
    assert notice.endswith("its header says 4000.000 s")
    assert not any("concealed" in frame.extras for frame in frames)
    trimmed = VideoFile(path, keep_going=keep_going, end=Fraction(1)).open()
    assert not any(frame.extras for frame in read_frames(trimmed))


def test_last_frame_does_not_last_as_long_as_a_header_says(tmp_path: Path) -> None:
    path = make(Video(times=UNEVEN, suffix=".mkv", tick=TICK), tmp_path / "video.mkv")
    right = read_frames(VideoFile(path).open())[-1].duration
    with av.open(str(path)) as source, av.open(str(tmp_path / "cut.mkv"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.metadata["DURATION"] = "01:59:59.000000000"
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    data = (tmp_path / "cut.mkv").read_bytes()
    at = data.index(b"DURATION\x44\x87") + 11  # the muxer wrote the right one
    (tmp_path / "cut.mkv").write_bytes(data[:at] + b"01:59:59" + data[at + 8 :])
    found = VideoFile(tmp_path / "cut.mkv").open()
    assert found.declared_end is not None
    assert found.declared_end >= 7199
    assert read_frames(found)[-1].duration <= max(right, Fraction(1))


@pytest.mark.parametrize("frames", [40, 4_000_000_000])
def test_number_of_frames_in_an_avi_that_is_too_large_gets_a_notice(
    frames: int, tmp_path: Path
) -> None:
    path = make(MORE["mpeg4_avi"], tmp_path / "video.avi")
    lengthen_avi(path, frames)
    reader = VideoFile(path).open()
    assert reader.spec.frames in range(1, 101)
    found = read_frames(reader)
    assert [read_number(frame) for frame in found] == list(range(20))
    assert f"its header says {frames} frames and it has 20" in str(found[0].extras["notice"])


def test_chunk_of_an_avi_that_is_no_frame_any_more_is_damage(
    find_video: FindVideo, tmp_path: Path
) -> None:
    data, path = find_video("mpeg4_avi").read_bytes(), tmp_path / "video.avi"
    at = data.index(b"00dc", data.index(b"movi") + 100)
    for kind in (b"00ec", b"10dc", b"p0dc"):
        path.write_bytes(data[:at] + kind + data[at + 4 :])
        with pytest.raises(
            BadInput, match=r"its header says 20 frames and it has 19.*--keep-going"
        ):
            VideoFile(path).open()


def test_fragmented_mp4_that_is_shorter_than_its_header_is_refused(tmp_path: Path) -> None:
    cut = make(
        Video(frames=100, options=GOP, container={"movflags": "frag_keyframe+empty_moov"}),
        tmp_path / "fragments.mp4",
    )
    data = cut.read_bytes()
    cut.write_bytes(data[: data.rindex(b"moof") - 4 + 100])
    with pytest.raises(BadInput, match=r"truncated: .* pass --keep-going"):
        VideoFile(cut).open()


def test_gif_without_a_trailer_is_read_with_a_notice(find_video: FindVideo, tmp_path: Path) -> None:
    data, path = find_video("gif").read_bytes(), tmp_path / "video.gif"
    path.write_bytes(data[:-1])
    frames = read_frames(VideoFile(path).open())
    intact = read_frames(VideoFile(find_video("gif")).open())
    assert [(f.time, f.duration) for f in frames] == [(f.time, f.duration) for f in intact]
    assert frames[0].extras == {
        "notice": "the video may be truncated or damaged: it has no trailer"
    }
    for less in (2, 3, 30):
        path.write_bytes(data[:-less])
        with pytest.raises(BadInput, match=r"truncated: at least .* pass --keep-going"):
            VideoFile(path).open()


STALE = [
    {"NUMBER_OF_FRAMES": "20000000000"},
    {"NUMBER_OF_FRAMES": "20000000000", "DURATION": "99:59:59.000000000"},
    {"NUMBER_OF_FRAMES": "9" * 5000},
    {"NUMBER_OF_FRAMES": "many", "NUMBER_OF_BYTES": "-1"},
    {"NUMBER_OF_FRAMES": "-5", "DURATION": "1e999999:00:00"},
    {"NUMBER_OF_FRAMES": "1", "DURATION": "nan:nan:nan"},
    {"NUMBER_OF_FRAMES": "\u0664\u0665", "DURATION": "::"},
]


@pytest.mark.parametrize("tags", STALE)
def test_tags_are_hints_whatever_they_say(tags: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    make(Video(frames=90, suffix=".mkv", tick=TICK, options=GOP), tmp_path / "complete.mkv")
    with (
        av.open(str(tmp_path / "complete.mkv")) as source,
        av.open(str(path), "w", options={}) as out,
    ):
        stream = out.add_stream_from_template(source.streams.video[0])
        stream.metadata.update(tags)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)
    reader = VideoFile(path).open()
    assert reader.spec.frames is None or 1 <= reader.spec.frames <= 8 * 90
    assert reader.duration is None or 0 < reader.duration < 30
    assert len(read_frames(reader)) == 90


def test_right_number_of_frames_is_believed(tmp_path: Path) -> None:
    for name, times in (("even", ()), ("uneven", UNEVEN)):
        path = make(Video(suffix=".mkv", tick=TICK, times=times), tmp_path / f"{name}.mkv")
        with av.open(str(path)) as source, av.open(str(tmp_path / "out.mkv"), "w") as out:
            stream = out.add_stream_from_template(source.streams.video[0])
            stream.metadata["NUMBER_OF_FRAMES"] = "12"
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    out.mux(packet)
        assert VideoFile(tmp_path / "out.mkv").open().spec.frames == 12


def test_stream_without_a_decoder_is_chosen_only_by_its_index(tmp_path: Path) -> None:
    path = make(Video(suffix=".mkv", tick=TICK, second=True), tmp_path / "video.mkv")
    data = path.read_bytes()
    first = data.index(b"V_MPEG4/ISO/AVC")
    larger = data.index(b"V_MPEG4/ISO/AVC", first + 1)
    path.write_bytes(data[:larger] + b"V_APAC9" + data[larger + 7 :])
    reader = VideoFile(path).open()
    assert (reader.stream, reader.spec.width, reader.spec.height) == (0, 64, 32)
    with pytest.raises(Unsupported, match="FFmpeg has no decoder for its video stream 1"):
        VideoFile(path, 1).open()
    path.write_bytes(data[:first] + b"V_APAC9" + data[first + 7 :])
    assert VideoFile(path).open().stream == 1
