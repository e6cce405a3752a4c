"""Segments: of any length, joined they are the video written in one go."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from filmgate.core.frame import Frame
from filmgate.core.job import Job
from filmgate.core.outputs import open_outputs
from filmgate.core.snapshot import Commit, Cursor, Snapshot
from filmgate.errors import FilmgateError, OutputExists
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.writing.encoder import Encoder
from filmgate.media.writing.segment_join import Segment
from filmgate.quality.verify import check
from filmgate.tasks.provenance import TAG, write_tag
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.media.conftest import FindVideo
from tests.videos import read_number

QUICK = {"h264": "veryfast", "hevc": "ultrafast", "av1": "11", "vp9": "8"}
SOURCES = {"prores": "prores"}


def snapshot(index: int, last: bool = False) -> Snapshot:
    return Snapshot(Cursor(index, 0), None if last else (), (), 0)


class Run:
    """A run in segments that can be stopped anywhere and resumed; commits are in memory."""

    def __init__(self, source: Path, output: VideoOutput) -> None:
        self.source, self.output = source, output
        self.path = self.folder = output.path.with_name("pieces")
        self.folder.mkdir(exist_ok=True)
        self.kept: list[Commit] = []
        self.playable = False
        self.warnings: list[str] = []

    @property
    def pieces(self) -> tuple[Segment, ...]:
        return self.kept[-1].pieces[0] if self.kept else ()

    def choose(self, verify: Callable[[tuple[Any, ...]], None]) -> Commit | None:
        for commit in reversed(self.kept):
            try:
                verify(commit.pieces)
            except FilmgateError as error:
                self.warnings.append(str(error))
            else:
                return commit
        return None

    def commits(self) -> Iterator[Commit]:
        return reversed(self.kept)

    def save(self, commit: Commit) -> None:
        self.kept.append(commit)

    def mark_complete(self, parts: Sequence[Path | None], *_: object, **__: object) -> None:
        assert all(part and part.stat().st_size > 0 for part in parts)

    def go(self, length: int, leave_after: int | None = None) -> None:
        self.warnings.clear()
        video = VideoFile(self.source).open(threads=1)
        frames = [f for chunk, _ in video.read(None, 8) for f in chunk]
        tags = {TAG: write_tag(Job(VideoFile(self.source), self.output))}
        with open_outputs(
            [self.output], video.metadata, video.spec, tags=tags, checkpoints=self
        ) as sink:
            first = sink.resume.cursor.index if sink.resume else 0
            for at in range(first, len(frames), length):
                sink.write(frames[at : at + length])
                if leave_after is not None and at >= leave_after:
                    return
                sink.commit(snapshot(at + length))
            sink.commit(snapshot(len(frames), last=True))


def frames(path: Path) -> list[Frame]:
    return [frame for chunk, _ in VideoFile(path).open(threads=1).read(None, 8) for frame in chunk]


def output(path: Path, codec: Any) -> VideoOutput:
    return VideoOutput(path, codec, preset=QUICK.get(codec))


JOINED = [
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
]
SAME_WAY = {JOINED[2], JOINED[6], JOINED[10]}  # slow: Matroska and each codec are with others


@pytest.mark.parametrize(
    ("name", "codec", "suffix", "length"),
    mark_slow_combinations(
        [*((one, 5) for one in JOINED if one not in SAME_WAY), (JOINED[1], 1), (JOINED[2], 12)],
        JOINED,
        [1, 5, 12],
    ),
)
def test_joined_video_is_complete_and_in_sync_for_any_segment_length(
    name: str, codec: str, suffix: str, length: int, find_video: FindVideo, tmp_path: Path
) -> None:
    run = Run(find_video(name), output(tmp_path / f"out{suffix}", codec))
    run.go(length)
    report = check(run.output.path, find_video(name))
    assert report.ok, report
    old, new = frames(find_video(name)), frames(run.output.path)
    assert [read_number(f) for f in new] == [read_number(f) for f in old]
    assert len(run.pieces) == -(-len(old) // length)
    assert [p.name for p in run.folder.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("leave_after", [0, 10, 20])
def test_run_stopped_within_a_segment_and_resumed_gives_the_same_file(
    leave_after: int, find_video: FindVideo, tmp_path: Path
) -> None:
    results = []
    for name, leave in (("complete.mp4", None), ("again.mp4", leave_after)):
        run = Run(find_video("b_frames"), output(tmp_path / name, "h264"))
        if leave is not None:
            run.go(10, leave)
            assert not run.output.path.exists()
        run.go(10)
        results.append(run.output.path.read_bytes())
        for piece in run.folder.iterdir():
            piece.unlink()
    assert results[0] == results[1]


def test_other_streams_and_tags_are_copied(find_video: FindVideo, tmp_path: Path) -> None:
    run = Run(find_video("rich"), output(tmp_path / "out.mkv", "h264"))
    run.go(5)
    kinds = [track.kind for track in probe(run.output.path).streams]
    assert kinds == [track.kind for track in probe(find_video("rich")).streams]


def _gone(path: Path) -> None:
    path.unlink()


def _torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _turned(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("harm", "message"), [(_gone, "is missing"), (_torn, "was changed"), (_turned, "was changed")]
)
def test_damaged_segment_is_reported_by_name_and_encoded_again(
    harm: Any, message: str, find_video: FindVideo, tmp_path: Path
) -> None:
    run = Run(find_video("b_frames"), output(tmp_path / "out.mp4", "h264"))
    run.go(10, 30)
    complete = [(run.folder / name).read_bytes() for name in ("000002.nut", "000003.nut")]
    harm(run.folder / "000002.nut")
    run.go(10)
    assert [text for text in run.warnings if "000002.nut" in text and message in text]
    assert len(run.warnings) == 2, "the commits after it hold it too"
    again = [(run.folder / name).read_bytes() for name in ("000002.nut", "000003.nut")]
    assert again == complete
    assert run.output.path.exists()


def test_segments_of_other_settings_are_refused(find_video: FindVideo, tmp_path: Path) -> None:
    run = Run(find_video("b_frames"), VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    run.go(10, 20)
    run.output = VideoOutput(tmp_path / "out.mp4", preset="slow")
    with pytest.raises(FilmgateError, match="was encoded with other settings"):
        run.go(10)


@pytest.mark.parametrize("unset", mark_slow_cases([None], [0x7F7F << 48, -(0x7F7F << 48), None]))
def test_segment_of_one_frame_needs_no_decoding_times(
    unset: int | None, find_video: FindVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """x265 left them unset, and a run ended with "could not be written" now and then."""
    flush = Encoder.flush

    def unset_times(encoder: Encoder) -> Any:
        packets = flush(encoder)
        for packet in packets:
            packet.dts = unset
        return packets

    monkeypatch.setattr(Encoder, "flush", unset_times)
    run = Run(find_video("uneven"), output(tmp_path / "out.mp4", "hevc"))
    run.go(1)
    report = check(run.output.path, find_video("uneven"))
    assert report.ok, report


def test_impossible_output_is_refused_before_the_first_frame(
    find_video: FindVideo, tmp_path: Path
) -> None:
    (tmp_path / "out.mp4").touch()
    with pytest.raises(OutputExists):
        Run(find_video("even"), VideoOutput(tmp_path / "out.mp4")).go(5)


@pytest.mark.parametrize("name", ["sound", "late_start"])
def test_video_so_far_is_playable(name: str, find_video: FindVideo, tmp_path: Path) -> None:
    run = Run(find_video(name), output(tmp_path / "out.mp4", "h264"))
    run.playable = True
    run.go(5, 10)
    done = frames(run.folder / "playable.mp4")
    assert [frame.time for frame in done] == [frame.time for frame in frames(find_video(name))[:10]]
    so_far, all_of_it = probe(run.folder / "playable.mp4"), probe(find_video(name))
    assert [t.kind for t in so_far.streams] == [t.kind for t in all_of_it.streams]
    run.go(5)
    assert check(run.output.path, find_video(name)).ok


def test_video_without_frames_has_no_segment(find_video: FindVideo, tmp_path: Path) -> None:
    run = Run(find_video("even"), VideoOutput(tmp_path / "o.mkv"))
    video = VideoFile(find_video("even")).open()
    with open_outputs([run.output], video.metadata, video.spec, checkpoints=run) as sink:
        sink.commit(snapshot(0))
    assert run.pieces == ()
