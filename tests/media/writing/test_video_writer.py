"""Writing: times, streams, tags and metadata are kept, and no unfinished file is left."""

import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import av
import numpy as np
import pytest

from filmgate.core.frame import Frame
from filmgate.errors import BadSetting, OutputExists, StageContractError, Unsupported
from filmgate.media.options import Codec
from filmgate.media.pixels.planes import Planes
from filmgate.media.probe import MediaInfo, find_audio_start, probe
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.streams.subtitles import convert_subtitle
from filmgate.media.writing.video_writer import VideoWriter
from tests.cases import mark_slow_combinations
from tests.media.conftest import FindVideo
from tests.videos import VIDEOS, read_number

QUICK = MappingProxyType({"h264": "ultrafast", "hevc": "ultrafast"})
PLAIN = [
    name for name in VIDEOS if name not in ("rich", "rich_mp4", "sound_mkv", "ffv1_rgb", "words")
]


def read(path: Path) -> VideoReader:
    """Open a video; a second thread for frames so small takes longer than it saves."""
    return VideoFile(path).open(threads=1)


def frames(video: VideoReader) -> list[Frame]:
    return [frame for chunk, _ in video.read(None, 8) for frame in chunk]


def write(
    video: VideoReader, images: list[Frame], output: VideoOutput, tracks: bool = True
) -> VideoWriter:
    time_scale, tags = Fraction(1) if tracks else None, {"FILMGATE": '{"x": "é"}'}
    options = output.encode_options
    with VideoWriter(options, video.spec, video.metadata, time_scale=time_scale, tags=tags) as sink:
        for at in range(0, len(images), 8):
            sink.write(images[at : at + 8])
        sink.finish()
    return sink


def copy(source: Path, output: VideoOutput, tracks: bool = True) -> VideoWriter:
    video = read(source)
    return write(video, frames(video), output, tracks)


def metadata(contents: MediaInfo) -> dict[str, str]:
    return {key.lower(): value for key, value in contents.metadata.items()}


H264, HEVC, FFV1 = ("h264", ".mp4"), ("hevc", ".mov"), ("ffv1", ".mkv")
# Into mp4 every video but those that differ from another in what a reader sees only; into mov and
# mkv, whose ticks are others, those with times of their own.
READ_ALIKE = {"even_mkv", "even_mov", "uneven_mkv", "late_start_mkv", "repeated", "two_frames",
              "open_gop_mkv", "refreshed", "fragments", "packed", "half_chroma", "full_chroma",
              "full_range_jpeg", "cover_mkv"}  # fmt: skip
TIMED = ["uneven", "held_first", "hidden_start", "late_start", "one_frame", "ten_bits"]
KEPT = [(name, H264) for name in PLAIN if name not in READ_ALIKE] + [
    (name, way) for name in TIMED for way in (HEVC, FFV1)
]


@pytest.mark.parametrize(
    ("name", "codec", "suffix"), mark_slow_combinations(KEPT, PLAIN, [H264, HEVC, FFV1])
)
def test_every_frame_keeps_its_time_and_its_end_within_half_a_tick(
    name: str, codec: Codec, suffix: str, find_video: FindVideo, tmp_path: Path
) -> None:
    path = tmp_path / f"out{suffix}"
    old = frames(before := read(find_video(name)))
    sink = write(before, old, VideoOutput(path, codec, preset=QUICK.get(codec)))
    new = frames(after := read(path))
    assert [read_number(f) for f in new] == [read_number(f) for f in old]
    assert max(abs(a.time - b.time) for a, b in zip(old, new, strict=True)) <= sink.tick / 2
    assert max(abs(a.end - b.end) for a, b in zip(old, new, strict=True)) <= sink.tick / 2
    assert before.spec.rate == after.spec.rate
    if find_audio_start(path) is not None:
        moved = _lead(after) - _lead(before)
        assert abs(moved) <= Fraction(1, 1000)
    if codec == "ffv1":
        for a, b in zip(old, new, strict=True):
            assert isinstance(a.image, Planes)
            assert isinstance(b.image, Planes)
            assert all(map(np.array_equal, a.image.arrays, b.image.arrays))


def _lead(video: VideoReader) -> Fraction:
    heard = find_audio_start(video.path)
    assert heard is not None
    return heard - video.offset


