"""An input that is replaced or changed is reported: the result is never of two videos."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.errors import BadInput, BadSetting, Exit, Interrupted
from filmgate.jobs.inputs import InputWatch
from tests import videos

PLAN = fg.Plan(chunk=2, segment_frames=8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, same in (("in.mp4", 1), ("new.mp4", 2)):
        videos.make(videos.Video(frames=20, same=same, sounds=("aac",)), tmp_path / name)
    return tmp_path / "in.mp4"


def job_of(source: Path) -> fg.Job:
    sink = fg.VideoOutput(source.with_name("out.mp4"), preset="veryfast")
    return fg.Job(fg.VideoFile(source), sink)


def replace_file(source: Path) -> None:
    os.replace(source.with_name("new.mp4"), source)


def rewrite_byte(source: Path) -> None:
    """Change a byte in the middle, in place."""
    with source.open("r+b") as file:
        file.seek(source.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def rewrite_and_reset_time(source: Path) -> None:
    stat = source.stat()
    rewrite_byte(source)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))


WAYS = [
    (replace_file, "replaced by another file"),
    (rewrite_byte, "changed"),
    (rewrite_and_reset_time, "changed"),
    (Path.unlink, "removed"),
]


@pytest.mark.parametrize("after", ["first commit", "last frame"])
@pytest.mark.parametrize(("change", "how"), WAYS)
def test_source_that_changes_while_a_run_reads_it_is_refused(
    change: Callable[[Path], None], how: str, after: str, source: Path
) -> None:
    """Its frames were of the old video, and its audio of the new one."""

    def run() -> None:
        waiting = True
        for event in fg.events(job_of(source), PLAN):
            last = isinstance(event, fg.Progress) and event.read == 20
            if waiting and (last if after == "last frame" else isinstance(event, fg.Committed)):
                change(source)
                waiting = False

    with pytest.raises(BadInput, match=rf"in.mp4 was {how} while the run read it.*--restart"):
        run()
    assert not source.with_name("out.mp4").exists()


def test_source_that_changed_between_two_runs_is_refused(source: Path) -> None:
    """Samples of its bytes are not enough: a changed frame may be between them."""
    with pytest.raises(Interrupted):
        list(fg.events(job_of(source), PLAN,
                       resume_options=fg.ResumeOptions(pause_after=Fraction(0))))  # fmt: skip
    before = source.stat()
    rewrite_byte(source)
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns + 100))  # a step of NTFS
    with pytest.raises(BadSetting, match=r"in.mp4 was changed since .*--restart") as caught:
        list(fg.events(job_of(source), PLAN))
    assert caught.value.exit_code == Exit.USER


def test_exact_copy_of_a_source_is_taken_and_reported(source: Path) -> None:
    with pytest.raises(Interrupted):
        list(fg.events(job_of(source), PLAN,
                       resume_options=fg.ResumeOptions(pause_after=Fraction(0))))  # fmt: skip
    stat = source.stat()
    copy = source.with_name("copy.mp4")
    copy.write_bytes(source.read_bytes())
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(copy, source)
    events = list(fg.events(job_of(source), PLAN))
    assert any("another file" in e.message for e in events if isinstance(e, fg.Warned))
    assert isinstance(events[-1], fg.Done)


def test_new_permissions_are_no_change(source: Path) -> None:
    events = []
    for event in fg.events(job_of(source), PLAN):
        if isinstance(event, fg.Committed):
            source.chmod(0o600)
        events.append(event)
    assert isinstance(events[-1], fg.Done)


def test_any_file_among_many_is_watched_at_the_end(tmp_path: Path) -> None:
    paths = [tmp_path / str(n) for n in range(70)]
    for path in paths:
        path.write_bytes(b"one")
    with InputWatch(paths) as watch:
        watch.check()
        paths[69].write_bytes(b"three")
        watch.check(ended=False)
        with pytest.raises(BadInput, match="69 was changed"):
            watch.check()
