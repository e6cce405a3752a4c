"""Containers of discs, tapes, old cameras and downloads: frames, times, seeking, cut ends."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import pytest

from filmgate.core.frame import Frame
from filmgate.core.snapshot import Cursor
from filmgate.errors import BadInput, BadSetting
from filmgate.media.containers.detection import detect_format
from filmgate.media.probe import find_audio_start, probe
from filmgate.media.sources import VideoFile
from tests.media.old_videos import BARE, CONTAINERS, NTSC, PAL, OldVideo, add_video, make_old
from tests.videos import draw_image, read_number


@pytest.fixture(scope="module", params=CONTAINERS)
def video(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of each container, under a name that says nothing."""
    name = str(request.param)
    path = make_old(CONTAINERS[name], tmp_path_factory.mktemp("old") / name)
    return path.rename(path.with_name(f"{name}.bin"))


def read(path: Path, cursor: Cursor | None = None, **settings: object) -> list[Frame]:
    reader = VideoFile(path, **settings).open(threads=1)  # type: ignore[arg-type]
    return [frame for frames, _ in reader.read(cursor, 5) for frame in frames]


def describe(frames: list[Frame]) -> list[tuple[int, Fraction]]:
    return [(read_number(frame), frame.time) for frame in frames]


def spec_of(path: Path) -> OldVideo:
    return CONTAINERS[path.stem]


