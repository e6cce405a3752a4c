"""Reading: every frame that is shown, its exact time, and the same from any place on."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from filmgate.core.frame import Frame
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadInput
from filmgate.media.pixels.planes import Planes
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.sources import VideoFile
from tests.media.conftest import Reel
from tests.videos import BROKEN, VIDEOS, number_of


def frames(film: VideoReader, cursor: Cursor | None = None, size: int = 8) -> list[Frame]:
    return [frame for chunk, _ in film.read(cursor, size) for frame in chunk]


def same(one: Frame, other: Frame) -> bool:
    assert isinstance(one.image, Planes)
    assert isinstance(other.image, Planes)
    pairs = zip(one.image.arrays, other.image.arrays, strict=True)
    known = (one.index, one.time, one.duration) == (other.index, other.time, other.duration)
    return known and all(np.array_equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", VIDEOS)
def test_every_shown_frame_comes_once_with_its_exact_time(name: str, reel: Reel) -> None:
    film = VideoFile(reel(name)).open()
    found = [(frame.time, frame.duration, number_of(frame)) for frame in frames(film)]
    assert found == list(VIDEOS[name].shown)
    assert list(film.times()) == [(time, duration) for time, duration, _ in found]


@pytest.mark.parametrize("name", VIDEOS)
def test_from_any_cursor_on_the_frames_are_those_read_from_the_beginning(
    name: str, reel: Reel
) -> None:
    film = VideoFile(reel(name)).open()
    whole = frames(film)
    for chunk, cursor in film.read(None, 1):
        rest = frames(film, cursor, size=4)
        assert len(rest) == len(whole) - chunk[-1].index - 1
        assert all(same(a, b) for a, b in zip(whole[chunk[-1].index + 1 :], rest, strict=True))


@pytest.mark.parametrize("size", [1, 5, 8])
def test_chunks_end_at_multiples_of_their_size_wherever_reading_begins(
    size: int, reel: Reel
) -> None:
    film = VideoFile(reel("even")).open()
    third = next(c for chunk, c in film.read(None, 3) if chunk[-1].index == 2)
    for cursor in (None, third):
        ends = [(chunk[-1].index + 1, place.index) for chunk, place in film.read(cursor, size)]
        assert all(end == index for end, index in ends)
        assert all(end % size == 0 for end, _ in ends[:-1])
        assert ends[-1][0] == 12


def test_a_cursor_that_no_frame_has_is_an_error(reel: Reel) -> None:
    film = VideoFile(reel("b_frames")).open()
    with pytest.raises(BadInput, match=r"no frame at 0\.100 s.*has changed"):
        frames(film, Cursor(2, film.start + 1280))


def test_eight_bit_planes_are_the_decoder_s_own_memory(reel: Reel) -> None:
    image = frames(VideoFile(reel("even")).open())[0].image
    assert isinstance(image, Planes)
    assert all(not array.flags.owndata for array in image.arrays)
    assert [array.shape for array in image.arrays] == [(48, 64), (24, 32), (24, 32)]


@pytest.mark.parametrize(
    ("name", "pixels", "dtype"),
    [
        ("ten_bits", "yuv420p10le", "uint16"),
        ("packed", "yuv422p", "uint8"),
        ("ffv1_rgb", "gbrp", "uint8"),
        ("grey", "gray", "uint8"),
        ("full_range_jpeg", "yuv420p", "uint8"),
    ],
)
def test_every_pixel_format_arrives_planar(name: str, pixels: str, dtype: str, reel: Reel) -> None:
    film = VideoFile(reel(name)).open()
    image = frames(film)[0].image
    assert isinstance(image, Planes)
    assert (film.spec.pixels, film.spec.dtype) == (image.pixels, str(image.arrays[0].dtype))
    assert (film.spec.pixels, film.spec.dtype) == (pixels, dtype)


def test_colour_is_told_as_the_film_tells_it(reel: Reel) -> None:
    told = VideoFile(reel("ten_bits")).open().spec.colour
    assert (told.matrix, told.primaries, told.transfer, told.range) == (*["bt709"] * 3, "tv")
    assert VideoFile(reel("full_range")).open().spec.colour.range == "pc"
    jpeg = VideoFile(reel("full_range_jpeg")).open().spec.colour
    assert (jpeg.matrix, jpeg.range, jpeg.siting) == ("bt470bg", "pc", "center")
    assert VideoFile(reel("even")).open().spec.colour.matrix == "unknown"


@pytest.mark.parametrize("name", ["uneven", "uneven_mkv", "held_first"])
def test_an_uneven_film_has_no_rate(name: str, reel: Reel) -> None:
    assert VideoFile(reel(name)).open().spec.rate is None


def test_an_even_film_has_its_rate_in_every_container(reel: Reel) -> None:
    assert {VideoFile(reel(n)).open().spec.rate for n in ("even", "even_mkv", "even_mov")} == {25}
    assert VideoFile(reel("broadcast")).open().spec.rate == Fraction(30000, 1001)
    assert VideoFile(reel("hidden_start")).open().spec.rate == 25


def test_a_cover_is_never_the_film_and_a_stream_can_be_chosen(reel: Reel) -> None:
    assert VideoFile(reel("cover_mkv")).open().spec.width == 64
    assert VideoFile(reel("two_videos"), video=1).open().spec.height == 48
    assert VideoFile(reel("two_videos"), video=0).open().spec.height == 32
    with pytest.raises(BadInput, match="no video stream 2: its video streams are 0, 1"):
        VideoFile(reel("two_videos"), video=2).open()


@pytest.mark.parametrize("name", [name for name in BROKEN if name.startswith(("cut", "scratched"))])
def test_a_damaged_film_is_an_error_and_never_a_shorter_film(name: str, reel: Reel) -> None:
    with pytest.raises(BadInput, match=r"damaged|cut short") as caught:
        frames(VideoFile(reel(name)).open())
    assert "missing" in str(caught.value) or " s" in str(caught.value)


def test_damage_is_told_with_its_time_after_the_frames_before_it(reel: Reel) -> None:
    seen: list[Frame] = []
    chunks = VideoFile(reel("scratched_h264.mp4")).open().read(None, 1)
    with pytest.raises(BadInput, match=r"decoding after 0\.\d+ s|picture at 0\.\d+ s"):
        seen.extend(frame for chunk, _ in chunks for frame in chunk)
    assert [number_of(frame) for frame in seen] == list(range(len(seen)))
    assert len(seen) > 8


def test_what_is_no_film_is_told_in_plain_words(reel: Reel, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("#EXTM3U\nhttp://example.invalid/secret.ts\n")
    with pytest.raises(BadInput, match="begins with b'#EXTM3U"):
        VideoFile(text).open()
    (tmp_path / "nothing.mp4").touch()
    with pytest.raises(BadInput, match="is empty: 0 bytes"):
        VideoFile(tmp_path / "nothing.mp4").open()
    with pytest.raises(BadInput, match="does not exist"):
        VideoFile(tmp_path / "absent.mp4").open()
    with pytest.raises(BadInput, match="is a folder"):
        VideoFile(tmp_path).open()
    with pytest.raises(BadInput, match="has no video stream: it holds 0: audio"):
        VideoFile(reel("mute.mp4")).open()
