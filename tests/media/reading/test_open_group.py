"""Videos cut at an open GOP: its first frames refer to frames that are gone."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from filmgate.errors import BadInput
from filmgate.media.options import ReadOptions
from filmgate.media.reading.pipe_reader import open_pipe
from filmgate.media.sources import VideoFile
from tests.cases import mark_slow_cases
from tests.media.awkward import check_any_cursor, read_frames
from tests.videos import GOP, Video, make, read_number

_X264 = "open-gop=1:scenecut=0:b-adapt=0:keyint=10:min-keyint=10:bframes="
_X265 = f"log-level=none:pools=1:{_X264}4"
CODECS = {
    "hevc": ("libx265", {"x265-params": _X265}),
    "h264": ("libx264", {"x264-params": f"{_X264}3"}),  # its cut causes errors
    "h264_pyramid": ("libx264", {"x264-params": f"{_X264}5:b-pyramid=strict:ref=5"}),
    "mpeg2": ("mpeg2video", {"bf": "2", "g": "9"}),
}


def cut_video(codec: str, suffix: str, folder: Path, skipped: int = 0) -> Path:
    """Write a video without its first group; of the next one `skipped` packets are missing too."""
    name, options = CODECS[codec]
    ticks = {".mkv": Fraction(1, 1000), ".ts": Fraction(1, 90000)}
    tick = Fraction(1, 25) if codec == "mpeg2" else ticks.get(suffix, Fraction(1, 12800))
    uncut, path = folder / f"uncut{suffix}", folder / f"{codec}{suffix}"
    make(Video(frames=40, suffix=suffix, codec=name, options=options, tick=tick), uncut)
    with av.open(str(uncut)) as source, av.open(str(path), "w") as out:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        stream = out.add_stream_from_template(source.streams.video[0])
        keys = [n for n, packet in enumerate(packets) if packet.is_keyframe]
        for packet in packets[keys[1] + skipped :]:
            packet.stream = stream
            out.mux(packet)
    return path


def count_plainly(path: Path) -> int:
    """Return how many frames FFmpeg shows where no damage is looked for."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("codec", "suffix", "threads"),
    mark_slow_cases(
        [("hevc", ".mp4", 4), ("h264", ".mkv", 1), ("h264_pyramid", ".ts", 4)],
        [(codec, suffix, 4) for codec in CODECS for suffix in (".mkv", ".mp4", ".ts")]
        + [("h264", ".mkv", 1), ("hevc", ".ts", 1)],
    ),
)  # fmt: skip
def test_first_frames_of_an_open_group_are_left_out_with_a_notice(
    codec: str, suffix: str, threads: int, tmp_path: Path
) -> None:
    path = cut_video(codec, suffix, tmp_path)
    reader = VideoFile(path).open(threads)
    frames = read_frames(reader)
    numbers = [read_number(frame) for frame in frames]
    assert numbers == list(range(40 - len(frames), 40))
    assert len(frames) == count_plainly(path)
    assert [frame.time for frame in frames][:2] == [0, Fraction(1, 25)]
    assert not any("concealed" in frame.extras for frame in frames)
    notices = [str(frame.extras.get("notice")) for frame in frames]
    noticed = [
        n for n, text in enumerate(notices) if "at the start left out: what they refer" in text
    ]
    assert noticed == ([] if suffix == ".mp4" else [0])  # hidden by its edit list
    check_any_cursor(reader)


@pytest.mark.parametrize("codec", ["hevc", "h264"])
def test_trim_and_keep_going_of_such_a_video(codec: str, tmp_path: Path) -> None:
    path = cut_video(codec, ".mkv", tmp_path)
    frames = read_frames(VideoFile(path).open())
    kept = read_frames(VideoFile(path, keep_going=True).open())
    assert [(f.time, read_number(f), dict(f.extras)) for f in kept] == [
        (f.time, read_number(f), dict(f.extras)) for f in frames
    ]
    trimmed = read_frames(VideoFile(path, start=Fraction(1, 5), end=Fraction(2, 5)).open())
    assert [read_number(f) for f in trimmed] == [read_number(f) for f in frames[5:10]]


@pytest.mark.parametrize("codec", CODECS)
def test_recording_that_starts_within_a_group_shows_what_follows(
    codec: str, tmp_path: Path
) -> None:
    path = cut_video(codec, ".ts", tmp_path, skipped=6)
    numbers = [read_number(frame) for frame in read_frames(VideoFile(path).open(4))]
    assert numbers == list(range(40 - len(numbers), 40))
    assert len(numbers) >= 15


@pytest.mark.parametrize("codec", CODECS)
def test_pipe_that_starts_within_a_group_shows_what_follows(codec: str, tmp_path: Path) -> None:
    for skipped in (0, 6):
        path = cut_video(codec, ".ts", tmp_path, skipped)
        with open_pipe(ReadOptions(path=path, threads=4), None) as reader:
            frames = [frame for chunk, _ in reader.read(None, 8) for frame in chunk]
        wanted = [read_number(frame) for frame in read_frames(VideoFile(path).open())]
        assert [read_number(frame) for frame in frames] == wanted


@pytest.mark.parametrize("codec", ["h264", "h264_pyramid"])
def test_damage_behind_an_open_group_is_still_refused(codec: str, tmp_path: Path) -> None:
    path = cut_video(codec, ".mkv", tmp_path)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    for packet in packets[7:12]:
        at = data.index(packet) + 5
        path.write_bytes(data[:at] + bytes(len(packet) - 5) + data[at + len(packet) - 5 :])
        with pytest.raises(BadInput, match=r"is damaged: .* pass --keep-going"):
            read_frames(VideoFile(path).open())


def test_damaged_first_keyframe_is_no_open_group(tmp_path: Path) -> None:
    path = make(Video(frames=24, options=GOP), tmp_path / "video.mp4")
    with av.open(str(path)) as container:
        first = bytes(next(p for p in container.demux(video=0) if p.size))
    data = path.read_bytes()
    at = data.index(first) + 4
    path.write_bytes(data[:at] + bytes(len(first) - 4) + data[at + len(first) - 4 :])
    with pytest.raises(BadInput, match=r"decoding its first frame, .* pass --keep-going"):
        VideoFile(path).open()