def test_frames_and_times_are_right_from_any_place(video: Path) -> None:
    spec = spec_of(video)
    reader = VideoFile(video).open(threads=1)
    chunks = list(reader.read(None, 5))
    complete = [frame for frames, _ in chunks for frame in frames]
    wanted = [(n, n / spec.rate) for n in range(spec.frames)]
    assert describe(complete) == wanted
    assert complete[-1].end == spec.frames / spec.rate
    assert reader.spec.rate == spec.rate
    _, cursor = chunks[len(chunks) // 2]
    resumed = read(video, cursor)
    assert describe(resumed) == wanted[cursor.index :]
    start = wanted[spec.frames // 2 + 1][1]
    assert describe(read(video, start=start)) == [
        (number, time - start) for number, time in wanted[spec.frames // 2 + 1 :]
    ]
    assert probe(video).best is not None


def test_cut_end_is_found(video: Path, tmp_path: Path) -> None:
    data = video.read_bytes()
    cut = tmp_path / video.name
    cut.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(BadInput, match=r"truncated|damaged"):
        read(cut)


@pytest.mark.parametrize("name", ["camera.h264", "phone.hevc", "disc.m2v", "webcam.mjpeg"])
def test_bare_streams_follow_in_fps(name: str, tmp_path: Path) -> None:
    path = make_old(CONTAINERS[name], tmp_path / name)
    frames = read(path)
    assert "pass --in-fps" in str(frames[0].extras["notice"])
    given = read(path, in_fps="29.97")
    assert describe(given) == [(n, n / NTSC) for n in range(20)]
    assert "notice" not in given[0].extras


def test_frames_of_a_bare_mpeg1_are_even(tmp_path: Path) -> None:
    path = make_old(replace(CONTAINERS["disc.mpg"], audio=""), tmp_path / "a.m1v")
    assert describe(read(path)) == [(n, n / PAL) for n in range(20)]


def test_in_fps_is_refused_for_videos_with_times(tmp_path: Path) -> None:
    path = make_old(CONTAINERS["old.flv"], tmp_path / "a.flv")
    with pytest.raises(BadSetting, match=r"in_fps is 30 and .* has times of its own: omit it"):
        read(path, in_fps=Fraction(30))


def test_frames_that_a_download_left_out_leave_even_gaps(tmp_path: Path) -> None:
    path = make_old(CONTAINERS["download.wmv"], tmp_path / "a.wmv")
    kept = tmp_path / "b.wmv"
    with av.open(str(path)) as source, av.open(str(kept), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(source.demux(video=0)):
            if n < 18 and packet.size and n % 6 != 5:  # the last frames of groups
                packet.stream = stream
                out.mux(packet)
    assert describe(read(kept)) == [(n, n / NTSC) for n in range(17) if n % 6 != 5]


def test_times_of_milliseconds_that_fit_no_rate_are_kept(tmp_path: Path) -> None:
    path, moved = make_old(CONTAINERS["old.flv"], tmp_path / "a.flv"), tmp_path / "b.flv"
    with av.open(str(path)) as source, av.open(str(moved), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.stream = stream
            packet.pts = packet.dts = 40 * n + 7 * (n % 3)
            out.mux(packet)
    times = [frame.time for frame in read(moved)]
    assert times == [Fraction(40 * n + 7 * (n % 3), 1000) for n in range(20)]


def test_sectors_of_a_video_cd_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mpg"
    spec = OldVideo("mpeg1video", options=CONTAINERS["disc.mpg"].options)
    with av.open(str(path), "w", format="vcd", options={"packetsize": "2324"}) as out:
        stream = add_video(out, spec)
        for n in range(20):
            frame = av.VideoFrame.from_ndarray(draw_image(n, 64, 48), "gray")
            frame = frame.reformat(format="yuv420p")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    data, size = path.read_bytes(), 2324
    sync = b"\0" + b"\xff" * 10 + b"\0" + bytes(12)
    sectors = [sync + data[at : at + size].ljust(size, b"\0") + bytes(4)
               for at in range(0, len(data), size)]  # fmt: skip
    body = b"CDXAfmt " + (16).to_bytes(4, "little") + bytes(16) + b"data" + bytes(4)
    disc = tmp_path / "AVSEQ01.DAT"
    disc.write_bytes(b"RIFF" + bytes(4) + body + b"".join(sectors))
    assert [number for number, _ in describe(read(disc))] == list(range(20))


@pytest.mark.parametrize("name", ["a.mxf", "a.wmv"])
def test_decode_times_are_put_in_order(name: str, tmp_path: Path) -> None:
    spec = OldVideo("libx264", options={**CONTAINERS["camera.h264"].options, "bf": "2"})
    frames = read(make_old(spec, tmp_path / name))
    assert describe(frames) == [(n, n / spec.rate) for n in range(20)]


@pytest.mark.parametrize(
    ("codec", "reordered"),
    [("libx264", "0"), ("libx264", "2"), ("mpeg2video", "2"), ("mpeg4", "1")],
)
def test_a_wmv_of_another_codec_is_as_far_from_its_audio_as_an_mkv(
    codec: str, reordered: str, tmp_path: Path
) -> None:
    """It stores when frames are decoded: showing is later, by as many frames as are reordered."""
    options = {"preset": "veryfast"} if codec == "libx264" else {}
    spec = OldVideo(codec, options={**options, "g": "9", "bf": reordered}, audio="ac3")
    distances = []
    for name in ("a.mkv", "a.wmv"):
        path = make_old(spec, tmp_path / name)
        assert describe(read(path)) == [(n, n / spec.rate) for n in range(20)]
        start = find_audio_start(path)
        assert start is not None
        distances.append(VideoFile(path).open().offset - start)
    assert abs(distances[0] - distances[1]) <= Fraction(2, 1000)


@pytest.mark.parametrize("name", BARE)
def test_bare_streams_are_known_by_their_first_bytes(name: str, tmp_path: Path) -> None:
    """They have no times and most of them no rate: frames are counted."""
    spec = replace(BARE[name], frames=8)
    path = make_old(spec, tmp_path / name).rename(tmp_path / "video.bin")
    frames = read(path, in_fps=Fraction(10))
    assert describe(frames) == [(n, Fraction(n, 10)) for n in range(8)]
    chunks = list(VideoFile(path, in_fps=Fraction(10)).open(threads=1).read(None, 5))
    assert describe(read(path, chunks[0][1], in_fps=Fraction(10))) == describe(frames[5:])
    assert VideoFile(path).open().spec.rate == PAL


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\x80\x02" + bytes(60),  # almost silent PCM
        b"\x12\0\x0a" + bytes(60),  # a TGA image with a comment
    ],
)
def test_other_files_are_no_bare_streams(head: bytes, tmp_path: Path) -> None:
    assert detect_format(tmp_path / "a", head) == ""
