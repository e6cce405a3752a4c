"""Every input is closed by its owner, with its decoder's threads at rest."""

import gc
import subprocess
import sys
from collections.abc import Generator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from filmgate.errors import BadInput
from filmgate.media.containers.open import open_container
from filmgate.media.options import ReadOptions
from filmgate.media.probe import probe, read_frame_times
from filmgate.media.reading.pipe_reader import open_pipe
from filmgate.media.sources import VideoFile
from tests.media.conftest import FindVideo
from tests.open_inputs import watch_inputs
from tests.videos import Video, make


def test_input_that_is_left_open_is_named(find_video: FindVideo) -> None:
    holder: dict[str, Any] = {}
    with watch_inputs() as left:
        opened = open_container(find_video("even"))
        opened.__enter__()
    assert left == [str(find_video("even"))]
    opened.__exit__(None, None, None)
    with watch_inputs() as left:
        holder["self"], holder["reader"] = (
            holder,
            VideoFile(find_video("even")).open().read(None, 1),
        )
        next(holder["reader"])
        del holder
        gc.collect()
    assert left == [f"{find_video('even')}, by the collector"]


@pytest.mark.parametrize("name", ["even", "open_gop_mkv", "h264_avi", "h264_ts", "gif"])
@pytest.mark.parametrize("settings", [{}, {"keep_going": True}, {"start": Fraction(1, 10)}])
def test_reader_that_is_left_early_is_closed(
    name: str, settings: dict[str, Any], find_video: FindVideo
) -> None:
    path = find_video(name)
    with watch_inputs() as left:
        reader = VideoFile(path, **settings).open(threads=4)
        chunks = reader.read(None, 1)
        cursor = [cursor for _, cursor in (next(chunks), next(chunks))][-1]
        resumed = reader.read(cursor, 1)
        times = reader.iter_times()
        next(resumed), next(times)
        for opened in (chunks, resumed, times):
            assert isinstance(opened, Generator)
            opened.close()
    assert not left


def test_failed_openings_leave_nothing_open(find_video: FindVideo, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with watch_inputs() as left:
        for path in (find_video("cut_30.mp4"), find_video("mute.mp4"), tmp_path / "text.mp4"):
            with pytest.raises(BadInput):
                VideoFile(path).open()
        with pytest.raises(BadInput, match="wanted at most 100 pixels"):
            VideoFile(find_video("even"), max_pixels=100).open()
        probe(find_video("even"))
        next(iter(read_frame_times(find_video("even"))))
    assert not left


def test_pipe_is_closed_when_it_is_left_early(find_video: FindVideo) -> None:
    with watch_inputs() as left, open_pipe(ReadOptions(path=find_video("y4m")), None) as reader:
        next(iter(reader.read(None, 1)))
    assert not left


def test_messages_are_off_whatever_another_library_sets(find_video: FindVideo) -> None:
    """torchvision sets a level when it is imported; each message then waits for Python."""
    av.logging.set_level(av.logging.ERROR)
    with open_container(find_video("even")):
        assert av.logging.get_level() is None


@pytest.mark.parametrize("count", [12, pytest.param(500, marks=pytest.mark.slow)])
def test_damaged_videos_are_dropped_without_a_deadlock(count: int, tmp_path: Path) -> None:
    """The process that drops them would hang for ever, in native code: it gets a limit of time."""
    video = make(Video(frames=40, size=(160, 120)), tmp_path / "video.mp4")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.media.drop_videos", str(video), str(count), "1", "2", "8"],
        timeout=(20 + count / 4) * (10 if sys.platform == "win32" else 1),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.stdout == f"dropped {count}\n"
