"""`check` passes correct results, and names each kind of error."""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

import filmgate as fg
from filmgate.core.frame import Frame
from filmgate.core.job import Job, Task
from filmgate.errors import BadInput, Unsupported
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.writing.video_writer import VideoWriter
from filmgate.pipeline.build import compute_time_scale
from filmgate.quality.verify import CheckReport, check
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.provenance import TAG, write_tag
from tests import videos
from tests.cases import mark_slow_cases, mark_slow_combinations
from tests.media.awkward import MORE
from tests.media.old_videos import CONTAINERS, make_old

BASE = videos.Video(
    sounds=("aac",), chapters=True, colour=videos.HD, metadata={"title": "A video", "mine": "kept"}
)


def failed(report: CheckReport) -> set[str]:
    return {finding.name for finding in report.findings if not finding.ok}


EVERY = {**videos.VIDEOS, **MORE}
WRITTEN = (".mp4", ".mov", ".mkv")
# Every container, every kind of timestamps and other streams; `make slow` adds pixels, codecs.
DIFFERENT = {
    "broadcast", "uneven_mkv", "held_first", "hidden_start", "late_start", "one_frame", "vp9",
    "prores", "turned", "rich", "rich_mp4", "cover", "two_videos", "mpeg4_avi", "late_ts",
    "uneven_nut", "fields", "odd_half", "hdr",
}  # fmt: skip
NO_COVER = {".mp4": ".mkv"}  # an mp4 with our tag holds no cover


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param((), id="identity"),
        pytest.param((Interpolate(),), id="interpolate", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("name", mark_slow_cases(DIFFERENT, list(EVERY)))
def test_every_video_passes_and_opencv_counts_the_same_frames(
    name: str, tasks: tuple[Task, ...], tmp_path: Path
) -> None:
    kind = EVERY[name]
    suffix = kind.suffix if kind.suffix in WRITTEN else ".mp4"
    suffix = NO_COVER.get(suffix, suffix) if kind.cover else suffix
    video, out = videos.make(kind, tmp_path / f"video{kind.suffix}"), tmp_path / f"out{suffix}"
    try:
        done = fg.run(tasks, video, VideoOutput(out, preset="ultrafast"))
    except Unsupported:  # alpha, odd sides, deep RGB
        out = tmp_path / "out.mkv"
        done = fg.run(tasks, video, VideoOutput(out, codec="ffv1"))
    report = check(out, video)
    assert not failed(report), report
    assert report.ok
    assert report.tasks is not None
    if name not in ("hidden_start", "late_start", "alpha_mov", "alpha_mkv"):
        assert count_frames(out) == done.written


def count_frames(path: Path) -> int:
    """Return how many frames OpenCV finds, which has an FFmpeg of its own."""
    reader, count = cv2.VideoCapture(str(path)), 0
    while reader.grab():
        count += 1
    return count


@pytest.mark.parametrize(
    ("name", "task", "suffix"),
    [
        ("broadcast", Interpolate(fps=60), ".mkv"),  # its last frame is shorter than a tick
        ("sound_mkv", Interpolate(), ".mp4"),  # mp4 sets a default track if there is none
        ("rich", Interpolate(slow=2), ".mkv"),  # the sound goes, the attachment stays
    ],
)
def test_a_correct_result_passes_where_containers_differ(
    name: str, task: Task, suffix: str, tmp_path: Path
) -> None:
    kind, out = videos.VIDEOS[name], tmp_path / f"out{suffix}"
    video = videos.make(kind, tmp_path / f"video{kind.suffix}")
    fg.run(task, video, out)
    report = check(out, video)
    assert report.ok, report


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_the_time_code_of_an_mxf_is_found_in_the_video(suffix: str, tmp_path: Path) -> None:
    video = make_old(replace(CONTAINERS["camera.mxf"], frames=6), tmp_path / "in.mxf")
    assert "timecode" in probe(video).metadata
    out = tmp_path / f"out{suffix}"
    fg.run((), video, out)
    report = check(out, video)
    assert report.ok, report


def test_a_cover_that_mp4_cannot_hold_is_reported_by_run_and_check(tmp_path: Path) -> None:
    video, heard = videos.make(videos.VIDEOS["cover"], tmp_path / "video.mp4"), list[fg.Event]()
    fg.run((), video, tmp_path / "out.mp4", on_event=heard.append)
    assert [event for event in heard if isinstance(event, fg.Warned) and "cover" in event.message]
    assert failed(check(tmp_path / "out.mp4", video)) == {"streams"}


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result of BASE."""
    folder = tmp_path_factory.mktemp("copied")
    video, out = videos.make(BASE, folder / "video.mp4"), folder / "out.mp4"
    fg.run((), video, VideoOutput(out, preset="ultrafast"))
    return out


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"frames": 13}, {"frames", "duration"}),
        ({"times": tuple(Fraction(4 * n + (n == 5), 100) for n in range(12))}, {"times"}),
        ({"last": Fraction(1, 5)}, {"duration"}),
        ({"start": Fraction(1, 2)}, {"sync of audio 1"}),
        ({"sounds": ()}, {"streams"}),
        ({"sounds": ("aac", "aac")}, {"streams"}),
        ({"subtitles": "mov_text"}, {"streams"}),
        ({"chapters": False}, {"chapters"}),
        ({"metadata": {"title": "Another", "mine": "kept"}}, {"metadata"}),
        ({"colour": videos.FULL}, {"image"}),
        ({"aspect": Fraction(4, 3)}, {"image"}),
        ({"turn": 90}, {"image"}),
    ],
)  # fmt: skip
def test_each_difference_has_its_name(
    change: dict[str, object], names: set[str], copied: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copy(copied, tmp_path))
    other = videos.make(replace(BASE, **change), tmp_path / "other.mp4")  # type: ignore[arg-type]
    assert failed(check(out, other)) == names


def write(video: Path, out: Path, frames: Iterable[Frame], task: Task, tag: bool = True) -> Path:
    """Write a result as if `task` had returned these frames."""
    source, sink = VideoFile(video), VideoOutput(out, preset="ultrafast")
    tags = {TAG: write_tag(Job(source, sink, (task,)))} if tag else {}
    with source.open() as opened:
        spec = replace(opened.spec, rate=None)
        scale = compute_time_scale([task])
        with VideoWriter(
            sink.encode_options, spec, opened.metadata, time_scale=scale, tags=tags
        ) as result:
            result.write(list(frames))
            result.finish()
    return out


def retime(video: Path, task: Task) -> list[Frame]:
    return list(task.timeline(list(fg.frames((), video))))


TASKS = [Interpolate(factor=2), Interpolate(fps=60, ends="drop"), Interpolate(slow=3)]


@pytest.mark.parametrize(
    ("name", "task"),
    mark_slow_combinations(
        [
            ("sound", TASKS[2]),
            ("uneven", TASKS[1]),
            ("uneven_mkv", TASKS[0]),
            ("hidden_start", TASKS[1]),
        ],
        ["sound", "uneven", "uneven_mkv", "hidden_start"],
        TASKS,
    ),
)
def test_the_times_of_a_task_pass(name: str, task: Interpolate, tmp_path: Path) -> None:
    kind = videos.VIDEOS[name]
    video = videos.make(kind, tmp_path / f"video{kind.suffix}")
    out = write(video, tmp_path / f"out{kind.suffix}", retime(video, task), task)
    report = check(out, video)
    assert not failed(report), report


@pytest.mark.parametrize("task", mark_slow_cases(TASKS[:1], TASKS))
def test_a_missing_or_misplaced_frame_fails(task: Interpolate, tmp_path: Path) -> None:
    video = videos.make(videos.VIDEOS["uneven"], tmp_path / "video.mp4")
    frames = retime(video, task)
    short = write(video, tmp_path / "short.mp4", frames[:-1], task)
    assert failed(check(short, video)) == {"frames", "duration"}
    late, after = frames[3], Fraction(1, 10_000)
    moved = [*frames[:2], replace(frames[2], duration=frames[2].duration + after),
             replace(late, time=late.time + after, duration=late.duration - after),
             *frames[4:]]  # fmt: skip
    assert failed(check(write(video, tmp_path / "moved.mp4", moved, task), video)) == {"times"}


def test_without_a_tag_frame_times_are_not_checked_and_a_note_says_so(tmp_path: Path) -> None:
    video, task = videos.make(videos.VIDEOS["sound"], tmp_path / "video.mp4"), Interpolate(factor=2)
    out = write(video, tmp_path / "out.mp4", retime(video, task), task, tag=False)
    report = check(out, video)
    assert report.ok
    assert report.tasks is None
    assert "no Filmgate tag" in report.note
    assert {f.name for f in report.findings}.isdisjoint({"frames", "times"})


def test_a_missing_video_is_an_error(tmp_path: Path) -> None:
    video = videos.make(videos.Video(), tmp_path / "video.mp4")
    with pytest.raises(BadInput, match="does not exist"):
        check(tmp_path / "none.mp4", video)
