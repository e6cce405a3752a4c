"""Animated images are videos of all their frames, or refused; a still image stays one."""

from __future__ import annotations

import os
import struct
from contextlib import nullcontext
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream
from PIL import Image

from filmgate.errors import BadInput
from filmgate.media.containers.animated_png import is_animated_png
from filmgate.media.pixels.planes import Planes
from filmgate.media.probe import probe
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile, is_images
from filmgate.media.writing.thread_priority import keep_priority
from filmgate.quality.verify import check
from tests.media.streams.copying import copy
from tests.videos import draw_image


def encode(path: Path, codec: str, container: str, pixels: str, frames: int = 5) -> Path:
    os.environ.setdefault("SVT_LOG", "1")  # else it prints a banner
    with keep_priority(), av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=10)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
        for n in range(frames):
            frame = av.VideoFrame.from_ndarray(draw_image(n, 64, 48), "gray")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = n, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["in.png", "in.apng", "IN.PNG", "in.bin"])
@pytest.mark.parametrize("pixels", ["rgb24", "rgba", "gray"])
def test_animated_png_is_a_video_under_every_name(tmp_path: Path, name: str, pixels: str) -> None:
    path = encode(tmp_path / name, "apng", "apng", pixels)
    assert not is_images(path)
    with VideoFile(path).open() as reader:
        frames = [frame for chunk, _ in reader.read(None, 2) for frame in chunk]
    assert [frame.time for frame in frames] == [Fraction(n, 10) for n in range(5)]
    assert frames[-1].duration == Fraction(1, 10)
    for n, frame in enumerate(frames):
        assert isinstance(frame.image, Planes)
        assert np.array_equal(frame.image.arrays[0], draw_image(n, 64, 48))


def test_still_png_is_an_image(tmp_path: Path) -> None:
    path = encode(tmp_path / "in.png", "png", "image2", "rgb24", frames=1)
    assert is_images(path)
    assert not is_animated_png(path)
    one = encode(tmp_path / "one.png", "apng", "apng", "rgb24", frames=1)
    assert is_images(one)
    assert len(ImageSequence(one).open().paths) == 1
    (tmp_path / "torn.png").write_bytes(path.read_bytes()[:20])
    assert is_images(tmp_path / "torn.png")


def test_animated_avif_has_all_its_frames(tmp_path: Path) -> None:
    """It also has a still image for programs that show no animation."""
    path = encode(tmp_path / "in.avif", "libsvtav1", "avif", "yuv420p")
    with VideoFile(path).open() as reader:
        assert sum(len(chunk) for chunk, _ in reader.read(None, 2)) == 5
    for suffix in (".mkv", ".mov"):
        out = tmp_path / f"out{suffix}"
        copy(VideoFile(path), VideoOutput(out))
        videos = [stream for stream in probe(out).streams if stream.kind == "video"]
        assert [stream.codec for stream in videos] == ["h264"]
        assert check(out, path).ok


def draw_webp(path: Path, durations: list[int], alpha: int = 255) -> Path:
    """Write an animated WebP, lossless: numbered frames that last so many milliseconds."""
    frames = []
    for n in range(len(durations)):
        rgb = Image.fromarray(np.repeat(draw_image(n, 64, 48)[..., None], 3, axis=2))
        rgb.putalpha(alpha if n else 255)
        frames.append(rgb)
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:], duration=durations,
                   lossless=True, minimize_size=False)  # fmt: skip
    return path


@pytest.mark.parametrize("name", ["in.webp", "IN.WEBP", "in.bin"])
def test_animated_webp_is_a_video_under_every_name(name: str, tmp_path: Path) -> None:
    path = draw_webp(tmp_path / name, [40] * 5)
    assert not is_images(path)
    reader = VideoFile(path).open()
    assert (reader.spec.rate, reader.spec.frames, reader.spec.pixels) == (Fraction(25), 5, "gbrp")
    chunks = list(reader.read(None, 2))
    frames = [frame for chunk, _ in chunks for frame in chunk]
    assert [frame.time for frame in frames] == [Fraction(n, 25) for n in range(5)]
    assert frames[-1].duration == Fraction(1, 25)
    for n, frame in enumerate(frames):
        assert np.array_equal(frame.image.arrays[0], draw_image(n, 64, 48))  # type: ignore[attr-defined]
    resumed = [frame for chunk, _ in reader.read(chunks[0][1], 2) for frame in chunk]
    assert [frame.index for frame in resumed] == [2, 3, 4]
    assert np.array_equal(resumed[0].image.arrays[0], draw_image(2, 64, 48))  # type: ignore[attr-defined]
    later = VideoFile(path, start=Fraction(3, 25)).open()
    assert [len(chunk) for chunk, _ in later.read(None, 8)] == [2]
    assert probe(path).container == "webp"