def test_x264_has_a_frame_for_each_thread_and_repeats_its_bytes(
    find_video: FindVideo, tmp_path: Path
) -> None:
    """Its settings are in the first packet; slices would be larger and take longer."""
    videos = set[bytes]()
    for n in range(3):
        path = tmp_path / f"{n}.mkv"
        copy(find_video("even"), VideoOutput(path, preset="veryfast"))
        with av.open(str(path)) as container:
            videos.add(b"".join(bytes(packet) for packet in container.demux(video=0)))
    (packets,) = videos
    assert b" threads=2 " in packets
    assert b" sliced_threads=0 " in packets


def test_rgb_is_kept_bit_for_bit_in_ffv1(find_video: FindVideo, tmp_path: Path) -> None:
    copy(find_video("ffv1_rgb"), VideoOutput(tmp_path / "out.mkv", "ffv1"))
    old, new = frames(read(find_video("ffv1_rgb"))), frames(read(tmp_path / "out.mkv"))
    for a, b in zip(old, new, strict=True):
        assert isinstance(a.image, Planes)
        assert isinstance(b.image, Planes)
        assert all(map(np.array_equal, a.image.arrays, b.image.arrays))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("sound", ".mp4"), ("sound", ".mkv"), ("sound_mkv", ".mp4"), ("rich", ".mkv"),
     ("rich_mp4", ".mp4"), ("rich_mp4", ".mov"), ("two_videos", ".mkv"), ("cover_mkv", ".mkv"),
     ("cover", ".mkv")],
)  # fmt: skip
def test_all_streams_chapters_and_metadata_are_copied(
    name: str, suffix: str, find_video: FindVideo, tmp_path: Path
) -> None:
    path = tmp_path / f"out{suffix}"
    assert copy(find_video(name), VideoOutput(path, preset="ultrafast")).dropped == []
    old, new = probe(find_video(name)), probe(path)
    assert _tracks(new) == _tracks(old)
    assert [(c.start, c.end, c.metadata) for c in new.chapters] == [
        (c.start, c.end, c.metadata) for c in old.chapters
    ]
    stale = ("encoder", "major_brand", "minor_version", "compatible_brands")
    kept = {key: value for key, value in metadata(old).items() if key not in stale}
    assert kept.items() <= metadata(new).items()
    assert metadata(new)["filmgate"] == '{"x": "é"}'


def _tracks(contents: MediaInfo) -> list[tuple[object, ...]]:
    return [
        (
            track.kind,
            track.codec if track.index != contents.best else "again",
            track.sample_rate,
            (track.language or "und").replace("deu", "ger"),  # QuickTime's name for it
        )
        for track in contents.streams
    ]


def test_output_of_an_output_has_one_job_tag(find_video: FindVideo, tmp_path: Path) -> None:
    copy(find_video("even"), VideoOutput(tmp_path / "once.mkv", preset="ultrafast"))
    copy(tmp_path / "once.mkv", VideoOutput(tmp_path / "twice.mp4", preset="ultrafast"))
    keys = [key.lower() for key in probe(tmp_path / "twice.mp4").metadata]
    assert keys.count("filmgate") == 1


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".mp4", "h264"), (".mkv", "h264"), (".mov", "hevc")]
)
def test_rotation_pixel_aspect_and_colour_are_kept(
    suffix: str, codec: Codec, find_video: FindVideo, tmp_path: Path
) -> None:
    for name in ("turned", "tagged", "full_range"):
        path = tmp_path / f"{name}{suffix}"
        copy(find_video(name), VideoOutput(path, codec, preset=QUICK.get(codec)))
        old, new = probe(find_video(name)).streams[0].video, probe(path).streams[0].video
        assert old is not None
        assert new is not None
        assert (old.rotation, old.aspect or 1) == (new.rotation, new.aspect or 1)
        if name != "turned":
            assert old.colour == new.colour


def test_hevc_in_mp4_has_the_tag_for_quicktime(find_video: FindVideo, tmp_path: Path) -> None:
    copy(find_video("even"), VideoOutput(tmp_path / "out.mp4", "hevc", preset="ultrafast"))
    assert b"hvc1" in (tmp_path / "out.mp4").read_bytes()


