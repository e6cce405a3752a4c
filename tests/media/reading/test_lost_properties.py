"""What real files carry and no output keeps: it is reported, kept, or the video is refused."""

import re
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

import filmgate as fg
from filmgate.core.frame import Frame
from filmgate.errors import Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.quality.verify import check
from filmgate.tasks.interpolate import Interpolate
from tests.media.reading.side_data import SIZE, make_frame
from tests.videos import Video, make


def encode(path: Path, frames: Sequence[VideoFrame], codec: str, **options: str) -> Path:
    """Write frames at 25 frames per second."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *SIZE, frames[0].format.name
        if codec.startswith("libvpx"):
            stream.metadata["alpha_mode"] = "1"
        for n, frame in enumerate(frames):
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_captioned(path: Path, first: int = 0) -> Path:
    """Write H.264 whose frames carry captions from number `first` on."""
    sides = [{"a53_cc": data} if data else {} for data in list_captions(first)]
    return encode(path, [make_frame(side, n) for n, side in enumerate(sides)], "libx264")


def list_captions(first: int) -> list[bytes | None]:
    """Return the captions of each frame of `make_captioned`."""
    return [bytes([0xFC, 0x94, 0x20 + n]) if n >= first else None for n in range(6)]


def make_transparent(path: Path, codec: str) -> Path:
    """Write a video whose left half is clear, its alpha next to the image."""
    frames = []
    for _ in range(4):
        frame = VideoFrame(*SIZE, "yuva420p")
        for number, plane in enumerate(frame.planes):
            rows = np.full((plane.height, plane.line_size), 128, np.uint8)
            if number == 3:
                rows[:, :32], rows[:, 32:] = 0, 255
            plane.update(rows.tobytes())
        frames.append(frame)
    return encode(path, frames, codec, **{"auto-alt-ref": "0", "deadline": "realtime"})


def add_boxes(path: Path, boxes: bytes) -> Path:
    """Write an mp4 of H.264 with more boxes in its sample entry."""
    data = make(Video(frames=3), path.with_name("plain.mp4")).read_bytes()
    at = data.index(b"avcC") - 4
    end = at + int.from_bytes(data[at : at + 4], "big")
    made = bytearray(data[:end] + boxes + data[end:])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        place = made.index(kind, made.index(b"moov")) - 4
        size = int.from_bytes(made[place : place + 4], "big") + len(boxes)
        made[place : place + 4] = size.to_bytes(4, "big")
    path.write_bytes(made)
    return path


def box(kind: bytes, body: bytes) -> bytes:
    """Return a box of the ISO base media file format."""
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def dolby(profile: int, compatibility: int) -> bytes:
    """Return a Dolby Vision configuration."""
    name = b"dvcC" if profile < 8 else b"dvvC"
    record = struct.pack(">BBHB", 1, 0, profile << 9 | 3 << 3 | 0b101, compatibility << 4)
    return box(name, record + bytes(19))


def make_photo_video(path: Path) -> Path:
    """Write MJPEG whose frames have EXIF metadata with an orientation."""
    jpeg = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x112, 3, 1, 6, 0) + bytes(4)
    data = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p"
        for n in range(3):
            packet = Packet(data)
            packet.stream, packet.pts, packet.dts, packet.duration = stream, n, n, 1
            packet.time_base, packet.is_keyframe = Fraction(1, 25), True
            container.mux(packet)
    return path


def read(path: Path) -> list[Frame]:
    return [frame for chunk, _ in VideoFile(path).open().read(None, 4) for frame in chunk]


def convert(path: Path, output: VideoOutput | Path, *tasks: Interpolate) -> list[str]:
    """Run the tasks, if any, and return the warnings."""
    heard: list[fg.Event] = []
    fg.run(tasks, path, output, on_event=heard.append)
    return [event.message for event in heard if isinstance(event, fg.Warned)]


def list_notices(path: Path) -> list[str]:
    return [str(frame.extras.get("notice", "")) for frame in read(path)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("first", [0, 4])
def test_captions_come_with_their_frames(first: int, suffix: str, tmp_path: Path) -> None:
    frames = read(make_captioned(tmp_path / f"in{suffix}", first))
    assert [frame.extras.get("captions") for frame in frames] == list_captions(first)


@pytest.mark.parametrize(
    ("codec", "settings"),
    [("h264", {}), ("hevc", {}), ("hevc", {"pix_fmt": "yuv420p10le"}), ("h264", {"fit": "pad"})],
)
def test_captions_are_kept_with_the_frames_they_came_with(
    codec: str, settings: dict[str, str], tmp_path: Path
) -> None:
    source, out = make_captioned(tmp_path / "in.mp4", first=2), tmp_path / "out.mkv"
    output = VideoOutput(out, codec=codec, **settings)  # type: ignore[arg-type]
    assert not [text for text in convert(source, output) if "captions" in text]
    assert [frame.extras.get("captions") for frame in read(out)] == list_captions(2)
    assert check(out, source).ok


@pytest.mark.parametrize(
    ("name", "codec", "task"),
    [("out.mkv", "ffv1", ()), ("out.y4m", None, ()), ("%06d.png", None, ()),
     ("out.mp4", "h264", (Interpolate(),))],
)  # fmt: skip
def test_lost_captions_are_reported_once_and_found_by_check(
    name: str, codec: str | None, task: tuple[Interpolate, ...], tmp_path: Path
) -> None:
    source, out = make_captioned(tmp_path / "in.mp4", first=3), tmp_path / name
    output = out if name == "%06d.png" else VideoOutput(out, codec=codec)  # type: ignore[arg-type]
    texts = convert(source, output, *task)
    assert [text for text in texts if "closed captions are left out" in text] == [
        text for text in texts if "captions" in text
    ]
    assert sum("captions" in text for text in texts) == 1
    if out.suffix == ".mkv":
        wrong = [finding for finding in check(out, source).findings if not finding.ok]
        assert [(one.name, one.found) for one in wrong] == [("side data", "lost: closed captions")]


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_alpha_of_webm_is_read_and_kept(codec: str, tmp_path: Path) -> None:
    source, out = make_transparent(tmp_path / "in.webm", codec), tmp_path / "out.mkv"
    with pytest.raises(Unsupported, match="vp9 would lose the alpha"):
        convert(source, VideoOutput(tmp_path / "out.webm"))
    convert(source, VideoOutput(out, codec="ffv1"))
    for path in (source, out):
        frames = read(path)
        assert len(frames) == 4
        for frame in frames:
            assert isinstance(frame.image, Planes)
            assert frame.image.pixels == "yuva420p"
            alpha = frame.image.arrays[3]
            assert alpha[:, :28].max() < 30
            assert alpha[:, 36:].min() > 225
    assert check(out, source).ok
    opaque = make(Video(frames=4, codec="ffv1", options={}, suffix=".mkv"), tmp_path / "o.mkv")
    assert {f.name for f in check(opaque, source).findings if not f.ok} >= {"alpha"}


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (dolby(8, 1), r"Dolby Vision \(profile 8\) is left out.*HDR10"),
        (dolby(8, 4), r"Dolby Vision \(profile 8\) is left out.*HLG"),
        (box(b"clap", struct.pack(">8I", 60, 1, 40, 1, 0, 1, 0, 1)), "crops pixels .2 at the left"),
        (box(b"st3d", bytes(4) + b"\x01"), "two views of 3D is left out"),
    ],
    ids=["dolby8_hdr10", "dolby8_hlg", "crop", "stereo"],
)
def test_what_the_header_says_is_reported_once(boxes: bytes, message: str, tmp_path: Path) -> None:
    first, *rest = list_notices(add_boxes(tmp_path / "in.mp4", boxes))
    assert re.search(message, first)
    assert not any(rest)


def test_dolby_vision_profile_5_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="Dolby Vision of profile 5"):
        VideoFile(add_boxes(tmp_path / "in.mp4", dolby(5, 0))).open()


@pytest.mark.parametrize("suffix", [".mov", ".avi", ".mkv"])
def test_orientation_of_photos_is_kept_and_their_metadata_reported(
    suffix: str, tmp_path: Path
) -> None:
    path = make_photo_video(tmp_path / f"in{suffix}")
    assert VideoFile(path).open().metadata.display_matrix is not None
    assert "EXIF metadata is left out" in list_notices(path)[0]


def test_videos_without_side_data_say_nothing(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        path = make(Video(frames=3, suffix=suffix), tmp_path / f"in{suffix}")
        assert list_notices(path) == [""] * 3
