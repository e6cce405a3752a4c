"""A video through a pipe: read once, completely or with the time of the fault."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from threading import Thread

import av
import numpy as np
import pytest

from filmgate.core.frame import Frame
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadInput, BadSetting, Unsupported, UserError
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile, VideoPipe
from tests.videos import Video, make

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev/fd")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(Video(), tmp_path_factory.mktemp("pipe") / "plain.mp4")


def _as(video: Path, format: str, codec: str) -> bytes:
    """Return the video's frames in another container."""
    path = video.with_name(f"{format}.bin")
    if path.exists():
        return path.read_bytes()
    with av.open(str(video)) as given, av.open(str(path), "w", format=format) as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in given.decode(given.streams.video[0]):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path.read_bytes()


@contextmanager
def _pipe(data: bytes) -> Iterator[Path]:
    """Open a pipe that a thread writes `data` into."""
    reads, writes = os.pipe()

    def write() -> None:
        try:
            with os.fdopen(writes, "wb") as file:
                file.write(data)
        except BrokenPipeError:
            pass  # the reader refused it before its end

    thread = Thread(target=write)
    thread.start()
    try:
        yield Path(f"/dev/fd/{reads}")
    finally:
        os.close(reads)
        thread.join()


def _read(pipe: VideoPipe) -> list[Frame]:
    with pipe.open(threads=1) as video:
        return [frame for chunk, _ in video.read(None, 4) for frame in chunk]


def _read_file(video: Path, **trim: Fraction) -> list[Frame]:
    with VideoFile(video).open(threads=1) as opened:
        return [frame for chunk, _ in opened.read(None, 4) for frame in chunk]


@pytest.mark.parametrize(
    ("format", "codec"),
    [("yuv4mpegpipe", "rawvideo"), ("nut", "ffv1"), ("mpegts", "libx264")],
)
def test_every_frame_is_read_from_a_pipe(video: Path, format: str, codec: str) -> None:
    codec = "wrapped_avframe" if format == "yuv4mpegpipe" else codec
    with _pipe(_as(video, format, codec)) as path:
        frames = _read(VideoPipe(path))
    wanted = _read_file(video)
    assert [(f.index, f.time) for f in frames] == [(f.index, f.time) for f in wanted]
    assert "--spool" in str(frames[0].extras["notice"])
    assert not frames[1].extras
    if codec == "libx264":
        return
    for ours, first in zip(frames, wanted, strict=True):
        assert isinstance(ours.image, Planes)
        assert isinstance(first.image, Planes)
        assert ours.duration == first.duration
        for a, b in zip(ours.image.arrays, first.image.arrays, strict=True):
            np.testing.assert_array_equal(a, b)


def test_trim_of_a_pipe_keeps_the_same_frames(video: Path) -> None:
    data = _as(video, "nut", "ffv1")
    with _pipe(data) as path:
        frames = _read(VideoPipe(path, start=Fraction(2, 25), end=Fraction(7, 25), max_frames=4))
    assert [f.time for f in frames] == [Fraction(n, 25) for n in range(4)]
    with _pipe(data) as path, pytest.raises(BadInput, match="no frame from 99 s"):
        _read(VideoPipe(path, start=Fraction(99)))


def test_pipe_is_read_once(video: Path) -> None:
    with _pipe(_as(video, "nut", "ffv1")) as path, VideoPipe(path).open(threads=1) as opened:
        with pytest.raises(BadSetting, match="--spool"):
            next(opened.read(Cursor(3, 3), 4))
        assert len(list(opened.read(None, 4))) == 3
        with pytest.raises(BadSetting, match="can't be read twice"):
            next(opened.read(None, 4))
        assert opened.metadata.path is None


def test_spooled_pipe_reads_like_a_file(video: Path, tmp_path: Path) -> None:
    with (
        _pipe(video.read_bytes()) as path,
        VideoPipe(path, spool=tmp_path).open(threads=1) as opened,
    ):
        chunks = list(opened.read(None, 4))
        assert len(list(opened.read(chunks[0][1], 4))) == len(chunks) - 1
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_truncated_y4m_is_refused_with_the_time(video: Path) -> None:
    data = _as(video, "yuv4mpegpipe", "wrapped_avframe")
    frame = (len(data) - data.index(b"\n") - 1) // 12
    for less in (1, frame // 2, 2 * frame - 3):
        with _pipe(data[:-less]) as path, pytest.raises(BadInput, match=r"truncated: after 0\.\d+"):
            _read(VideoPipe(path))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", BadInput, "empty pipe"),
        (b"#EXTM3U\nfile:///etc/passwd\n", BadInput, "starts with b'#EXTM3U"),
        (b"\0\0\0\x18ftypisom" + bytes(200), Unsupported, "--spool"),
        (
            b"\x1a\x45\xdf\xa3" + bytes(200),
            Unsupported,
            "completeness can only be checked in a file",
        ),
        (b"YUV4MPEG2 W60000 H60000 F25:1\nFRAME\n" + bytes(99), UserError, "/dev/fd"),
    ],
)
def test_pipe_without_a_video_is_refused(data: bytes, error: type[UserError], message: str) -> None:
    with _pipe(data) as path, pytest.raises(error, match=message):
        _read(VideoPipe(path))
