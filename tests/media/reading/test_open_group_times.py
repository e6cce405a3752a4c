"""Videos cut at an open GOP whose times are those of decoding: frames are fewer than times."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from filmgate.media.sources import VideoFile
from tests.media.awkward import check_any_cursor, read_frames
from tests.media.reading.test_open_group import cut_video
from tests.videos import read_number


@pytest.mark.parametrize(
    ("codec", "suffix"), [("hevc", ".mkv"), ("h264_pyramid", ".mp4"), ("mpeg2", ".mkv")]
)
def test_frames_that_cannot_be_shown_take_their_times_with_them(
    codec: str, suffix: str, tmp_path: Path
) -> None:
    """Without these times, frames would come before their audio."""
    cut, path = cut_video(codec, suffix, tmp_path), tmp_path / f"grows{suffix}"
    with av.open(str(cut)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = [packet for packet in old.demux(video=0) if packet.size]
        for n, packet in enumerate(packets):
            packet.pts = packet.dts = round(n * Fraction(1, 25) / packet.time_base)
            packet.stream = stream
            new.mux(packet)
    reader = VideoFile(path).open(threads=2)
    frames = read_frames(reader)
    lost = len(packets) - len(frames)
    assert lost == reader.orphans > 0
    assert reader.offset == Fraction(lost, 25)
    assert [(read_number(f), f.time) for f in frames] == [
        (40 - len(frames) + n, Fraction(n, 25)) for n in range(len(frames))
    ]
    assert f"{lost} frames at the start left out" in str(frames[0].extras["notice"])
    assert read_frames(VideoFile(path, keep_going=True).open())[-1].time == frames[-1].time
    check_any_cursor(reader)
