"""The index of an avi is behind its frames: a recorder that is switched off writes none."""

from fractions import Fraction
from pathlib import Path

import pytest

from filmgate.media.containers.integrity import check_structure
from filmgate.media.sources import VideoFile
from tests.media.awkward import check_any_cursor, read_frames
from tests.videos import Video, make, read_number


def write_avi(path: Path) -> bytes:
    video = Video(suffix=".avi", codec="mjpeg", pixels="yuvj420p", options={}, tick=Fraction(1, 25))
    return make(video, path).read_bytes()


@pytest.mark.parametrize("left", [0, 4, 50])
def test_an_index_that_is_cut_off_loses_no_frame(left: int, tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    data = write_avi(path)
    path.write_bytes(data[: data.rindex(b"idx1") + left])
    reader = VideoFile(path).open()
    frames = read_frames(reader)
    assert [read_number(frame) for frame in frames] == list(range(12))
    assert "the index behind its frames is cut off" in str(frames[0].extras["notice"])
    check_any_cursor(reader)


@pytest.mark.parametrize(("lost", "found"), [(1, "truncated"), (3000, "truncated")])
def test_frames_that_are_cut_off_are_damage(lost: int, found: str, tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    data = write_avi(path)
    path.write_bytes(data[: data.rindex(b"idx1") - lost])
    assert check_structure(path).damage.startswith(found)