def test_stream_that_the_container_cannot_hold_is_refused_before_the_first_frame(
    find_video: FindVideo, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match=r"\.webm can't hold stream 1 \(aac.*\.mkv or \.mp4"):
        copy(find_video("sound"), VideoOutput(tmp_path / "out.webm", audio="copy"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "suffix", "codec"),
    [("rich", ".mp4", "mov_text"), ("rich_mp4", ".mkv", "subrip"), ("words", ".webm", "webvtt")],
)
def test_subtitles_are_converted_to_the_codec_of_the_container(
    name: str, suffix: str, codec: str, find_video: FindVideo, tmp_path: Path
) -> None:
    path = tmp_path / f"out{suffix}"
    sink = copy(find_video(name), VideoOutput(path))
    assert any(f"becomes {codec}: its styles are left out" in word for word in sink.dropped)
    with av.open(str(path)) as container:
        packets: list[Any] = [p for p in container.demux(subtitles=0) if p.size > 2]
    assert [bytes(p)[-6:] for p in packets] == [b"line 0", b"line 1"]
    times = [(p.pts * p.time_base, (p.duration or 0) * p.time_base) for p in packets]
    assert times == [(0, Fraction(2, 25)), (Fraction(1, 10), Fraction(2, 25))]


def test_subtitle_styles_do_not_become_text() -> None:
    assert convert_subtitle(b"<i>so</i> {\\an8}it is", "subrip", "mov_text") == b"\0\x08so it is"
    assert convert_subtitle(b"\0\x02hi\0\0\0\x16styl", "mov_text", "subrip") == b"hi"
    assert convert_subtitle(b"\0\0", "mov_text", "subrip") == b""


def test_streams_whose_times_no_longer_fit_are_left_out_with_a_message(
    find_video: FindVideo, tmp_path: Path
) -> None:
    sink = copy(
        find_video("rich"), VideoOutput(tmp_path / "out.mkv", preset="ultrafast"), tracks=False
    )
    assert [word.split(" is ")[0].split(" are ")[0] for word in sink.dropped] == [
        "stream 1 (aac audio, fra)", "stream 2 (opus audio, fra)",
        "stream 3 (subrip subtitle, eng)", "chapters",
    ]  # fmt: skip
    assert [t.kind for t in probe(tmp_path / "out.mkv").streams] == ["video", "attachment"]


def test_cover_that_an_mp4_cannot_hold_is_named(find_video: FindVideo, tmp_path: Path) -> None:
    sink = copy(find_video("cover_mkv"), VideoOutput(tmp_path / "out.mp4", preset="ultrafast"))
    assert sink.dropped == ["stream 1 (mjpeg cover) is left out: .mp4 can't hold it"]


def test_last_frame_of_variable_rate_video_keeps_its_duration_after_b_frames(
    find_video: FindVideo, tmp_path: Path
) -> None:
    """Decoding order ends with another frame: an mp4's last duration came out as 40 ms."""
    sink = copy(find_video("held_first"), VideoOutput(tmp_path / "out.mp4", preset="veryfast"))
    last = frames(read(tmp_path / "out.mp4"))[-1]
    assert abs(last.duration - VIDEOS["held_first"].shown[-1][1]) <= sink.tick


def test_frames_on_the_same_tick_are_refused(find_video: FindVideo, tmp_path: Path) -> None:
    video = read(find_video("even"))
    first = frames(video)[0]
    fast = [replace(first, index=n, time=Fraction(n, 5000), duration=Fraction(1, 5000))
            for n in range(3)]  # fmt: skip
    with (
        pytest.raises(Unsupported, match=r"frame 1 at 0\.000200 s .* multiples of 0\.001000 s"),
        VideoOutput(tmp_path / "out.mkv").open(video.metadata, video.spec) as sink,
    ):
        sink.write(fast)
    assert list(tmp_path.iterdir()) == []


def test_output_has_its_name_only_when_complete(find_video: FindVideo, tmp_path: Path) -> None:
    video = read(find_video("sound"))
    path = tmp_path / "out.mp4"
    with VideoWriter(VideoOutput(path).encode_options, video.spec, video.metadata) as sink:
        sink.write(frames(video))
        assert not path.exists()
        assert [p.name.startswith(".out.") for p in tmp_path.iterdir()] == [True]
        sink.finish()
        assert list(tmp_path.iterdir()) == [path]


def _interrupted(sink: VideoWriter, some: Sequence[Frame]) -> None:
    with sink:
        sink.write(some)
        raise KeyboardInterrupt


def test_unfinished_output_leaves_no_file(find_video: FindVideo, tmp_path: Path) -> None:
    video = read(find_video("sound"))
    path = tmp_path / "out.mp4"
    path.write_bytes(b"precious")
    with pytest.raises(KeyboardInterrupt):
        _interrupted(
            VideoWriter(
                VideoOutput(path, overwrite=True).encode_options, video.spec, video.metadata
            ),
            frames(video),
        )
    with VideoOutput(path, overwrite=True).open(video.metadata, video.spec):
        pass
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"precious"


