"""Repaired sources: other sizes, damage, interlacing; and metadata of the first frame."""

import re
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image

import filmgate
from filmgate.core.frame import Position
from filmgate.errors import BadInput
from filmgate.media.fields.watch import ADVICE
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from tests import videos
from tests.cases import mark_slow_cases
from tests.media.awkward import MORE, check_any_cursor, describe_frame, read_frames, write_jpegs
from tests.media.conftest import FindVideo
from tests.media.old_videos import OldVideo, make_old
from tests.videos import BROKEN, GOP, VIDEOS, X264, read_number


def test_frames_of_another_size_are_fitted_to_the_first_one(tmp_path: Path) -> None:
    sizes = [(64, 48)] * 3 + [(128, 64)] * 3 + [(64, 48)] * 2
    path = write_jpegs(tmp_path / "video.mkv", [40 * n for n in range(8)], sizes)
    reader = VideoFile(path).open()
    found = read_frames(reader)
    assert [frame.extras.get("notice") for frame in found if frame.index != 3] == [None] * 7
    assert found[3].extras["notice"] == (
        "at 0.120 s the video changes from 64x48 yuv420p to 128x64 yuv420p: all frames are fitted "
        "to the first size and format"
    )
    image = found[4].image
    assert isinstance(image, Planes)
    luma, blue, _ = (array.astype(int) for array in image.arrays)
    black = 0 if image.colour.range == "pc" else 16
    assert (luma.shape, blue.shape) == ((48, 64), (24, 32))
    assert np.unique(luma[:8]) == np.unique(luma[40:]) == [black]
    assert np.unique(blue) == [128]
    big = videos.draw_image(4, 128, 64)[16:].reshape(24, 2, 64, 2).mean((1, 3))
    assert abs(luma[16:40] - big).mean() < 4
    check_any_cursor(reader)


def test_frames_of_another_pixel_format_are_converted(tmp_path: Path) -> None:
    path = tmp_path / "video.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_mux_stream("mjpeg", width=64, height=48)
        for n, pixels in enumerate(("yuvj420p", "yuvj420p", "yuvj444p", "yuvj420p")):
            context = av.CodecContext.create("mjpeg", "w")
            context.width, context.height, context.pix_fmt = 64, 48, pixels
            context.time_base = Fraction(1, 25)
            frame = VideoFrame.from_ndarray(videos.draw_image(n, 64, 48), "gray")
            for packet in context.encode(frame.reformat(format=pixels)):
                packet.stream, packet.time_base = stream, Fraction(1, 1000)
                packet.pts = packet.dts = 40 * n
                packet.duration = 40
                out.mux(packet)
    reader = VideoFile(path).open()
    assert [read_number(frame) for frame in read_frames(reader)] == [0, 1, 2, 3]
    assert "to 64x48 yuv444p" in str(read_frames(reader)[2].extras["notice"])
    check_any_cursor(reader)


DAMAGED = [name for name in BROKEN if name.startswith(("cut", "scratched"))]
QUICK = ["cut_30.mp4", "cut_97.mov", "cut_70.mkv", "scratched_h264.mp4", "scratched_hevc.mp4"]


@pytest.mark.parametrize("name", mark_slow_cases(QUICK, DAMAGED))
def test_damaged_frames_are_replaced_with_keep_going(name: str, find_video: FindVideo) -> None:
    try:
        reader = VideoFile(find_video(name), keep_going=True).open()
    except BadInput:
        assert name.startswith("cut")
        assert name.endswith(".mp4")  # its index is what was cut off
        return
    kind = VIDEOS["hevc"] if "hevc" in name else videos.Video(frames=40)
    found = read_frames(reader)
    texts = [str(frame.extras.get("concealed", "")) for frame in found]
    good = [n for n, text in enumerate(texts) if "is repeated" not in text]
    assert all(a.end == b.time for a, b in pairwise(found))
    for n, frame in enumerate(found):
        if n not in good:
            assert read_number(frame) == read_number(found[max(g for g in good if g < n)])
    if name.startswith("cut"):
        assert "truncated" in texts[-1]
    else:
        assert (len(found), found[-1].end) == (kind.frames, Fraction(kind.frames, 25))
        assert 0 < len(found) - len(good) < 10
    # FFmpeg's decoder of HEVC ignores a scratch at the end of an image
    wrong = [n for n in good if read_number(found[n]) != found[n].time * 25]
    assert len(wrong) <= ("hevc" in name)
    check_any_cursor(reader)


