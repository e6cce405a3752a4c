"""Streams with faults never end a run: they are repaired or left out, and reported."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

import filmgate as fg
from filmgate.core.events import Done, Warned
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.streams import trial
from filmgate.media.streams.growing_times import GrowingTimes
from filmgate.media.writing.muxer import Muxer
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.media.streams.copying import copy
from tests.media.streams.sources import (
    CLICKS,
    change_pes,
    find_clicks,
    hide_codec,
    list_times,
    make_video,
    read_samples,
)
from tests.media.writing.test_segment_writer import Run

CONTAINERS = (".mp4", ".mov", ".mkv", ".webm", ".nut")
# Changes of the audio's times, by number of the packet: in ticks of 90 kHz; and where the clicks
# are in the result.
FAULTS: dict[str, tuple[Callable[[int, int], int], tuple[float, float]]] = {
    "stand still": (lambda n, time: 20_000 if n > 10 else time, CLICKS),
    "step back a little": (lambda n, time: time - 2500 if n == 20 else time, CLICKS),
    "step back": (lambda n, time: 20_000 - time // 2 if n > 10 else time, CLICKS),
    "jump back": (lambda n, time: time - 54_000 if n > 34 else time, CLICKS),
    "jump far and return": (lambda n, time: time + 3_000_000 if n == 20 else time, CLICKS),
    "jump absurdly far": (lambda n, time: time + (1 << 32) if n > 20 else time, CLICKS),
    "jump far": (lambda n, time: time + 1_800_000 if n > 20 else time, (CLICKS[0], 20.75)),
}
QUICK = [("stand still", ".mp4"), ("step back", ".webm"), ("jump back", ".nut"),
         ("step back a little", ".mov"), ("jump far and return", ".mkv"), ("jump far", ".mp4"),
         ("stand still", ".mkv")]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "suffix"), mark_slow_combinations(QUICK, list(FAULTS), CONTAINERS)
)
def test_times_of_audio_grow_whatever_those_of_the_source_do(
    fault: str, suffix: str, tmp_path: Path
) -> None:
    change, clicks = FAULTS[fault]
    video = change_pes(make_video(tmp_path / "in.ts"), "audio", change)
    out = tmp_path / f"out{suffix}"
    sink = copy(VideoFile(video), VideoOutput(out))
    assert sink.is_complete
    assert find_clicks(out) == pytest.approx(clicks, abs=0.012)
    times = list_times(out)
    assert all(before < after for before, after in pairwise(times))
    if suffix != ".webm":  # encoded audio has other packets
        assert len(times) == len(list_times(video))
    said = any("stream 1 (aac audio): times step back at" in text for text in sink.dropped)
    assert said == ("stand" in fault or fault.startswith("step back"))


@pytest.mark.parametrize(
    ("codec", "origin", "suffix", "time_scale"),
    mark_slow_combinations(
        [
            ("aac", ".ts", ".mp4", Fraction(1)),
            ("aac", ".ts", ".webm", Fraction(1)),
            ("pcm_bluray", ".m2ts", ".mkv", Fraction(2)),
        ],
        [("aac", ".ts"), ("mp2", ".ts"), ("pcm_bluray", ".m2ts")],
        CONTAINERS,
        [Fraction(1), Fraction(2)],
    ),
)
def test_audio_follows_the_video_where_recordings_are_appended(
    codec: str, origin: str, suffix: str, time_scale: Fraction, tmp_path: Path
) -> None:
    part = make_video(tmp_path / f"part{origin}", [codec])
    video, out = tmp_path / f"in{origin}", tmp_path / f"out{suffix}"
    video.write_bytes(3 * part.read_bytes())
    copy(VideoFile(video), VideoOutput(out), time_scale)
    # encoded audio is corrected from 20 ms on, as its samples are counted
    limit = 0.04 if time_scale != 1 else 0.02 if suffix == ".webm" else 4e-3
    single = find_clicks(part)
    wanted = [float((n + Fraction(click)) * time_scale) for n in range(3) for click in single]
    assert find_clicks(out) == pytest.approx(wanted, abs=limit)
    times = list_times(out)
    assert all(before < after for before, after in pairwise(times))


def test_audio_that_starts_again_before_the_video_does_follows_it(tmp_path: Path) -> None:
    """The audio of the second part is stored before its video, and a second earlier in time."""
    part = make_video(tmp_path / "part.ts")
    sounds: list[bytes] = []
    images: list[bytes] = []
    data = part.read_bytes()
    for at in range(0, len(data), 188):
        pid = int.from_bytes(data[at + 1 : at + 3]) & 0x1FFF
        (sounds if pid == 0x101 else images).append(data[at : at + 188])
    assert sounds
    late = tmp_path / "in.ts"
    late.write_bytes(data + b"".join(sounds) + b"".join(images))
    copy(VideoFile(late), VideoOutput(tmp_path / "out.mp4"))
    wanted = [*CLICKS, *(1 + click for click in CLICKS)]
    assert find_clicks(tmp_path / "out.mp4") == pytest.approx(wanted, abs=4e-3)


@pytest.mark.parametrize("suffix", mark_slow_cases([".mp4", ".webm"], [".mp4", ".mkv", ".webm"]))
def test_packets_that_a_container_refuses_are_left_out_and_reported(
    suffix: str, tmp_path: Path
) -> None:
    video, out = make_video(tmp_path / "in.ts"), tmp_path / f"out{suffix}"
    data = bytearray(video.read_bytes())
    starts = [at for at in range(len(data) - 1) if data[at : at + 2] == b"\xff\xf1"]
    for at in starts[30:33]:  # the headers of three AAC frames
        data[at : at + 7] = bytes(7)
    video.write_bytes(bytes(data))
    events = list(fg.events(fg.Job(VideoFile(video), VideoOutput(out))))
    done = next(event for event in events if isinstance(event, Done))
    assert len([s for s in probe(out).streams if s.kind == "audio"]) == 1
    assert find_clicks(out)[0] == pytest.approx(CLICKS[0], abs=4e-3)
    reported = [event.message for event in events if isinstance(event, Warned)]
    assert done.is_complete == (not any("left out" in text for text in reported))


def test_audio_without_packets_is_left_out(tmp_path: Path) -> None:
    data = make_video(tmp_path / "complete.ts").read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    video = tmp_path / "in.ts"
    video.write_bytes(
        b"".join(p for p in packets if int.from_bytes(p[1:3]) & 0x1FFF != 0x101)  # the audio's
    )
    for time_scale in (Fraction(1), Fraction(2)):
        sink = copy(VideoFile(video), VideoOutput(tmp_path / "o.mp4", overwrite=True), time_scale)
        reason = "it has no packets where the video starts"
        assert sink.dropped == [f"stream 1 (aac audio) is left out: {reason}"]
        assert sink.is_complete


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_damaged_audio_is_skipped_and_reported_where_it_is_decoded(
    suffix: str, tmp_path: Path
) -> None:
    video, out = make_video(tmp_path / "in.mkv", ["flac"]), tmp_path / f"out{suffix}"
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        damaged = [bytes(packet) for packet in container.demux(audio=0) if packet.size][4]
    at = data.index(damaged)
    data[at : at + len(damaged)] = bytes(len(damaged))
    video.write_bytes(bytes(data))
    sink = copy(VideoFile(video), VideoOutput(out, audio="encode"))
    assert not sink.is_complete
    assert "stream 1 (flac audio): damaged at 0.3" in sink.dropped[-1]
    assert find_clicks(out) == pytest.approx(CLICKS, abs=4e-3)


class RefusedPackets(trial.StreamTrial):
    """A container that takes only the first 40 packets of each stream."""

    def accepts(self, packet: Any) -> bool:
        self._count = getattr(self, "_count", 0) + 1
        return super().accepts(packet) and self._count <= 40


class RefusedTrailer(trial.StreamTrial):
    """A container that cannot be completed with more than 40 packets of a stream."""

    def accepts(self, packet: Any) -> bool:
        self._count = getattr(self, "_count", 0) + 1
        return super().accepts(packet)

    def finish(self) -> bool:
        return super().finish() and getattr(self, "_count", 0) <= 40


def test_packets_that_are_refused_late_do_not_end_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video, out = make_video(tmp_path / "in.mkv"), tmp_path / "out.mp4"
    monkeypatch.setattr("filmgate.media.streams.copied_streams.StreamTrial", RefusedPackets)
    sink = copy(VideoFile(video), VideoOutput(out))
    assert len(list_times(out)) == 40
    assert len(list_times(out, "video")) == 25
    assert not sink.is_complete
    assert "stream 1 (aac audio): 8 packets from 0.8" in sink.dropped[-1]
    assert sink.dropped[-1].endswith("s on are left out: .mp4 can't hold them")


@pytest.mark.parametrize(
    ("resumed", "suffix"),
    mark_slow_combinations([(False, ".mp4"), (True, ".mkv")], [False, True], [".mp4", ".mkv"]),
)
def test_joined_result_is_made_without_a_stream_that_fails_in_the_trailer(
    resumed: bool, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "in.mkv", ["aac", "flac"])
    run = Run(video, VideoOutput(tmp_path / f"out{suffix}", preset="ultrafast"))
    if resumed:
        run.go(8, leave_after=8)
    monkeypatch.setattr("filmgate.media.streams.copied_streams.StreamTrial", RefusedTrailer)
    sinks: list[Any] = []
    opened = VideoOutput.open

    def keep(*arguments: Any, **options: Any) -> Any:
        sinks.append(opened(*arguments, **options))
        return sinks[-1]

    monkeypatch.setattr(VideoOutput, "open", keep)
    run.go(8)
    kinds = [stream.codec for stream in probe(run.output.path).streams]
    assert kinds == ["h264", "flac"]  # fewer packets
    assert len(list_times(run.output.path, "video")) == 25
    assert not sinks[0].is_complete
    assert f"stream 1 (aac audio) is left out: {suffix} can't hold it" in sinks[0].dropped


def test_joined_result_is_made_without_other_streams_if_it_is_unknown_which_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video(tmp_path / "in.mkv", ["aac"])
    run = Run(video, VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    mux = Muxer._close_container

    def fail(self: Muxer) -> None:
        if self._copied is not None and self._copied.describe():
            self._blame_copied(av.InvalidDataError(1, "a fault"))
        mux(self)

    monkeypatch.setattr(Muxer, "_close_container", fail)
    run.go(8)
    assert [stream.codec for stream in probe(run.output.path).streams] == ["h264"]


@pytest.mark.parametrize(
    ("codec", "origin", "suffix"),
    mark_slow_cases(
        [("pcm_bluray", ".m2ts", ".mp4"), ("aac", ".mp4", ".webm")],
        [
            ("pcm_bluray", ".m2ts", ".mp4"),
            ("aac", ".mp4", ".webm"),
            ("adpcm_ima_wav", ".avi", ".mkv"),
        ],
    ),
)
def test_resumed_result_with_encoded_audio_is_bit_equal(
    codec: str, origin: str, suffix: str, tmp_path: Path
) -> None:
    video = make_video(tmp_path / f"in{origin}", [codec])
    files = []
    for name, leave_after in (("straight", None), ("resumed", 16)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"out{suffix}"
        run = Run(video, VideoOutput(path, preset="ultrafast" if suffix != ".webm" else None))
        if leave_after is not None:
            run.go(8, leave_after=leave_after)
        run.go(8)
        files.append(path.read_bytes())
    assert files[0] == files[1]
    assert len(read_samples(tmp_path / "straight" / f"out{suffix}")) >= 47_000


@pytest.mark.parametrize(
    "suffix", mark_slow_cases([".mov", ".webm"], [".mov", ".mp4", ".mkv", ".nut", ".webm"])
)
def test_time_code_of_a_camera_is_kept_as_a_tag(suffix: str, tmp_path: Path) -> None:
    video = make_video(tmp_path / "in.mov", [], timecode="01:02:03:04")
    assert [stream.kind for stream in probe(video).streams] == ["video", "data"]
    out = tmp_path / f"out{suffix}"
    for time_scale in (Fraction(1), Fraction(2)):
        sink = copy(VideoFile(video), VideoOutput(out, overwrite=True), time_scale)
        assert not [text for text in sink.dropped if "time code" in text]
        with av.open(str(out)) as container:
            tags = {k.lower(): v for k, v in container.streams.video[0].metadata.items()}
            tracks = [s for s in container.streams if s.type == "data"]
        assert tags["timecode"] == "01:02:03:04"
        assert len(tracks) == (suffix in (".mov", ".mp4"))


def test_time_code_that_does_not_fit_the_result_is_reported(tmp_path: Path) -> None:
    video = make_video(tmp_path / "in.mov", [], timecode="01:02:03:04")
    sink = copy(VideoFile(video, start=Fraction(1, 2)), VideoOutput(tmp_path / "a.mov"))
    reported = "the time code 01:02:03:04 is left out: the video starts later than the source"
    assert sink.dropped == [reported]
    sink = copy(VideoFile(video), VideoOutput(tmp_path / "b.mov", drop=("data",)))
    assert sink.dropped == []
    sink = copy(VideoFile(video), VideoOutput(tmp_path / "c.y4m", codec="rawvideo"))
    assert "stream 1 (unknown time code" in sink.dropped[0]
    for name in ("a.mov", "b.mov"):
        with av.open(str(tmp_path / name)) as container:
            assert "timecode" not in container.streams.video[0].metadata


def test_unknown_audio_is_probed_and_left_out_of_a_joined_result(tmp_path: Path) -> None:
    video = hide_codec(make_video(tmp_path / "in.mov", ["aac", "aac"]))
    run = Run(video, VideoOutput(tmp_path / "out.mov", preset="ultrafast"))
    run.go(8)
    assert [s.codec for s in probe(run.output.path).streams] == ["h264", "aac"]


@pytest.mark.parametrize("equal", [False, True])
def test_growing_times_leave_good_packets_as_they_are(equal: bool) -> None:
    times = GrowingTimes(Fraction(1, 1000), equal)
    for at in range(0, 4000, 960):
        packet: Any = av.Packet(b"x")
        packet.pts = packet.dts = at
        packet.duration, packet.time_base = 960, Fraction(1, 48_000)
        assert not times.apply(packet)
        assert (packet.pts, packet.dts, packet.time_base) == (at, at, Fraction(1, 48_000))


@pytest.mark.parametrize("stamps", [(0, 0, 0), (100, 50, 60), (None, None, None), (5, None, 2)])
def test_growing_times_make_any_times_grow(stamps: tuple[int | None, ...]) -> None:
    times, found = GrowingTimes(Fraction(1, 1000), equal=False), []
    for stamp in stamps:
        packet: Any = av.Packet(b"x")
        packet.pts = packet.dts = stamp
        packet.duration, packet.time_base = 20, Fraction(1, 1000)
        times.apply(packet)
        assert packet.pts >= packet.dts
        found.append(packet.dts)
    assert all(before < after for before, after in pairwise(found))


@pytest.mark.parametrize(("stamp", "wanted"), [(1, 1), (-1, -1), (3, 2), (-3, -2), (4, 2)])
def test_times_are_rounded_as_ffmpeg_does(stamp: int, wanted: int) -> None:
    """Halves away from 0."""
    packet: Any = av.Packet(b"x")
    packet.pts, packet.duration, packet.time_base = stamp, 1, Fraction(1, 2000)
    GrowingTimes(Fraction(1, 1000), equal=False).apply(packet)
    assert (packet.pts, packet.dts, packet.duration) == (wanted, wanted, 1)


def test_packets_shorter_than_a_tick_are_no_fault(tmp_path: Path) -> None:
    """As those of TrueHD, of which Matroska gives each fifth or so the time of the one before."""
    plain, path = make_video(tmp_path / "plain.mkv", ["pcm_s16le"]), tmp_path / "in.mkv"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        for packet in old.demux():
            pieces = [packet] if packet.size else []
            if packet.stream.type == "audio" and packet.size:
                data, size = bytes(packet), 40 * packet.size // (48 * (packet.duration or 1))
                start = packet.pts or 0
                pieces = [av.Packet(data[at : at + size]) for at in range(0, len(data), size)]
                for n, piece in enumerate(pieces):
                    piece.time_base = Fraction(1, 1200)  # 40 samples
                    piece.pts = piece.dts = round(Fraction(start * 6, 5)) + n
                    piece.duration = 1
            for piece in pieces:
                piece.stream = streams[packet.stream.index]
                new.mux(piece)
    sink = copy(VideoFile(path), VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    assert not [text for text in sink.dropped if "step back" in text]
    assert find_clicks(tmp_path / "out.mp4") == pytest.approx(CLICKS, abs=3e-3)
