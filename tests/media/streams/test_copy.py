"""Audio with clicks at known times stays in sync with a trimmed or slowed video."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

import filmgate as fg
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.quality.verify import check
from tests import videos
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.media.conftest import FindVideo
from tests.media.streams.copying import copy

SECONDS, RATE, FPS = 4, 48_000, 10
CLICKS = np.arange(8) / 2 + 0.25  # seconds


def make_clicking_video(path: Path, codec: str) -> Path:
    """Make a video of 4 s with clicks every 0.5 s from 0.25 s on, and a subtitle each second."""
    return videos.write_once(path, f"clicks, {codec}", lambda: encode_clicks(path, codec))


def encode_clicks(path: Path, codec: str) -> None:
    wave = np.zeros(SECONDS * RATE, np.float32)
    for click in CLICKS:
        at = round(click * RATE)
        wave[at : at + 480] = np.sin(np.arange(480) * 0.4) * np.hanning(480)
    options = {**videos.X264, "g": "4"}
    kind = videos.Video(FPS * SECONDS, rate=Fraction(FPS), options=options, suffix=path.suffix)
    with av.open(str(path), "w") as out:
        video = videos._add_video(out, kind)
        audio = videos._add_audio(out, codec)
        subtitles = videos._add_subtitles(out, "mov_text" if path.suffix == ".mp4" else "subrip")
        out.set_chapters([make_chapter(n) for n in range(SECONDS)])
        out.start_encoding()
        videos._write_frames(out, video, kind)
        for at in range(0, len(wave), 960):
            frame = av.AudioFrame.from_ndarray(wave[at : at + 960][None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            sample_format = audio.codec_context.format.name
            for part in av.AudioResampler(sample_format, "mono", RATE).resample(frame):
                out.mux(audio.encode(part))
        out.mux(audio.encode(None))
        for n in range(SECONDS):
            text = f"second {n}".encode()
            head = len(text).to_bytes(2, "big") if path.suffix == ".mp4" else b""
            packet: Any = av.Packet(head + text)
            packet.stream, packet.time_base = subtitles, Fraction(1, 1000)
            packet.pts = packet.dts = 1000 * n
            packet.duration = 900
            out.mux(packet)


def make_chapter(n: int) -> Any:
    return {
        "id": n,
        "start": n,
        "end": n + 1,
        "time_base": Fraction(1),
        "metadata": {"title": f"{n}"},
    }


def find_clicks(path: Path) -> list[float]:
    """Return the times of clicks, in seconds after the first frame."""
    offset = VideoFile(path).open().metadata.offset
    found: list[float] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            assert frame.pts is not None
            wave = np.abs(frame.to_ndarray().astype(np.float64)).reshape(-1)
            scale = 1.0 if frame.format.name.startswith("flt") else 2.0**15
            loud = np.flatnonzero(wave > 0.4 * scale)
            for at in loud:
                time = (
                    float(frame.pts * Fraction(frame.time_base or 1) - offset)
                    + at / frame.sample_rate
                )
                if not found or time - found[-1] > 0.1:
                    found.append(time)
    return found


def find_subtitles(path: Path) -> list[tuple[float, float]]:
    """Return (start, end) of every subtitle, in seconds after the first frame."""
    offset = VideoFile(path).open().metadata.offset
    with av.open(str(path)) as container:
        packets: list[Any] = [p for p in container.demux(subtitles=0) if p.size > 2]
        starts = [p.pts * p.time_base - offset for p in packets]
        ends = [start + p.duration * p.time_base for start, p in zip(starts, packets, strict=True)]
    return [(float(start), float(end)) for start, end in zip(starts, ends, strict=True)]


AAC, PCM, OPUS = (
    ("aac", ".mp4", ".mp4"),
    ("pcm_s16le", ".mkv", ".mkv"),
    ("libopus", ".mkv", ".mkv"),
)
KINDS = [
    AAC,
    PCM,
    ("aac", ".mp4", ".mkv"),
    OPUS,
    ("libmp3lame", ".mp4", ".mp4"),
    ("flac", ".mkv", ".mkv"),
]
COMPLETE, INNER, REST = (None, None), (Fraction(1), Fraction(3)), (Fraction(13, 10), None)
# Audio with priming (aac) and without (pcm); a trim on both sides and none, and one tempo.
TRIMMED = [(AAC, INNER), (PCM, COMPLETE)]
SLOWED = [(AAC, Fraction(4, 5))]


@pytest.mark.parametrize(
    ("codec", "suffix", "to", "begin", "end"),
    mark_slow_combinations(TRIMMED, KINDS, [COMPLETE, INNER, REST]),
)
def test_audio_and_subtitles_stay_in_sync_with_a_trimmed_video(
    codec: str, suffix: str, to: str, begin: Any, end: Any, tmp_path: Path
) -> None:
    video, out = make_clicking_video(tmp_path / f"video{suffix}", codec), tmp_path / f"out{to}"
    if suffix == ".mp4" and to == ".mkv":  # Matroska can't hold its subtitles
        video = make_clicking_video(tmp_path / "video.mkv", codec)
    fg.run((), VideoFile(video, start=begin, end=end), VideoOutput(out, preset="ultrafast"))
    first, last = float(begin or 0), float(end or SECONDS)
    before, heard = find_clicks(video), find_clicks(out)
    wanted = [time - first for time in before if first + 0.05 < time < last - 0.05]
    kept = [time for time in heard if 0 < time < last - first - 0.05]
    assert kept == pytest.approx(wanted, abs=1.5e-3 if to == ".mkv" else 1 / RATE)
    assert all(-0.06 < time < last - first + 0.06 for time in heard)
    texts = find_subtitles(out)
    shown = [(max(n, first) - first, min(n + 0.9, last) - first)
             for n in range(SECONDS) if n < last and n + 0.9 > first]  # fmt: skip
    assert [t for pair in texts for t in pair] == pytest.approx(
        [t for pair in shown for t in pair], abs=2e-3
    )
    report = check(out, video)
    assert report.ok, [finding for finding in report.findings if not finding.ok]
    assert len(probe(out).chapters) == len(
        [n for n in range(SECONDS) if first < n + 1 and n < last]
    )


@pytest.mark.parametrize(
    ("codec", "suffix", "to", "slow"),
    mark_slow_combinations(SLOWED, [AAC, PCM, OPUS], [Fraction(2), Fraction(5, 2), Fraction(4, 5)]),
)
def test_slowed_audio_stays_in_sync_with_the_video(
    codec: str, suffix: str, to: str, slow: Fraction, tmp_path: Path
) -> None:
    video, out = make_clicking_video(tmp_path / f"video{suffix}", codec), tmp_path / f"out{to}"
    factor = 1
    fg.run(fg.Interpolate(slow=slow, factor=factor), video, VideoOutput(out, preset="ultrafast"))
    heard, wanted = find_clicks(out), [time * float(slow) for time in find_clicks(video)]
    assert heard == pytest.approx(wanted, abs=0.03)
    report = check(out, video)
    assert report.ok, [finding for finding in report.findings if not finding.ok]
    audio = next(stream for stream in probe(out).streams if stream.kind == "audio")
    assert float(probe(out).duration or 0) == pytest.approx(SECONDS * float(slow), abs=0.1)
    assert audio.language == "fra"
    assert find_subtitles(out)[1][0] == pytest.approx(float(slow), abs=2e-3)


def test_all_audio_streams_are_stretched_and_a_second_video_is_left_out(
    find_video: FindVideo, tmp_path: Path
) -> None:
    for name, kinds in (("rich_mp4", "video audio audio subtitle"), ("two_videos", "video audio")):
        out = tmp_path / f"{name}.mp4"
        task = fg.Interpolate(slow=2, factor=1)
        fg.run(task, find_video(name), VideoOutput(out, preset="ultrafast"))
        assert " ".join(t.kind for t in probe(out).streams if t.kind != "data") == kinds


@pytest.mark.parametrize("slow", mark_slow_cases([Fraction(3, 2)], [Fraction(2), Fraction(3, 2)]))
def test_audio_after_a_gap_is_stretched_in_its_place(slow: Fraction, tmp_path: Path) -> None:
    """atempo counts samples: after a gap of 1 s, audio was 1 s early, times `slow`."""
    complete, video, out = (tmp_path / name for name in ("complete.mkv", "video.mkv", "out.mkv"))
    make_clicking_video(complete, "pcm_s16le")
    with av.open(str(complete)) as given, av.open(str(video), "w") as made:
        tracks = given.streams.video[0], given.streams.audio[0]
        twins = {track.index: made.add_stream_from_template(track) for track in tracks}
        for packet in given.demux(*tracks):
            heard = packet.stream.type == "audio"
            if packet.size and not (heard and 1 <= (packet.pts or 0) * packet.time_base < 2):
                packet.stream = twins[packet.stream.index]
                made.mux(packet)
    before = find_clicks(video)
    assert len(before) == len(CLICKS) - 2
    fg.run(fg.Interpolate(slow=slow, factor=1), video, VideoOutput(out, preset="ultrafast"))
    assert find_clicks(out) == pytest.approx([time * float(slow) for time in before], abs=0.03)


def test_titles_of_tracks_survive_every_container(tmp_path: Path) -> None:
    """FFmpeg writes them to an mp4 under another name than that which it reads."""
    plain = videos.make(videos.Video(frames=3, sounds=("aac",)), tmp_path / "plain.mp4")
    path, title = tmp_path / "0.mkv", "Kommentar, übersetzt"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        streams[1].metadata["title"] = title
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    for n, suffix in enumerate((".mov", ".mp4", ".mkv"), 1):
        made = tmp_path / f"{n}{suffix}"
        copy(VideoFile(path), VideoOutput(made, preset="ultrafast"))
        tags = next(f for f in check(made, path).findings if f.name == "track tags")
        assert tags.ok, tags
        path = path if suffix == ".mov" else made
    assert probe(path).streams[1].metadata["title"] == title


def test_a_title_that_a_mov_cannot_hold_is_cut(tmp_path: Path) -> None:
    """Of a longer one FFmpeg takes the byte of its length for the first character."""
    path, out = tmp_path / "in.mkv", tmp_path / "out.mov"
    with av.open(str(path), "w") as new:
        stream = new.add_stream("mpeg4", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.metadata["title"] = "n" + "\u00fc" * 150
        new.mux(stream.encode(VideoFrame(64, 48, "yuv420p")))
        new.mux(stream.encode(None))
    copy(VideoFile(path), VideoOutput(out, preset="ultrafast"))
    with av.open(str(out)) as made:
        assert made.streams.video[0].metadata["handler_name"] == "n" + "\u00fc" * 63


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_out_of_order_are_all_kept(suffix: str, tmp_path: Path) -> None:
    """Muxers dropped one, or gave it another time."""
    plain = videos.make(videos.Video(frames=3), tmp_path / "plain.mp4")
    path = tmp_path / "in.nut"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        new.metadata["creation_time"] = "2011-02-03T04:05:06Z"
        new.set_chapters([videos.make_chapter(n) for n in (2, 0, 1)])
        for packet in old.demux():
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    out = tmp_path / f"out{suffix}"
    copy(VideoFile(path), VideoOutput(out, preset="ultrafast"))
    titles = [chapter.metadata.get("title") for chapter in probe(out).chapters]
    assert titles == ["part 0", "part 1", "part 2"]
    assert check(out, path).ok, check(out, path).findings


def test_what_a_track_is_marked_as_is_kept_or_reported(tmp_path: Path) -> None:
    plain = videos.make(videos.Video(frames=3, sounds=("aac",)), tmp_path / "plain.mp4")
    path = tmp_path / "in.mkv"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        streams[1].disposition = Disposition.hearing_impaired | Disposition.comment
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    sink = copy(VideoFile(path), VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    assert not sink.dropped
    assert check(tmp_path / "out.mp4", path).ok
    sink = copy(VideoFile(path), VideoOutput(tmp_path / "out.mov", preset="ultrafast"))
    assert "no longer marked as comment and hearing_impaired" in str(sink.dropped)
