"""Times rounded or moved by a few milliseconds, as screen recorders and some muxers write them."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random
from typing import Any

import av
import pytest
from av.packet import Packet
from av.stream import Stream

from filmgate.errors import BadInput
from filmgate.media.reading.pending_frames import PendingFrames
from filmgate.media.sources import VideoFile
from tests.cases import mark_slow_cases
from tests.media.awkward import check_any_cursor, read_frames
from tests.videos import GOP, Video, make, read_number

VP9 = {"deadline": "realtime", "cpu-used": "8"}
MS = Fraction(1, 1000)


def retime(path: Path, source: Path, change: Callable[[int, int], int], step: int = 40) -> Path:
    """Copy a video of 25 frames a second; `change` gets number and ms of a packet, returns ms."""
    options = {"avoid_negative_ts": "disabled"}
    with av.open(str(source)) as old, av.open(str(path), "w", options=options) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for n, packet in enumerate(p for p in old.demux(video=0) if p.size):
            assert packet.pts is not None
            ms = round(packet.pts * packet.time_base * 1000)
            packet.time_base, packet.duration = MS, step
            packet.pts, packet.dts = change(n, ms), step * n - 9000
            packet.stream = stream
            new.mux(packet)
    return path


def write_source(folder: Path, suffix: str = ".mkv") -> Path:
    codec = {"codec": "libvpx-vp9", "options": VP9} if suffix == ".webm" else {"options": GOP}
    return make(Video(frames=20, suffix=suffix, tick=MS, **codec), folder / f"source{suffix}")


@pytest.mark.parametrize(
    ("suffix", "early"), [(".mkv", 1), (".mkv", 130), (".webm", 45)]
)  # fmt: skip
def test_frames_before_0_in_matroska_have_no_time_and_come_first(
    suffix: str, early: int, tmp_path: Path
) -> None:
    """Such a video was refused; of VP9 the only key frame could not be sought either."""
    path = retime(tmp_path / f"a{suffix}", write_source(tmp_path, suffix), lambda n, ms: ms - early)
    with av.open(str(path)) as container:
        assert next(container.demux(video=0)).pts is None
    reader = VideoFile(path).open()
    assert [(read_number(f), f.time) for f in read_frames(reader)] == [
        (n, Fraction(n, 25)) for n in range(20)
    ]
    assert reader.offset == -early * MS
    check_any_cursor(reader)
    late = read_frames(VideoFile(path, start=Fraction(2, 5)).open())
    assert [read_number(frame) for frame in late] == list(range(10, 20))


@pytest.mark.parametrize("shift", [-41, 9])
def test_times_of_decoding_that_step_back_a_little_are_still_those(
    shift: int, tmp_path: Path
) -> None:
    path = retime(
        tmp_path / "a.mkv", write_source(tmp_path), lambda n, _: 50 + 40 * n + shift * (n % 5 == 0)
    )
    reader = VideoFile(path).open()
    assert reader.decode_delay == 0
    frames = read_frames(reader)
    assert [read_number(frame) for frame in frames] == list(range(20))
    assert all(abs(f.time - frames[0].time - Fraction(f.index, 25)) < 2 * MS + 0.041
               for f in frames)  # fmt: skip
    check_any_cursor(reader)


def jitter(source: Path, path: Path, seed: int, step: int, most: int) -> Path:
    """Copy a video to frames `step` ms apart, each time off by 0 or `most`; no two are equal."""
    random, used = Random(seed), set[int]()

    def choose(_: int, ms: int) -> int:
        even = 200 + ms * step // 40
        time = even + random.choice((-most, 0, most))
        while time in used:
            time += 1
        used.add(time)
        return time

    return retime(path, source, choose, step=step)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("jitter"))


JITTERS = [(suffix, seed, step, most) for suffix in (".mkv", ".mp4", ".nut")
           for seed in (2, 3, 4, 5) for step, most in ((10, 6), (3, 2), (40, 21))]  # fmt: skip


each_jitter = pytest.mark.parametrize(
    ("suffix", "seed", "step", "most"),
    mark_slow_cases([case for case in JITTERS if case[1:] == (5, 10, 6)], JITTERS),
)


@each_jitter
def test_jittered_frames_are_all_read_from_any_cursor(
    suffix: str, seed: int, step: int, most: int, source: Path, tmp_path: Path
) -> None:
    """A frame timed before the keyframe that it follows was lost."""
    path = jitter(source, tmp_path / f"a{suffix}", seed, step, most)
    frames = check_any_cursor(VideoFile(path).open(threads=1), every=True)
    assert [read_number(frame) for frame in frames] == list(range(20))
    assert any("comes too early" in str(frame.extras.get("notice")) for frame in frames)


@each_jitter
def test_jittered_frames_are_trimmed_by_the_times_they_are_shown_at(
    suffix: str, seed: int, step: int, most: int, source: Path, tmp_path: Path
) -> None:
    """Times of packets in order are not those of frames: a frame at the start or end was lost."""
    path = jitter(source, tmp_path / f"a{suffix}", seed, step, most)
    frames = read_frames(VideoFile(path).open(threads=1))
    numbers = [(frame.time, read_number(frame)) for frame in frames]
    trims: list[tuple[dict[str, Any], list[tuple[Fraction, int]]]] = [
        ({"start": frame.time}, numbers[frame.index :]) for frame in frames
    ]
    for moved in (frame.index for frame in frames if frame.extras):
        trims.append(({"max_frames": moved}, numbers[:moved]))
        trims.append(({"end": numbers[moved][0]}, numbers[:moved]))
    for trim, kept in trims:
        part = read_frames(VideoFile(path, **trim).open(threads=1))
        assert [(frame.time + kept[0][0], read_number(frame)) for frame in part] == kept


def test_frames_nearer_than_the_error_of_their_times_are_all_shown(tmp_path: Path) -> None:
    """Frames 2 ms apart, each time off by up to 2 ms: a frame shown late was taken for lost."""
    random = Random(1)
    path = retime(
        tmp_path / "a.mkv",
        write_source(tmp_path),
        lambda _, ms: 100 + ms // 20 + random.choice((-2, -1, 0, 1, 2)),
        step=2,
    )
    frames = read_frames(VideoFile(path).open())
    assert [read_number(frame) for frame in frames] == list(range(20))
    assert "comes too early and is moved" in str([f.extras.get("notice") for f in frames])


def test_a_frame_lost_among_near_ones_is_found_a_few_frames_later() -> None:
    pending = PendingFrames(MS, from_keyframe=True)
    for n in range(5):
        packet: Packet[Stream] = Packet(b"x")
        packet.pts, packet.time_base = 2 * n, MS
        pending.add(packet)
    found = [[f.pts for f in pending.match(pts, strict=False)[0]] for pts in (0, 4, 6, 8)]
    assert found == [[], [], [], [2]]


def test_a_video_in_which_no_frame_has_a_time_starts_at_0(tmp_path: Path) -> None:
    path = retime(tmp_path / "a.mkv", write_source(tmp_path), lambda n, ms: ms - 5000)
    reader = VideoFile(path).open()
    assert [(read_number(f), f.time) for f in read_frames(reader)] == [
        (n, Fraction(n, 25)) for n in range(20)
    ]
    assert reader.offset == 0


def test_more_frames_without_a_time_than_are_held_are_refused_when_one_has_a_time(
    tmp_path: Path,
) -> None:
    """They were shown from 0 on, and all later ones too late for the audio."""
    source = make(Video(frames=40, suffix=".mkv", tick=MS, options=GOP), tmp_path / "source.mkv")
    reader = VideoFile(retime(tmp_path / "a.mkv", source, lambda n, ms: ms - 1400)).open(threads=1)
    with pytest.raises(BadInput, match=r"which take 1\.400 s, and 0\.000 s for the next one"):
        read_frames(reader)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_frames_that_are_not_reordered_can_be_sought_however_near_they_are(
    suffix: str, tmp_path: Path
) -> None:
    """One pair of near frames would have each resume and --start decode all before it."""
    plain = make(
        Video(frames=20, suffix=".mkv", tick=MS, options={**GOP, "bf": "0"}), tmp_path / "a.mkv"
    )
    path = retime(tmp_path / f"b{suffix}", plain, lambda n, ms: ms - 37 * (n % 7 == 4))
    reader = VideoFile(path).open(threads=1)
    assert [read_number(frame) for frame in check_any_cursor(reader)] == list(range(20))
    reader = VideoFile(path, start=Fraction(2, 5)).open(threads=1)
    assert reader.seekable
    assert [read_number(frame) for frame in check_any_cursor(reader)] == list(range(10, 20))
