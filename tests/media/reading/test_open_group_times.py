"""Videos cut at an open GOP whose times are those of decoding: frames are fewer than times."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet

from filmgate.errors import BadInput
from filmgate.media.sources import VideoFile
from tests.media.awkward import check_any_cursor, read_frames
from tests.media.reading.test_open_group import cut_video
from tests.videos import read_number


def store_decode_times(cut: Path, path: Path, damaged: int = -1) -> int:
    """Copy a video with times of decoding; return the number of packets, one of them damaged."""
    with av.open(str(cut)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        for n, packet in enumerate(packets):
            data = bytes(packet)
            copy: Packet[Any] = Packet(data[:6] + b"\xff" * len(data[6:]) if n == damaged else data)
            copy.stream, copy.time_base = stream, packet.time_base
            copy.is_keyframe, copy.duration = packet.is_keyframe, packet.duration
            copy.pts = copy.dts = round(n * Fraction(1, 25) / packet.time_base)
            new.mux(copy)
    return len(packets)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("hevc", ".mkv"), ("h264_pyramid", ".mp4"), ("mpeg2", ".mkv")]
)
def test_frames_that_cannot_be_shown_take_their_times_with_them(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    """Without these times, frames would come before their audio."""
    path = tmp_path / f"grows{suffix}"
    packets = store_decode_times(cut_video(codec, suffix, tmp_path), path)
    reader = VideoFile(path).open(threads=2)
    frames = read_frames(reader)
    lost = packets - len(frames)
    assert lost == reader.orphans > 0
    assert reader.offset == Fraction(lost, 25)
    assert [(read_number(f), f.time) for f in frames] == [
        (40 - len(frames) + n, Fraction(n, 25)) for n in range(len(frames))
    ]
    assert f"{lost} frames at the start left out" in str(frames[0].extras["notice"])
    assert read_frames(VideoFile(path, keep_going=True).open())[-1].time == frames[-1].time
    check_any_cursor(reader)


@pytest.mark.parametrize(("codec", "suffix"), [("hevc", ".mkv"), ("h264_pyramid", ".mp4")])
def test_damage_after_the_first_frames_is_never_taken_for_one_of_them(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    """Frames that are left out are only counted: a damaged one was among them."""
    path = tmp_path / f"damaged{suffix}"
    store_decode_times(cut_video(codec, suffix, tmp_path), path, damaged=13)
    with pytest.raises(BadInput, match=r"decoding after 0\.2\d\d s"):
        read_frames(VideoFile(path).open())
    frames = read_frames(VideoFile(path, keep_going=True).open())
    concealed = [frame for frame in frames if "concealed" in frame.extras]
    shown = [read_number(f) - f.time * 25 for f in frames if f not in concealed]
    assert concealed
    assert {round(place) for place in shown} == {round(shown[0])}
