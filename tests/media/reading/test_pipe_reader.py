"""A film through a pipe: read once, whole or with the time of what is wrong."""

from __future__ import annotations

import os
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


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(Video(), tmp_path_factory.mktemp("pipe") / "plain.mp4")


def _as(film: Path, format: str, codec: str) -> bytes:
    """The film's pictures in another container."""
    made = film.with_name(f"{format}.bin")
    if made.exists():
        return made.read_bytes()
    with av.open(str(film)) as given, av.open(str(made), "w", format=format) as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in given.decode(given.streams.video[0]):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return made.read_bytes()


@contextmanager
def _pipe(data: bytes) -> Iterator[Path]:
    """A pipe that somebody writes `data` into."""
    reads, writes = os.pipe()

    def write() -> None:
        try:
            with os.fdopen(writes, "wb") as file:
                file.write(data)
        except BrokenPipeError:
            pass  # refused before its end

    thread = Thread(target=write)
    thread.start()
    try:
        yield Path(f"/dev/fd/{reads}")
    finally:
        os.close(reads)
        thread.join()


def _read(pipe: VideoPipe) -> list[Frame]:
    with pipe.open(threads=1) as film:
        return [frame for chunk, _ in film.read(None, 4) for frame in chunk]


def _whole(film: Path, **trim: Fraction) -> list[Frame]:
    with VideoFile(film).open(threads=1) as opened:
        return [frame for chunk, _ in opened.read(None, 4) for frame in chunk]


@pytest.mark.parametrize(
    ("format", "codec"),
    [("yuv4mpegpipe", "rawvideo"), ("nut", "ffv1"), ("mpegts", "libx264")],
)
def test_every_frame_comes_through(film: Path, format: str, codec: str) -> None:
    codec = "wrapped_avframe" if format == "yuv4mpegpipe" else codec
    with _pipe(_as(film, format, codec)) as path:
        frames = _read(VideoPipe(path))
    wanted = _whole(film)
    assert [(f.index, f.time) for f in frames] == [(f.index, f.time) for f in wanted]
    assert "--spool" in str(frames[0].extras["noted"])
    assert not frames[1].extras
    if codec == "libx264":
        return
    for ours, first in zip(frames, wanted, strict=True):
        assert isinstance(ours.image, Planes)
        assert isinstance(first.image, Planes)
        assert ours.duration == first.duration
        for a, b in zip(ours.image.arrays, first.image.arrays, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_trim_keeps_the_same_frames(film: Path) -> None:
    data = _as(film, "nut", "ffv1")
    with _pipe(data) as path:
        frames = _read(VideoPipe(path, from_=Fraction(2, 25), to=Fraction(7, 25), frames=4))
    assert [f.time for f in frames] == [Fraction(n, 25) for n in range(4)]
    with _pipe(data) as path, pytest.raises(BadInput, match="no picture from 99 s"):
        _read(VideoPipe(path, from_=Fraction(99)))


def test_it_is_read_once(film: Path) -> None:
    with _pipe(_as(film, "nut", "ffv1")) as path, VideoPipe(path).open(threads=1) as opened:
        with pytest.raises(BadSetting, match="--spool"):
            next(opened.read(Cursor(3, 3), 4))
        assert len(list(opened.read(None, 4))) == 3
        with pytest.raises(BadSetting, match="can't be read twice"):
            next(opened.read(None, 4))
        assert opened.origin.path is None  # type: ignore[attr-defined]


def test_a_spooled_pipe_is_a_film_as_any_other(film: Path, tmp_path: Path) -> None:
    with (
        _pipe(film.read_bytes()) as path,
        VideoPipe(path, spool=tmp_path).open(threads=1) as opened,
    ):
        chunks = list(opened.read(None, 4))
        assert len(list(opened.read(chunks[0][1], 4))) == len(chunks) - 1
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_y4m_cut_short_is_refused_with_the_time(film: Path) -> None:
    data = _as(film, "yuv4mpegpipe", "wrapped_avframe")
    frame = (len(data) - data.index(b"\n") - 1) // 12
    for less in (1, frame // 2, 2 * frame - 3):
        with _pipe(data[:-less]) as path, pytest.raises(BadInput, match=r"cut short: after 0\.\d+"):
            _read(VideoPipe(path))


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"", BadInput, "empty pipe"),
        (b"#EXTM3U\nfile:///etc/passwd\n", BadInput, "begins with b'#EXTM3U"),
        (b"\0\0\0\x18ftypisom" + bytes(200), Unsupported, "--spool"),
        (b"\x1a\x45\xdf\xa3" + bytes(200), Unsupported, "whether it is whole"),
        (b"YUV4MPEG2 W60000 H60000 F25:1\nFRAME\n" + bytes(99), UserError, "/dev/fd"),
    ],
)
def test_what_is_no_film_is_refused(data: bytes, error: type[UserError], said: str) -> None:
    with _pipe(data) as path, pytest.raises(error, match=said):
        _read(VideoPipe(path))
