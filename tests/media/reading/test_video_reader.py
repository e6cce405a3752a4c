"""Reading: every shown frame with its exact time, and the same from any cursor."""

from fractions import Fraction
from pathlib import Path

import pytest

from filmgate.core.frame import Frame
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadInput
from filmgate.media.pixels.planes import Planes
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.sources import VideoFile
from tests.cases import mark_slow_cases
from tests.media.awkward import check_any_cursor
from tests.media.conftest import FindVideo
from tests.videos import BROKEN, VIDEOS, read_number


def frames(reader: VideoReader, cursor: Cursor | None = None, size: int = 8) -> list[Frame]:
    return [frame for chunk, _ in reader.read(cursor, size) for frame in chunk]


@pytest.mark.parametrize("name", VIDEOS)
def test_every_shown_frame_is_read_once_with_its_exact_time(
    name: str, find_video: FindVideo
) -> None:
    reader = VideoFile(find_video(name)).open(threads=1)
    found = [(frame.time, frame.duration, read_number(frame)) for frame in frames(reader)]
    assert found == list(VIDEOS[name].shown)
    assert list(reader.iter_times()) == [(time, duration) for time, duration, _ in found]


SEEKS = ("held_first", "b_frames", "hidden_start", "late_start_mkv", "open_gop", "packed",
         "fragments", "two_videos")  # fmt: skip


@pytest.mark.parametrize("name", mark_slow_cases(SEEKS, list(VIDEOS)))
def test_reading_from_any_cursor_gives_the_same_frames(name: str, find_video: FindVideo) -> None:
    found = check_any_cursor(VideoFile(find_video(name)).open(threads=4))
    shown = [(frame.time, frame.duration, read_number(frame)) for frame in found]
    assert shown == list(VIDEOS[name].shown)


@pytest.mark.slow
@pytest.mark.parametrize("name", VIDEOS)
def test_reading_from_every_cursor_gives_the_same_frames(name: str, find_video: FindVideo) -> None:
    check_any_cursor(VideoFile(find_video(name)).open(), every=True)


@pytest.mark.parametrize("size", [1, 5, 8])
def test_chunks_end_at_multiples_of_their_size_from_any_cursor(
    size: int, find_video: FindVideo
) -> None:
    reader = VideoFile(find_video("even")).open()
    third = next(c for chunk, c in reader.read(None, 3) if chunk[-1].index == 2)
    for cursor in (None, third):
        ends = [(chunk[-1].index + 1, place.index) for chunk, place in reader.read(cursor, size)]
        assert all(end == index for end, index in ends)
        assert all(end % size == 0 for end, _ in ends[:-1])
        assert ends[-1][0] == 12


def test_cursor_without_a_frame_is_refused(find_video: FindVideo) -> None:
    reader = VideoFile(find_video("b_frames")).open()
    with pytest.raises(BadInput, match=r"no frame at 0\.100 s.*has changed"):
        frames(reader, Cursor(2, reader.start_pts + 1280))


def test_eight_bit_planes_share_the_decoder_s_memory(find_video: FindVideo) -> None:
    image = frames(VideoFile(find_video("even")).open())[0].image
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
def test_every_pixel_format_is_read_as_planes(
    name: str, pixels: str, dtype: str, find_video: FindVideo
) -> None:
    reader = VideoFile(find_video(name)).open()
    image = frames(reader)[0].image
    assert isinstance(image, Planes)
    assert (reader.spec.pixels, reader.spec.dtype) == (image.pixels, str(image.arrays[0].dtype))
    assert (reader.spec.pixels, reader.spec.dtype) == (pixels, dtype)


def test_color_tags_are_read(find_video: FindVideo) -> None:
    colour = VideoFile(find_video("ten_bits")).open().spec.colour
    assert (colour.matrix, colour.primaries, colour.transfer, colour.range) == (
        *["bt709"] * 3,
        "tv",
    )
    assert VideoFile(find_video("full_range")).open().spec.colour.range == "pc"
    jpeg = VideoFile(find_video("full_range_jpeg")).open().spec.colour
    assert (jpeg.matrix, jpeg.range, jpeg.siting) == ("bt470bg", "pc", "center")
    assert VideoFile(find_video("even")).open().spec.colour.matrix == "unknown"


@pytest.mark.parametrize("name", ["uneven", "uneven_mkv", "held_first"])
def test_variable_rate_video_has_no_rate(name: str, find_video: FindVideo) -> None:
    assert VideoFile(find_video(name)).open().spec.rate is None


def test_constant_rate_is_found_in_every_container(find_video: FindVideo) -> None:
    assert {
        VideoFile(find_video(n)).open().spec.rate for n in ("even", "even_mkv", "even_mov")
    } == {25}
    assert VideoFile(find_video("broadcast")).open().spec.rate == Fraction(30000, 1001)
    assert VideoFile(find_video("hidden_start")).open().spec.rate == 25


def test_cover_is_never_the_video_and_a_stream_can_be_chosen(find_video: FindVideo) -> None:
    assert VideoFile(find_video("cover_mkv")).open().spec.width == 64
    assert VideoFile(find_video("two_videos"), stream=1).open().spec.height == 48
    assert VideoFile(find_video("two_videos"), stream=0).open().spec.height == 32
    with pytest.raises(BadInput, match="no video stream 2: pass --stream 0 or 1"):
        VideoFile(find_video("two_videos"), stream=2).open()


@pytest.mark.parametrize("name", [name for name in BROKEN if name.startswith(("cut", "scratched"))])
def test_damaged_video_is_an_error_and_never_a_shorter_video(
    name: str, find_video: FindVideo
) -> None:
    with pytest.raises(BadInput, match=r"damaged|truncated") as caught:
        frames(VideoFile(find_video(name)).open())
    assert "missing" in str(caught.value) or " s" in str(caught.value)


def test_damage_is_reported_with_its_time_after_the_frames_before_it(find_video: FindVideo) -> None:
    seen: list[Frame] = []
    chunks = VideoFile(find_video("scratched_h264.mp4")).open().read(None, 1)
    with pytest.raises(BadInput, match=r"decoding after 0\.\d+ s|image at 0\.\d+ s"):
        seen.extend(frame for chunk, _ in chunks for frame in chunk)
    assert [read_number(frame) for frame in seen] == list(range(len(seen)))
    assert len(seen) > 8


def test_file_without_a_video_is_refused(find_video: FindVideo, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("#EXTM3U\nhttp://example.invalid/secret.ts\n")
    with pytest.raises(BadInput, match="starts with b'#EXTM3U"):
        VideoFile(text).open()
    (tmp_path / "nothing.mp4").touch()
    with pytest.raises(BadInput, match="is empty: 0 bytes"):
        VideoFile(tmp_path / "nothing.mp4").open()
    with pytest.raises(BadInput, match="does not exist"):
        VideoFile(tmp_path / "absent.mp4").open()
    with pytest.raises(BadInput, match="is a folder"):
        VideoFile(tmp_path).open()
    with pytest.raises(BadInput, match="has no video stream: it has 0: audio"):
        VideoFile(find_video("mute.mp4")).open()
