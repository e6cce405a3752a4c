"""Segments: wherever a film is cut into pieces, the joined result is the one made in one go."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filmgate.core.frame import Frame
from filmgate.core.job import Job
from filmgate.core.snapshot import Commit, Cursor, Snapshot
from filmgate.errors import FilmgateError, OutputExists
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.writing.encoder import Encoder
from filmgate.media.writing.segment_join import Segment
from filmgate.media.writing.segment_writer import SegmentWriter
from filmgate.quality.verify import check
from filmgate.tasks.provenance import TAG, job_tag
from tests.media.conftest import Reel
from tests.videos import number_of

QUICK = {"h264": "veryfast", "hevc": "ultrafast", "av1": "11", "vp9": "8"}
SOURCES = {"prores": "prores"}


def snapshot(index: int, last: bool = False) -> Snapshot:
    return Snapshot(Cursor(index, 0), None if last else (), (), 0)


class Run:
    """A run in pieces that can be left anywhere and gone on with; its commits are held here."""

    def __init__(self, source: Path, output: VideoOutput) -> None:
        self.source, self.output = source, output
        self.path = self.folder = output.path.with_name("pieces")
        self.folder.mkdir(exist_ok=True)
        self.kept: list[Commit] = []
        self.playable = False
        self.told: list[str] = []

    @property
    def pieces(self) -> tuple[Segment, ...]:
        return self.kept[-1].pieces if self.kept else ()

    def commits(self) -> Iterator[Commit]:
        return reversed(self.kept)

    def keep(self, commit: Commit) -> None:
        self.kept.append(commit)

    def whole(self, part: Path) -> None:
        assert part.stat().st_size > 0

    def go(self, length: int, leave_after: int | None = None) -> None:
        video = VideoFile(self.source).open()
        frames = [f for chunk, _ in video.read(None, 8) for f in chunk]
        tags = {TAG: job_tag(Job(VideoFile(self.source), self.output))}
        with SegmentWriter(self, self.output, video.spec, video.origin, tags=tags) as sink:
            first = sink.resume.cursor.index if sink.resume else 0
            self.told = list(sink.dropped)
            for at in range(first, len(frames), length):
                sink.write(frames[at : at + length])
                if leave_after is not None and at >= leave_after:
                    return
                sink.commit(snapshot(at + length))
            sink.commit(snapshot(len(frames), last=True))


def frames(path: Path) -> list[Frame]:
    return [frame for chunk, _ in VideoFile(path).open().read(None, 8) for frame in chunk]


def output(path: Path, codec: Any) -> VideoOutput:
    return VideoOutput(path, codec, preset=QUICK.get(codec))


@pytest.mark.parametrize("length", [1, 5, 12])
@pytest.mark.parametrize(
    ("name", "codec", "suffix"),
    [
        ("b_frames", "h264", ".mp4"),
        ("uneven", "h264", ".mp4"),
        ("uneven", "h264", ".mkv"),
        ("late_start", "h264", ".mp4"),
        ("hidden_start", "h264", ".mov"),
        ("broadcast", "hevc", ".mp4"),
        ("uneven", "hevc", ".mkv"),
        ("uneven", "av1", ".mp4"),
        ("uneven", "vp9", ".webm"),
        ("prores", "prores", ".mov"),
        ("ffv1_rgb", "ffv1", ".mkv"),
        ("rich", "ffv1", ".mkv"),
    ],
)
def test_however_it_is_cut_the_joined_film_is_whole_and_in_step(
    name: str, codec: str, suffix: str, length: int, reel: Reel, tmp_path: Path
) -> None:
    run = Run(reel(name), output(tmp_path / f"out{suffix}", codec))
    run.go(length)
    report = check(run.output.path, reel(name))
    assert report.ok, report
    old, new = frames(reel(name)), frames(run.output.path)
    assert [number_of(f) for f in new] == [number_of(f) for f in old]
    assert len(run.pieces) == -(-len(old) // length)
    assert [p.name for p in run.folder.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("leave_after", [0, 10, 20])
def test_left_in_a_piece_and_gone_on_with_it_is_the_same_film(
    leave_after: int, reel: Reel, tmp_path: Path
) -> None:
    results = []
    for name, leave in (("whole.mp4", None), ("again.mp4", leave_after)):
        run = Run(reel("b_frames"), output(tmp_path / name, "h264"))
        if leave is not None:
            run.go(10, leave)
            assert not run.output.path.exists()
        run.go(10)
        results.append(run.output.path.read_bytes())
        for piece in run.folder.iterdir():
            piece.unlink()
    assert results[0] == results[1]


def test_the_other_tracks_and_the_tags_go_along(reel: Reel, tmp_path: Path) -> None:
    run = Run(reel("rich"), output(tmp_path / "out.mkv", "h264"))
    run.go(5)
    kinds = [track.kind for track in probe(run.output.path).tracks]
    assert kinds == [track.kind for track in probe(reel("rich")).tracks]


def _gone(path: Path) -> None:
    path.unlink()


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _turned(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("harm", "said"), [(_gone, "is missing"), (_torn, "was changed"), (_turned, "was changed")]
)
def test_a_piece_that_is_not_what_was_written_is_named_and_made_again(
    harm: Any, said: str, reel: Reel, tmp_path: Path
) -> None:
    run = Run(reel("b_frames"), output(tmp_path / "out.mp4", "h264"))
    run.go(10, 30)
    whole = [(run.folder / name).read_bytes() for name in ("000002.nut", "000003.nut")]
    harm(run.folder / "000002.nut")
    run.go(10)
    assert [told.partition(said)[2] for told in run.told if "000002.nut" in told]
    assert len(run.told) == 2, "the commits after it hold it too"
    again = [(run.folder / name).read_bytes() for name in ("000002.nut", "000003.nut")]
    assert again == whole
    assert run.output.path.exists()


def test_pieces_of_other_settings_are_told(reel: Reel, tmp_path: Path) -> None:
    run = Run(reel("b_frames"), VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    run.go(10, 20)
    run.output = VideoOutput(tmp_path / "out.mp4", preset="slow")
    with pytest.raises(FilmgateError, match="was encoded with other settings"):
        run.go(10)


@pytest.mark.parametrize("unset", [0x7F7F << 48, -(0x7F7F << 48), None])
def test_a_piece_of_one_frame_needs_no_decoding_times(
    unset: int | None, reel: Reel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x265 left them unset there, and a run ended with "could not be written", now and then."""
    flush = Encoder.flush

    def spoilt(encoder: Encoder) -> Any:
        packets = flush(encoder)
        for packet in packets:
            packet.dts = unset
        return packets

    monkeypatch.setattr(Encoder, "flush", spoilt)
    run = Run(reel("uneven"), output(tmp_path / "out.mp4", "hevc"))
    run.go(1)
    report = check(run.output.path, reel("uneven"))
    assert report.ok, report


