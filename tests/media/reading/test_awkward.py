"""Awkward sources: other containers, trims, times that repeat or go back."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet

from filmgate.errors import BadSetting
from filmgate.media.sources import VideoFile
from tests import videos
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.media.awkward import MORE, check_any_cursor, read_frames, write_jpegs
from tests.media.conftest import FindVideo
from tests.videos import read_number

# Every container; what is only another codec or format of pixels is slow here.
OTHERS = [name for name in MORE if not name.startswith("fields")]
SAME_CONTAINER = {
    "mjpeg_avi",
    "mpeg2_ts",
    "hdr",
    "twelve_bits",
    "alpha_mkv",
    "odd_half",
    "flac",
    "mp3",
}


@pytest.mark.parametrize("name", mark_slow_cases({*OTHERS} - SAME_CONTAINER, OTHERS))
def test_other_containers_give_every_frame_with_its_exact_time(
    name: str, find_video: FindVideo
) -> None:
    reader = VideoFile(find_video(name)).open()
    kind = MORE[name]
    found = [(frame.time, frame.duration, read_number(frame)) for frame in read_frames(reader)]
    assert found == list(kind.shown)
    assert reader.spec.rate == (None if kind.times else 25)
    check_any_cursor(reader)


TRIMMED = ["even", "b_frames", "uneven", "uneven_mkv", "open_gop", "open_gop_mkv", "refreshed",
           "vp9", "hidden_start", "late_start_mkv", "fragments", "h264_avi", "mpeg4_avi", "h264_ts",
           "gif", "y4m", "nut"]  # fmt: skip
RANGES = [("0.11", "0.33", None), (None, "0.2", None), ("0.2", None, None), (None, None, 5),
          ("0.28", None, 1), ("0", "1000", 1000)]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "begin", "end", "count"),
    mark_slow_combinations(
        [*((name, RANGES[0]) for name in TRIMMED), *(("uneven", one) for one in RANGES[1:])],
        TRIMMED, RANGES,
    ),
)  # fmt: skip
def test_trim_keeps_exactly_the_frames_in_its_range(
    name: str, begin: str | None, end: str | None, count: int | None, find_video: FindVideo
) -> None:
    path = find_video(name)
    everything = VideoFile(path).open(threads=1)
    first, last = Fraction(begin or 0), Fraction(end or 10**6)
    seen = read_frames(everything)
    kept = [frame for frame in seen if first <= frame.time < last][:count]
    reader = VideoFile(
        path, start=Fraction(begin) if begin else None, end=Fraction(end) if end else None,
        max_frames=count,
    ).open()  # fmt: skip
    found = read_frames(reader)
    assert [read_number(f) for f in found] == [read_number(f) for f in kept]
    assert [(f.index, f.time, f.duration) for f in found] == [
        (n, f.time - kept[0].time, f.duration) for n, f in enumerate(kept)
    ]
    cut = kept[-1].index + 1 < len(seen)
    assert reader.spec.frames == len(kept)
    assert reader.metadata.trimmed
    assert reader.metadata.offset == reader.offset == everything.offset + kept[0].time
    assert reader.metadata.until == (everything.offset + kept[-1].end if cut else None)


@pytest.mark.parametrize("name", ["open_gop", "uneven_mkv", "refreshed", "h264_avi", "h264_ts"])
def test_trimmed_video_can_be_read_from_any_frame(name: str, find_video: FindVideo) -> None:
    check_any_cursor(
        VideoFile(find_video(name), start=Fraction("0.13"), end=Fraction("0.5")).open()
    )


def test_trim_after_the_end_is_refused_with_the_time_of_the_last_frame(
    find_video: FindVideo,
) -> None:
    with pytest.raises(BadSetting, match=r"no frame from 7\.000 s on: its last one is at 0\.440 s"):
        VideoFile(find_video("even"), start=Fraction(7)).open()
    with pytest.raises(BadSetting, match=r"no frame from 0\.121 s to 0\.159 s"):
        VideoFile(find_video("even"), start=Fraction("0.121"), end=Fraction("0.159")).open()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((0, 40, 80, 80, 160, 200), (0, 40, 80, 100, 160, 200)),
        ((0, 40, 80, 80, 80, 120, 160, 200), (0, 40, 80, 100, 120, 140, 160, 200)),
        ((0, 40, 120, 80, 160, 200), (0, 40, 120, 140, 160, 200)),
        ((900, 940, 980, 0, 40, 80), (0, 40, 80, 120, 160, 200)),
        ((900, 940, 980, 0, 40, 0, 800, 200), (0, 40, 80, 120, 160, 180, 920, 960)),
        ((0, 40, 9000, 9040), (0, 40, 9000, 9040)),
    ],
)
def test_repeated_and_backward_times_are_repaired(
    given: tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path
) -> None:
    reader = VideoFile(write_jpegs(tmp_path / "video.mkv", given)).open()
    found = read_frames(reader)
    assert [frame.time * 1000 for frame in found] == list(wanted)
    assert [read_number(frame) for frame in found] == list(range(len(given)))
    assert all(a.end == b.time for a, b in pairwise(found))
    assert found[-1].duration == Fraction(40, 1000)
    check_any_cursor(reader)


def test_each_kind_of_time_repair_is_reported_once(tmp_path: Path) -> None:
    times = (900, 940, 940, 980, 0, 40, 40, 80, 900, 0)
    found = read_frames(VideoFile(write_jpegs(tmp_path / "video.mkv", times)).open())
    notices = [(frame.index, frame.extras["notice"]) for frame in found if frame.extras]
    assert notices == [
        (2, "after 0.040 s a frame comes too early and is moved, as are later ones"),
        (4, ("after 0.080 s time jumps back by 0.980 s: it is continued there, as after later "
             "jumps, and audio with it")),
    ]  # fmt: skip


def test_trim_after_a_time_jump_uses_repaired_times(tmp_path: Path) -> None:
    path = write_jpegs(tmp_path / "video.mkv", (900, 940, 980, 0, 40, 80))
    reader = VideoFile(path, start=Fraction("0.16")).open()
    found = read_frames(reader)
    assert [read_number(frame) for frame in found] == [4, 5]
    assert "time jumps back" in str(found[0].extras["notice"])
    check_any_cursor(reader)


@pytest.mark.parametrize("keep_going", [False, True])
def test_concatenated_captures_are_one_video(
    keep_going: bool, find_video: FindVideo, tmp_path: Path
) -> None:
    path = tmp_path / "both.ts"
    path.write_bytes(2 * find_video("h264_ts").read_bytes())
    reader = VideoFile(path, keep_going=keep_going).open()
    found = read_frames(reader)
    assert [read_number(frame) for frame in found] == [n % 40 for n in range(80)]
    assert [frame.time * 25 for frame in found] == list(range(80))
    assert [frame.index for frame in found if frame.extras] == [40]
    part = VideoFile(path, start=Fraction(45, 25), max_frames=5, keep_going=keep_going).open()
    assert [read_number(frame) for frame in read_frames(part)] == list(range(5, 10))


def test_avi_with_two_frames_in_one_packet(tmp_path: Path) -> None:
    """ "Packed B-frames", as DivX wrote them: an empty image follows, to keep the count."""
    kind = videos.Video(
        codec="mpeg4", suffix=".avi", tick=Fraction(1, 25),
        options={"bf": "1", "g": "100", "b_strategy": "0"},
    )  # fmt: skip
    with av.open(str(videos.make(kind, tmp_path / "plain.avi"))) as container:
        plain = [bytes(p) for p in container.demux(video=0) if p.size]
    at, empty = plain[0].index(b"\0\0\1\xb6"), b"\0\0\1\xb6\x50\x80\0"
    packed = [plain[0][:at] + b"\0\0\1\xb2DivX503b1393p\0" + plain[0][at:]]
    for first, second in zip(plain[1::2], plain[2::2], strict=False):
        packed += [first + second, empty]
    packed += plain[-1:]
    path = tmp_path / "packed.avi"
    with av.open(str(path), "w") as out:
        stream = out.add_mux_stream("mpeg4", width=64, height=48, rate=25)
        for n, data in enumerate(packed):
            packet: Packet[Any] = Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = n
            packet.is_keyframe = n == 0
            out.mux(packet)
    reader = VideoFile(path).open()
    assert [read_number(frame) for frame in read_frames(reader)] == list(range(12))
    assert [frame.time * 25 for frame in read_frames(reader)] == list(range(12))
    check_any_cursor(reader)
