"""Sound that tells its own time: cut with the picture, or stretched with it, it stays in step."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import filmgate as fg
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.quality.verify import check
from tests import videos
from tests.cases import crossed
from tests.media.conftest import Reel

SECONDS, RATE = 4, 48_000
CLICKS = np.arange(8) / 2 + 0.25  # seconds


def clicking(path: Path, codec: str) -> Path:
    """A film of 4 s with a click at 0.25 s and every 0.5 s after, and words at every second."""
    wave = np.zeros(SECONDS * RATE, np.float32)
    for click in CLICKS:
        at = round(click * RATE)
        wave[at : at + 480] = np.sin(np.arange(480) * 0.4) * np.hanning(480)
    kind = videos.Video(frames=25 * SECONDS, options={**videos.X264, "g": "10"}, suffix=path.suffix)
    with av.open(str(path), "w") as out:
        video = videos._video(out, kind)
        sound = videos._sound(out, codec)
        words = videos._words(out, "mov_text" if path.suffix == ".mp4" else "subrip")
        out.set_chapters([chapter(n) for n in range(SECONDS)])
        out.start_encoding()
        videos._put_frames(out, video, kind)
        for at in range(0, len(wave), 960):
            frame = av.AudioFrame.from_ndarray(wave[at : at + 960][None], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
            form = sound.codec_context.format.name
            for fit in av.AudioResampler(form, "mono", RATE).resample(frame):
                out.mux(sound.encode(fit))
        out.mux(sound.encode(None))
        for n in range(SECONDS):
            text = f"second {n}".encode()
            head = len(text).to_bytes(2, "big") if path.suffix == ".mp4" else b""
            packet: Any = av.Packet(head + text)
            packet.stream, packet.time_base = words, Fraction(1, 1000)
            packet.pts = packet.dts = 1000 * n
            packet.duration = 900
            out.mux(packet)
    return path


def chapter(n: int) -> Any:
    return {
        "id": n,
        "start": n,
        "end": n + 1,
        "time_base": Fraction(1),
        "metadata": {"title": f"{n}"},
    }


def clicks_of(path: Path) -> list[float]:
    """When clicks are heard, in seconds after the first picture is shown."""
    offset = VideoFile(path).open().origin.offset
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


def words_of(path: Path) -> list[tuple[float, float]]:
    """(start, end) of every subtitle, in seconds after the first picture is shown."""
    offset = VideoFile(path).open().origin.offset
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
WHOLE, INNER, REST = (None, None), (Fraction(1), Fraction(3)), (Fraction(33, 25), None)
# Sound in packets with priming (aac) and without (pcm); each cut and each tempo with one of them.
TRIMMED = [(AAC, INNER), (AAC, REST), (PCM, WHOLE)]
SLOWED = [(AAC, Fraction(5, 2)), (AAC, Fraction(4, 5)), (PCM, Fraction(2))]


@pytest.mark.parametrize(
    ("codec", "suffix", "to", "begin", "end"), crossed(TRIMMED, KINDS, [WHOLE, INNER, REST])
)
def test_what_is_heard_and_read_stays_in_step_with_a_trimmed_picture(
    codec: str, suffix: str, to: str, begin: Any, end: Any, tmp_path: Path
) -> None:
    film, out = clicking(tmp_path / f"film{suffix}", codec), tmp_path / f"out{to}"
    if suffix == ".mp4" and to == ".mkv":  # which can't hold its words
        film = clicking(tmp_path / "film.mkv", codec)
    fg.run((), VideoFile(film, from_=begin, to=end), VideoOutput(out, preset="ultrafast"))
    first, last = float(begin or 0), float(end or SECONDS)
    before, heard = clicks_of(film), clicks_of(out)
    wanted = [time - first for time in before if first + 0.05 < time < last - 0.05]
    kept = [time for time in heard if 0 < time < last - first - 0.05]
    assert kept == pytest.approx(wanted, abs=1.5e-3 if to == ".mkv" else 1 / RATE)
    assert all(-0.06 < time < last - first + 0.06 for time in heard)
    texts = words_of(out)
    shown = [(max(n, first) - first, min(n + 0.9, last) - first)
             for n in range(SECONDS) if n < last and n + 0.9 > first]  # fmt: skip
    assert [t for pair in texts for t in pair] == pytest.approx(
        [t for pair in shown for t in pair], abs=2e-3
    )
    report = check(out, film)
    assert report.ok, [finding for finding in report.findings if not finding.ok]
    assert len(probe(out).chapters) == len(
        [n for n in range(SECONDS) if first < n + 1 and n < last]
    )


@pytest.mark.parametrize(
    ("codec", "suffix", "to", "slow"),
    crossed(SLOWED, [AAC, PCM, OPUS], [Fraction(2), Fraction(5, 2), Fraction(4, 5)]),
)
def test_slowed_sound_lasts_as_long_as_the_picture_and_clicks_in_its_places(
    codec: str, suffix: str, to: str, slow: Fraction, tmp_path: Path
) -> None:
    film, out = clicking(tmp_path / f"film{suffix}", codec), tmp_path / f"out{to}"
    factor = 1
    fg.run(fg.Interpolate(slow=slow, factor=factor), film, VideoOutput(out, preset="ultrafast"))
    heard, wanted = clicks_of(out), [time * float(slow) for time in clicks_of(film)]
    assert heard == pytest.approx(wanted, abs=0.03)
    report = check(out, film)
    assert report.ok, [finding for finding in report.findings if not finding.ok]
    sound = next(track for track in probe(out).tracks if track.kind == "audio")
    assert float(probe(out).duration or 0) == pytest.approx(SECONDS * float(slow), abs=0.1)
    assert sound.language == "fra"
    assert words_of(out)[1][0] == pytest.approx(float(slow), abs=2e-3)


def test_several_tracks_are_each_stretched_and_the_second_picture_is_left_out(
    reel: Reel, tmp_path: Path
) -> None:
    for name, kinds in (("rich_mp4", "video audio audio subtitle"), ("two_videos", "video audio")):
        out = tmp_path / f"{name}.mp4"
        fg.run(fg.Interpolate(slow=2), reel(name), VideoOutput(out, preset="ultrafast"))
        assert " ".join(t.kind for t in probe(out).tracks if t.kind != "data") == kinds


@pytest.mark.parametrize("slow", [Fraction(2), Fraction(3, 2)])
def test_sound_behind_a_gap_is_stretched_in_its_place(slow: Fraction, tmp_path: Path) -> None:
    """atempo counts samples: behind 1 s of nothing all was 1 s early, times `slow`."""
    whole, film, out = (tmp_path / name for name in ("whole.mkv", "film.mkv", "out.mkv"))
    clicking(whole, "pcm_s16le")
    with av.open(str(whole)) as given, av.open(str(film), "w") as made:
        tracks = given.streams.video[0], given.streams.audio[0]
        twins = {track.index: made.add_stream_from_template(track) for track in tracks}
        for packet in given.demux(*tracks):
            heard = packet.stream.type == "audio"
            if packet.size and not (heard and 1 <= (packet.pts or 0) * packet.time_base < 2):
                packet.stream = twins[packet.stream.index]
                made.mux(packet)
    before = clicks_of(film)
    assert len(before) == len(CLICKS) - 2
    fg.run(fg.Interpolate(slow=slow, factor=1), film, VideoOutput(out, preset="ultrafast"))
    assert clicks_of(out) == pytest.approx([time * float(slow) for time in before], abs=0.03)
