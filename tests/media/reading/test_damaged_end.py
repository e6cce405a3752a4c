"""Bare streams whose last frame is damaged: nothing comes after it that could report it."""

from pathlib import Path

import pytest

from filmgate.errors import BadInput
from filmgate.media.sources import VideoFile
from tests.media.awkward import read_frames
from tests.videos import PLAIN, Video, make, read_number


def test_a_damaged_last_frame_of_a_bare_stream_is_reported(tmp_path: Path) -> None:
    path = make(Video(frames=4, suffix=".h264", options=PLAIN), tmp_path / "a.h264")
    data = path.read_bytes()
    last = data.rindex(b"\0\0\1") + 6
    path.write_bytes(data[:last] + bytes(len(data) - last))
    with pytest.raises(BadInput, match=r"is damaged: .* pass --keep-going"):
        read_frames(VideoFile(path).open())
    frames = read_frames(VideoFile(path, keep_going=True).open())
    assert [read_number(frame) for frame in frames] == [0, 1, 2]
    assert "the frames at its end can't be decoded" in str(frames[-1].extras["concealed"])
