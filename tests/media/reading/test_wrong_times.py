"""Times that are not those of frames: of decoding, equal ones, and ones before 0."""

from collections.abc import Callable
from fractions import Fraction as F
from pathlib import Path

import av
import pytest

import filmgate as fg
from filmgate.backends import inline
from filmgate.media.sources import VideoFile
from filmgate.quality.verify import check
from tests.media.old_videos import OldVideo, make_old
from tests.videos import read_number

REORDERED = OldVideo("libx264", options={"preset": "veryfast", "bf": "2", "g": "9"}, audio="ac3")


def remux(source: Path, out: Path, retime: Callable[[int, F], tuple[F, F]]) -> Path:
    """Copy the video; `retime` gets number and pts of a packet and returns pts and dts."""
    with av.open(str(source)) as old, av.open(str(out), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for n, packet in enumerate(p for p in old.demux(video=0) if p.size):
            assert packet.pts is not None
            pts, dts = retime(n, packet.pts * packet.time_base)
            packet.time_base = F(1, 12800)
            packet.pts, packet.dts = round(pts * 12800), round(dts * 12800)
            packet.stream = stream
            new.mux(packet)
    return out


def read(path: Path) -> list[fg.Frame]:
    return [
        frame for frames, _ in VideoFile(path).open(threads=2).read(None, 5) for frame in frames
    ]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "nut"])
def test_times_of_decoding_are_put_in_order(suffix: str, tmp_path: Path) -> None:
    """As by programs that know no reordering: frames were refused as damaged."""
    source = make_old(REORDERED, tmp_path / "a.mkv")
    path = remux(source, tmp_path / f"b.{suffix}", lambda n, _: (n / F(25), n / F(25)))
    frames = read(path)
    assert [(read_number(f), f.time) for f in frames] == [(n, n / F(25)) for n in range(20)]
    (late, _), *_ = VideoFile(path, start=F(1, 2)).open().read(None, 1)
    assert read_number(late[0]) == 13


def test_a_video_with_times_of_decoding_is_resumed_at_any_frame(tmp_path: Path) -> None:
    """With open groups: a decoder that starts at a key frame leaves out the frames before it."""
    options = {"preset": "ultrafast", "x265-params": "keyint=6:min-keyint=6:bframes=2:open-gop=1:"
               "scenecut=0:log-level=none"}  # fmt: skip
    source = make_old(OldVideo("libx265", options=options), tmp_path / "a.mkv")
    path = remux(source, tmp_path / "b.mp4", lambda n, _: (n / F(25), n / F(25)))
    read_all = list(VideoFile(path).open().read(None, 1))
    assert len(read_all) == 20
    for n in (5, 8, 13):
        rest = [f for frames, _ in VideoFile(path).open().read(read_all[n][1], 1) for f in frames]
        assert [(f.index, f.time) for f in rest] == [(k, k / F(25)) for k in range(n + 1, 20)]


def test_one_repeated_time_does_not_make_times_those_of_decoding(tmp_path: Path) -> None:
    source = make_old(REORDERED, tmp_path / "a.mkv")

    def retime(n: int, pts: F) -> tuple[F, F]:
        return (F(7, 25) if pts == F(8, 25) else pts) + F(1, 5), n / F(25)

    path = remux(source, tmp_path / "b.mkv", retime)
    frames = read(path)
    assert [read_number(frame) for frame in frames] == list(range(20))
    with VideoFile(path).open() as reader:
        assert reader.decode_delay is None


def test_a_time_that_two_reordered_frames_share_loses_none(tmp_path: Path) -> None:
    source = make_old(REORDERED, tmp_path / "a.mkv")
    shared = F(6, 25)

    def retime(n: int, pts: F) -> tuple[F, F]:
        return (shared if pts == F(8, 25) else pts) + F(1, 5), n / F(25)

    frames = read(remux(source, tmp_path / "b.mkv", retime))
    assert [read_number(frame) for frame in frames] == list(range(20))
    assert "comes too early and is moved" in str([f.extras.get("notice") for f in frames])


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_recording_across_the_largest_time_is_complete(suffix: str, tmp_path: Path) -> None:
    """A transport stream counts to 2 ** 33; FFmpeg starts it before 0, which an mp4 hides."""
    source = make_old(REORDERED, tmp_path / "a.ts")
    path = tmp_path / "b.ts"
    shift = (1 << 33) - 90000 * 2
    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        for packet in old.demux():
            if packet.size and packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    assert VideoFile(path).open().offset < 0
    out = tmp_path / f"out.{suffix}"
    list(inline.run(fg.Job(VideoFile(path), fg.VideoOutput(out, "ffv1" if suffix == "mkv" else
                                                           "h264"))))  # fmt: skip
    assert len(read(out)) == 20
    report = check(out, path)
    assert report.ok, report.findings