def test_damaged_frame_keeps_its_time_in_an_avi(find_video: FindVideo, tmp_path: Path) -> None:
    path = tmp_path / "hurt.avi"
    data = bytearray(find_video("h264_avi").read_bytes())
    with av.open(str(find_video("h264_avi"))) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    at = data.index(bytes(packets[9]))
    data[at + 6 : at + 40] = bytes(34)
    path.write_bytes(data)
    with pytest.raises(BadInput, match="damaged"):
        read_frames(VideoFile(path).open())
    reader = VideoFile(path, keep_going=True).open()
    found = read_frames(reader)
    assert [frame.time * 25 for frame in found] == list(range(20))
    concealed = [frame.index for frame in found if frame.extras]
    assert 0 < len(concealed) < 10
    good = [n for n in range(20) if n not in concealed]
    assert [read_number(found[n]) for n in good] == good
    check_any_cursor(reader)


@pytest.mark.parametrize("name", ["fields", "fields_ts", "fields_10"])
def test_interlacing_is_reported_and_can_be_removed(name: str, find_video: FindVideo) -> None:
    plain, made = (
        read_frames(VideoFile(find_video(name)).open()),
        VideoFile(find_video(name), deinterlace=True).open(),
    )
    assert plain[0].extras["notice"] == (
        f"the video is interlaced (top field first, by its stream): {ADVICE}"
    )
    found = read_frames(made)
    assert [(f.time, f.duration) for f in found] == [(f.time, f.duration) for f in plain]
    assert [read_number(f) for f in found] == list(range(MORE[name].frames))
    assert [f.extras for f in found] == [{}] * len(found)
    assert all(
        describe_frame(a)[4] != describe_frame(b)[4] for a, b in zip(found, plain, strict=True)
    )
    check_any_cursor(made)


def test_video_without_interlacing_flags_is_deinterlaced_on_request(find_video: FindVideo) -> None:
    reader = VideoFile(find_video("even"), deinterlace=True, start=Fraction("0.12")).open()
    found = read_frames(reader)
    assert "every frame is deinterlaced" in str(found[0].extras["notice"])
    assert [read_number(frame) for frame in found] == list(range(3, 12))
    check_any_cursor(reader)


def animation(path: Path, clear: int) -> Path:
    """A gif of four images; from number `clear` on the left half is transparent."""
    shots = []
    for n in range(4):
        pixels = np.full((48, 64, 4), (200, 30 * n, 50, 255), np.uint8)
        if n >= clear:
            pixels[:, :32] = 0
        shots.append(Image.fromarray(pixels))
    shots[0].save(path, save_all=True, append_images=shots[1:], duration=40, disposal=2)
    return path


def test_gif_is_opaque_if_its_first_frame_is(tmp_path: Path) -> None:
    opaque = VideoFile(animation(tmp_path / "opaque.gif", clear=9)).open()
    assert opaque.spec.pixels == "gbrp"
    assert not any(frame.extras for frame in read_frames(opaque))
    assert VideoFile(animation(tmp_path / "clear.gif", clear=0)).open().spec.pixels == "gbrap"
    later = VideoFile(animation(tmp_path / "later.gif", clear=2)).open()
    found = read_frames(later)
    # FFmpeg clears what was under image 2 only after it
    assert [frame.extras.get("notice") for frame in found] == [None] * 3 + [
        "at 0.120 s the video becomes transparent: transparent pixels are shown white"
    ]
    assert isinstance(found[3].image, Planes)
    assert [int(array[0, 0]) for array in found[3].image.arrays] == [255, 255, 255]
    assert [int(array[0, 40]) for array in found[3].image.arrays] == [90, 50, 200]
    check_any_cursor(later)


