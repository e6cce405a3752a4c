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
from tests.media.awkward import MORE, check_seek_is_read, frames, pictures
from tests.media.conftest import Reel
from tests.videos import number_of


@pytest.mark.parametrize("name", [name for name in MORE if not name.startswith("fields")])
def test_other_containers_give_every_frame_with_its_exact_time(name: str, shelf: Reel) -> None:
    film = VideoFile(shelf(name)).open()
    kind = MORE[name]
    found = [(frame.time, frame.duration, number_of(frame)) for frame in frames(film)]
    assert found == list(kind.shown)
    assert film.spec.rate == (None if kind.times else 25)
    check_seek_is_read(film)


@pytest.mark.parametrize(
    "name",
    ["even", "b_frames", "uneven", "uneven_mkv", "open_gop", "open_gop_mkv", "refreshed", "vp9",
     "hidden_start", "late_start_mkv", "fragments", "h264_avi", "mpeg4_avi", "h264_ts", "gif",
     "y4m", "nut"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("begin", "end", "count"),
    [(None, "0.2", None), ("0.11", "0.33", None), ("0.2", None, None), (None, None, 5),
     ("0.28", None, 1), ("0", "1000", 1000)],
)  # fmt: skip
def test_a_trim_keeps_exactly_the_frames_whose_times_lie_in_it(
    name: str, begin: str | None, end: str | None, count: int | None, shelf: Reel
) -> None:
    path = shelf(name)
    everything = VideoFile(path).open()
    first, last = Fraction(begin or 0), Fraction(end or 10**6)
    seen = frames(everything)
    kept = [frame for frame in seen if first <= frame.time < last][:count]
    film = VideoFile(
        path, from_=Fraction(begin) if begin else None, to=Fraction(end) if end else None,
        frames=count,
    ).open()  # fmt: skip
    found = frames(film)
    assert [number_of(f) for f in found] == [number_of(f) for f in kept]
    assert [(f.index, f.time, f.duration) for f in found] == [
        (n, f.time - kept[0].time, f.duration) for n, f in enumerate(kept)
    ]
    cut = kept[-1].index + 1 < len(seen)
    assert film.spec.frames == len(kept)
    assert film.origin.trimmed
    assert film.origin.offset == film.offset == everything.offset + kept[0].time
    assert film.origin.until == (everything.offset + kept[-1].end if cut else None)


@pytest.mark.parametrize("name", ["open_gop", "uneven_mkv", "refreshed", "h264_avi", "h264_ts"])
def test_a_trimmed_film_can_be_read_from_anywhere(name: str, shelf: Reel) -> None:
    check_seek_is_read(VideoFile(shelf(name), from_=Fraction("0.13"), to=Fraction("0.5")).open())


def test_a_trim_beyond_the_end_is_told_with_the_film_s_length(shelf: Reel) -> None:
    with pytest.raises(BadSetting, match=r"no frame from 7\.000 s on: its last one .* 0\.440 s"):
        VideoFile(shelf("even"), from_=Fraction(7)).open()
    with pytest.raises(BadSetting, match=r"no frame from 0\.121 s to 0\.159 s"):
        VideoFile(shelf("even"), from_=Fraction("0.121"), to=Fraction("0.159")).open()


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
def test_times_that_repeat_or_go_back_are_put_right(
    given: tuple[int, ...], wanted: tuple[int, ...], tmp_path: Path
) -> None:
    film = VideoFile(pictures(tmp_path / "film.mkv", given)).open()
    found = frames(film)
    assert [frame.time * 1000 for frame in found] == list(wanted)
    assert [number_of(frame) for frame in found] == list(range(len(given)))
    assert all(a.end == b.time for a, b in pairwise(found))
    assert found[-1].duration == Fraction(40, 1000)
    check_seek_is_read(film)


def test_what_was_put_right_is_noted_once_for_each_kind(tmp_path: Path) -> None:
    times = (900, 940, 940, 980, 0, 40, 40, 80, 900, 0)
    found = frames(VideoFile(pictures(tmp_path / "film.mkv", times)).open())
    noted = [(frame.index, frame.extras["noted"]) for frame in found if frame.extras]
    assert noted == [
        (2, "after 0.040 s a picture comes too early and is moved, as are later ones"),
        (4, ("after 0.080 s time jumps back by 0.980 s: the film goes on there, as it does after "
             "later jumps; sound may be off from here")),
    ]  # fmt: skip


def test_a_trim_behind_a_jump_counts_time_as_the_whole_film_does(tmp_path: Path) -> None:
    path = pictures(tmp_path / "film.mkv", (900, 940, 980, 0, 40, 80))
    film = VideoFile(path, from_=Fraction("0.16")).open()
    found = frames(film)
    assert [number_of(frame) for frame in found] == [4, 5]
    assert "time jumps back" in str(found[0].extras["noted"])
    check_seek_is_read(film)


@pytest.mark.parametrize("keep_going", [False, True])
def test_captures_that_were_strung_together_are_one_film(
    keep_going: bool, shelf: Reel, tmp_path: Path
) -> None:
    path = tmp_path / "both.ts"
    path.write_bytes(2 * shelf("h264_ts").read_bytes())
    film = VideoFile(path, keep_going=keep_going).open()
    found = frames(film)
    assert [number_of(frame) for frame in found] == [n % 40 for n in range(80)]
    assert [frame.time * 25 for frame in found] == list(range(80))
    assert [frame.index for frame in found if frame.extras] == [40]
    part = VideoFile(path, from_=Fraction(45, 25), frames=5, keep_going=keep_going).open()
    assert [number_of(frame) for frame in frames(part)] == list(range(5, 10))


def test_an_avi_may_hold_two_pictures_in_one_packet(tmp_path: Path) -> None:
    """ "Packed B-frames", as DivX wrote them: an empty picture follows, to keep the count."""
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
    film = VideoFile(path).open()
    assert [number_of(frame) for frame in frames(film)] == list(range(12))
    assert [frame.time * 25 for frame in frames(film)] == list(range(12))
    check_seek_is_read(film)