def test_times_of_an_animated_webp_are_its_own(tmp_path: Path) -> None:
    """A frame without a length lasts 0.1 s, as in browsers; what is transparent is shown white."""
    path = draw_webp(tmp_path / "in.webp", [30, 200, 0, 50], alpha=0)
    frames = [f for chunk, _ in VideoFile(path).open().read(None, 9) for f in chunk]
    assert [f.time for f in frames] == [Fraction(n, 1000) for n in (0, 30, 230, 330)]
    assert frames[-1].end == Fraction(380, 1000)
    assert "transparent pixels are shown white" in str(frames[1].extras["notice"])


@pytest.mark.parametrize("keep_going", [False, True])
def test_damaged_webp_is_refused_or_ends_with_its_last_good_frame(
    keep_going: bool, tmp_path: Path
) -> None:
    path = draw_webp(tmp_path / "in.webp", [40] * 6)
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    with pytest.raises(BadInput, match="truncated"):
        VideoFile(path).open()
    damaged = bytearray(data)
    fourth = [n for n in range(len(data)) if data[n : n + 4] == b"VP8L"][3]
    damaged[fourth + 13 : fourth + 40] = b"\xff" * 27  # behind its header
    path.write_bytes(damaged)
    reader = VideoFile(path, keep_going=keep_going).open()
    with nullcontext() if keep_going else pytest.raises(BadInput, match="is damaged"):
        frames = [frame for chunk, _ in reader.read(None, 1) for frame in chunk]
        assert [frame.index for frame in frames] == [0, 1, 2]


@pytest.mark.parametrize(
    ("codec", "container", "pixels", "suffix", "message"),
    [
        ("apng", "apng", "rgb24", ".png", "animated PNG: pass it by itself, as a video"),
        ("libwebp_anim", "webp", "bgra", ".webp", "animated WebP: pass it by itself, as a video"),
    ],
)
def test_animation_among_images_is_refused(
    tmp_path: Path, codec: str, container: str, pixels: str, suffix: str, message: str
) -> None:
    encode(tmp_path / f"0{suffix}", codec, container, pixels)
    with pytest.raises(BadInput, match=message):
        ImageSequence(tmp_path).open()


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_truncated_animation_is_refused(tmp_path: Path, share: float) -> None:
    path = encode(tmp_path / "in.png", "apng", "apng", "rgb24")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadInput, match="truncated"):
        VideoFile(path).open()


def test_flipped_bit_of_an_animation_is_refused(tmp_path: Path) -> None:
    path = encode(tmp_path / "in.png", "apng", "apng", "rgb24")
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(BadInput, match="wrong checksum"):
        VideoFile(path).open()


def _tiff_pages(first: bytes, kinds: list[int]) -> bytes:
    """Return a TIFF with further directories; each has only a NewSubfileType of that kind."""
    at = struct.unpack("<I", first[4:8])[0]
    end = at + 2 + 12 * struct.unpack("<H", first[at : at + 2])[0]
    data = bytearray(first)
    for kind in kinds:
        data[end : end + 4] = struct.pack("<I", len(data))
        end = len(data) + 14
        data += struct.pack("<HHHIII", 1, 254, 4, 1, kind, 0)
    return bytes(data)


@pytest.mark.parametrize(("kinds", "pages"), [([0], 2), ([2, 2], 3), ([1, 0], 2), ([1, 4], 1)])
def test_pages_of_a_tiff_are_not_dropped(tmp_path: Path, kinds: list[int], pages: int) -> None:
    """A thumbnail (1) and a mask (4) are no pages; a page of several (2) is one."""
    still = encode(tmp_path / "still.tiff", "tiff", "image2", "rgb24", frames=1).read_bytes()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.tiff").write_bytes(_tiff_pages(still, kinds))
    if pages == 1:
        assert ImageSequence(tmp_path / "in").open().spec.width == 64
        return
    with pytest.raises(BadInput, match=f"has {pages} pages, wanted one"):
        ImageSequence(tmp_path / "in").open()