def test_hdr_metadata_is_read_as_ffmpeg_side_data(tmp_path: Path) -> None:
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    options = {**X264, "x264-params": f"mastering-display={display}:cll=1000,400"}
    kind = videos.Video(frames=2, pixels="yuv420p10le", options=options)
    reader = VideoFile(videos.make(kind, tmp_path / "hdr.mp4")).open()
    mastering, level = reader.metadata.hdr_side_data
    assert level is not None
    assert list(np.frombuffer(level[:8], np.uint32)) == [1000, 400]
    assert mastering is not None
    red_x = np.frombuffer(mastering[:8], np.int32)  # the first of ten rationals
    assert Fraction(int(red_x[0]), int(red_x[1])) == Fraction(34000, 50000)
    plain = VideoFile(videos.make(videos.Video(frames=2), tmp_path / "sdr.mp4")).open()
    assert plain.metadata.hdr_side_data == (None, None)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_chroma_siting_is_read(suffix: str, tmp_path: Path) -> None:
    for number, siting in enumerate(("left", "center", "topleft", "top")):
        kind = videos.Video(
            frames=1, options={**X264, "x264-params": f"chromaloc={number}"}, suffix=suffix,
            tick=Fraction(1, 1000 if suffix == ".mkv" else 90000),
        )  # fmt: skip
        path = videos.make(kind, tmp_path / f"{siting}{suffix}")
        assert VideoFile(path).open().spec.colour.siting == siting


@pytest.mark.parametrize("name", ["b_frames", "late_start", "open_gop_mkv", "gif", "h264_ts"])
def test_one_frame_can_be_read(name: str, find_video: FindVideo) -> None:
    reader = VideoFile(find_video(name), max_frames=1, keep_going=True, deinterlace=True).open()
    assert [frame.position for frame in read_frames(reader)] == [Position(0, Fraction(0))]
    assert reader.spec.frames == 1


def test_damaged_frames_at_the_start_are_left_out_and_reported(tmp_path: Path) -> None:
    path = videos.make(videos.Video(frames=24, options=GOP), tmp_path / "video.mp4")
    with av.open(str(path)) as container:
        first = next(p for p in container.demux(video=0) if p.size)
    data = bytearray(path.read_bytes())
    at = data.index(bytes(first))
    assert first.size
    data[at + 4 : at + first.size] = bytes(first.size - 4)
    path.write_bytes(data)
    reader = VideoFile(path, keep_going=True).open()
    found = read_frames(reader)
    assert [read_number(frame) for frame in found] == list(range(7, 24))
    assert reader.offset == Fraction(7, 25)
    assert [n for n, frame in enumerate(found) if frame.extras] == [0]
    assert "damaged frames before it are left out" in str(found[0].extras["concealed"])
    check_any_cursor(reader)


def test_too_many_pixels_are_refused(find_video: FindVideo) -> None:
    with pytest.raises(BadInput):
        VideoFile(find_video("even"), max_pixels=64 * 48 - 1).open()
    assert VideoFile(find_video("even"), max_pixels=64 * 48).open().spec.width == 64


def test_nothing_outside_media_opens_a_video() -> None:
    house = Path(filmgate.__file__).parent
    # one pattern that starts with any of these letters takes ten times as long
    ways = [re.compile(way) for way in (
        r"import av\b", r"from av\b", r"Video(Capture|Writer)", "imageio", "decord", "torchcodec",
        "moviepy", r"torchvision\.io", r"[\"']ff(mpeg|probe|play)\b",
    )]  # fmt: skip
    found = {
        path.relative_to(house).as_posix()
        for path in house.rglob("*.py")
        if path.relative_to(house).parts[0] != "media"
        and any(way.search(text) for text in [path.read_text()] for way in ways)
    }
    assert found == {"quality/metrics/vmaf.py"}  # runs an ffmpeg with libvmaf, if one is installed


@pytest.mark.parametrize("name", ["a.y4m", "a.nut"])
def test_frames_before_garbage_are_kept_with_keep_going(name: str, tmp_path: Path) -> None:
    """It was met while the rate was looked for, or where the end was, and nothing was read."""
    codec = {"a.y4m": "wrapped_avframe", "a.nut": "ffv1"}[name]
    path = make_old(OldVideo(codec, frames=6, options={}), tmp_path / name)
    with path.open("ab") as file:
        file.write(b"\x7f" * 4000)
    with pytest.raises(BadInput, match="damaged"):
        read_frames(VideoFile(path).open())
    found = read_frames(VideoFile(path, keep_going=True).open())
    assert [read_number(frame) for frame in found[:6]] == list(range(6))
    assert any("concealed" in frame.extras for frame in found)