def test_files_are_overwritten_only_on_request_and_the_input_never(
    find_video: FindVideo, tmp_path: Path
) -> None:
    source = tmp_path / "film.mp4"
    source.write_bytes(find_video("even").read_bytes())
    video = read(source)
    (tmp_path / "there.mp4").touch()
    with pytest.raises(OutputExists, match="exists: choose another output, or pass --overwrite"):
        VideoOutput(tmp_path / "there.mp4").open(video.metadata, video.spec)
    with pytest.raises(BadSetting, match="is the input: choose"):
        VideoOutput(source, overwrite=True).open(video.metadata, video.spec)
    with pytest.raises(BadSetting, match=r"out\.flv, wanted for a video a name that ends in \.mp4"):
        VideoOutput(tmp_path / "out.flv").open(video.metadata, video.spec)
    with pytest.raises(BadSetting, match="does not exist: make it first"):
        VideoOutput(tmp_path / "no" / "out.mp4").open(video.metadata, video.spec)


@pytest.mark.parametrize(
    ("codec", "pixels", "size", "words"),
    [
        ("h264", "gbrp", (64, 48), "h264 does not accept gbrp: pass --codec hevc or vp9 or ffv1"),
        ("h264", "yuv420p16le", (64, 48), "pass --codec ffv1, or --pix-fmt yuv420p10le"),
        (
            "h264",
            "yuv420p",
            (65, 49),
            "65x49 .* needs even sides: pass --fit pad .66x50. or --fit crop .64x48.",
        ),
        (
            "hevc",
            "yuv422p",
            (65, 49),
            "needs an even width: pass --fit pad .66x49. or --fit crop .64x49.",
        ),
    ],
)
def test_frames_that_an_encoder_does_not_accept_are_refused_before_the_first_frame(
    codec: Codec,
    pixels: str,
    size: tuple[int, int],
    words: str,
    find_video: FindVideo,
    tmp_path: Path,
) -> None:
    video = read(find_video("even"))
    spec = replace(video.spec, pixels=pixels, width=size[0], height=size[1])
    with pytest.raises(Unsupported, match=words):
        VideoOutput(tmp_path / "out.mkv", codec).open(video.metadata, spec)
    assert list(tmp_path.iterdir()) == []


def test_refusal_by_the_encoder_itself_is_reported_with_its_settings(
    find_video: FindVideo, tmp_path: Path
) -> None:
    video = read(find_video("even"))
    with pytest.raises(Unsupported, match="libx265 does not accept 2x2 yuv420p with "):
        VideoOutput(tmp_path / "out.mp4", "hevc").open(
            video.metadata, replace(video.spec, width=2, height=2)
        )


def test_frame_other_than_the_spec_is_a_stage_contract_error(
    find_video: FindVideo, tmp_path: Path
) -> None:
    video, other = read(find_video("even")), read(find_video("full_chroma"))
    with (
        pytest.raises(StageContractError, match="frame 0 is 64x48 yuv444p, wanted 64x48 yuv420p"),
        VideoOutput(tmp_path / "out.mp4").open(video.metadata, video.spec) as sink,
    ):
        sink.write(frames(other))


def test_same_frames_give_the_same_file(find_video: FindVideo, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        copy(find_video("b_frames"), VideoOutput(tmp_path / name, preset="ultrafast"))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("container", ["y4m", "nut", "mkv", "webm", "mp4", "mov"])
def test_output_can_be_a_pipe(
    container: Any, find_video: FindVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", pipe)
    video = read(find_video("b_frames"))
    with VideoWriter(
        VideoOutput(Path("-"), container=container).encode_options, video.spec, video.metadata
    ) as sink:
        for chunk, _ in video.read(None, 8):
            sink.write(chunk)
        sink.finish()
    path = tmp_path / f"out.{container}"
    path.write_bytes(pipe.buffer.getvalue())
    assert [read_number(f) for f in frames(read(path))] == list(range(40))
    assert read(path).spec.rate == 25 or container == "mp4"


def test_y4m_needs_a_constant_rate(find_video: FindVideo) -> None:
    video = read(find_video("uneven"))
    with pytest.raises(Unsupported, match="y4m has a constant rate"):
        VideoOutput(Path("-")).open(video.metadata, video.spec)