def test_what_can_not_be_is_told_before_the_first_frame(reel: Reel, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").touch()
    with pytest.raises(OutputExists):
        Run(reel("even"), VideoOutput(tmp_path / "out.mp4")).go(5)


@pytest.mark.parametrize("name", ["sound", "late_start"])
def test_what_is_done_so_far_can_be_watched(name: str, reel: Reel, tmp_path: Path) -> None:
    run = Run(reel(name), output(tmp_path / "out.mp4", "h264"))
    run.playable = True
    run.go(5, 10)
    done = frames(run.folder / "playable.mp4")
    assert [frame.time for frame in done] == [frame.time for frame in frames(reel(name))[:10]]
    so_far, all_of_it = probe(run.folder / "playable.mp4"), probe(reel(name))
    assert [t.kind for t in so_far.tracks] == [t.kind for t in all_of_it.tracks]
    run.go(5)
    assert check(run.output.path, reel(name)).ok


def test_a_film_without_frames_leaves_no_piece(reel: Reel, tmp_path: Path) -> None:
    run = Run(reel("even"), VideoOutput(tmp_path / "o.mkv"))
    video = VideoFile(reel("even")).open()
    with SegmentWriter(run, run.output, video.spec, video.origin) as sink:
        sink.commit(snapshot(0))
    assert run.pieces == ()
