"""Every codec in every container: frames and times are kept, or the output is refused."""

import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import av
import pytest

from filmgate.errors import BadSetting, Unsupported
from filmgate.media.codecs import CODECS
from filmgate.media.options import Codec, Container
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.writing.video_writer import VideoWriter
from tests import videos
from tests.media.conftest import FindVideo
from tests.videos import read_number

QUICK = {"h264": "ultrafast", "hevc": "ultrafast", "av1": "11", "vp9": "8"}
SOFT = [name for name, codec in CODECS.items() if codec.exact and name != "rawvideo"]
HELD = {  # codecs that each container can hold
    "mp4": {"h264", "hevc", "av1", "vp9", "ffv1"},
    "mov": {"h264", "hevc", "prores"},
    "mkv": set(SOFT),
    "webm": {"av1", "vp9"},
}


def copy_video(
    video: VideoReader, output: VideoOutput, light: tuple[bytes | None, bytes | None] = (None, None)
) -> VideoWriter:
    origin, spec = replace(video.metadata, hdr_side_data=light), video.spec
    if any(light):
        spec = replace(spec, colour=replace(spec.colour, transfer="smpte2084"))
    with VideoWriter(output.encode_options, spec, origin) as sink:
        for chunk, _ in video.read(None, 8):
            sink.write(chunk)
        sink.finish()
    return sink


def read(path: Path) -> VideoReader:
    """Open a video; a second thread for frames so small takes longer than it saves."""
    return VideoFile(path).open(threads=1)


def output(path: Path, codec: Any, **settings: Any) -> VideoOutput:
    return VideoOutput(path, codec, preset=QUICK.get(codec), **settings)


def choose_source(codec: str) -> str:
    """Return a sample video in a pixel format that the codec takes."""
    return "prores" if codec == "prores" else "uneven"


def test_codec_names_and_codec_table_agree() -> None:
    assert set(get_args(Codec)) == set(CODECS)
    assert set(HELD) <= set(get_args(Container))


@pytest.mark.parametrize("container", HELD)
@pytest.mark.parametrize("codec", SOFT)
def test_codec_and_container_keep_frames_and_times_or_are_refused_with_alternatives(
    codec: str, container: str, find_video: FindVideo, tmp_path: Path
) -> None:
    video = read(find_video(choose_source(codec)))
    path = tmp_path / f"out.{container}"
    if codec not in HELD[container]:
        able = [name for name in HELD if codec in HELD[name]]
        with pytest.raises(Unsupported, match=f"can't hold {codec} .* name the output") as error:
            copy_video(video, output(path, codec))
        assert all(f".{name}" in str(error.value) for name in able)
        assert not list(tmp_path.iterdir())
        return
    sink = copy_video(video, output(path, codec))
    old = [f for chunk, _ in video.read(None, 8) for f in chunk]
    new = [f for chunk, _ in read(path).read(None, 8) for f in chunk]
    assert [read_number(f) for f in new] == [read_number(f) for f in old]
    assert max(abs(a.time - b.time) for a, b in zip(old, new, strict=True)) <= sink.tick / 2
    assert max(abs(a.end - b.end) for a, b in zip(old, new, strict=True)) <= sink.tick / 2


@pytest.mark.parametrize("codec", SOFT)
def test_same_frames_give_the_same_bytes(codec: str, find_video: FindVideo, tmp_path: Path) -> None:
    video = read(find_video(choose_source(codec)))
    for name in ("a.mkv", "b.mkv"):
        copy_video(video, output(tmp_path / name, codec))
    first, second = ([bytes(p) for p in _packets(tmp_path / n)] for n in ("a.mkv", "b.mkv"))
    assert first == second


@pytest.mark.parametrize("codec", SOFT)
def test_color_tags_survive_encoding(codec: str, find_video: FindVideo, tmp_path: Path) -> None:
    video = read(find_video(choose_source(codec)))
    for colour in ("bt709", "bt2020"):
        matrix = {"bt2020": "bt2020nc"}.get(colour, colour)
        transfer = {"bt2020": "smpte2084"}.get(colour, colour)
        tagged = replace(
            video.spec.colour, matrix=matrix, primaries=colour, transfer=transfer, range="tv"
        )
        path = tmp_path / f"{colour}.mkv"
        changed = replace(video, spec=replace(video.spec, colour=tagged))
        copy_video(changed, output(path, codec))
        found = read(path).spec.colour
        assert replace(found, siting="unknown", range="tv") == replace(tagged, siting="unknown")
        assert found.range in ("tv", "unknown")


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
def test_hdr_metadata_survives_encoding(codec: str, find_video: FindVideo, tmp_path: Path) -> None:
    primaries = [34000, 16000, 13250, 34500, 7500, 3000, 15635, 16450]
    ratios = [part for n in primaries for part in (n, 50_000)] + [50, 10_000, 1000, 1]
    light = (struct.pack("=20i2i", *ratios, 1, 1), struct.pack("=2I", 1000, 400))
    path = tmp_path / "out.mp4"
    sink = copy_video(read(find_video("ten_bits")), output(path, codec), light)
    assert not sink.dropped
    with av.open(str(path)) as container:
        kinds: Any = next(container.decode(video=0)).side_data
        held = {side.type.name: bytes(side) for side in (kinds[k] for k in range(len(kinds)))}
    found = struct.unpack("=20i2i", held["MASTERING_DISPLAY_METADATA"])
    for n in range(0, 20, 2):
        wanted = ratios[n] / ratios[n + 1]
        assert found[n] / found[n + 1] == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    assert struct.unpack("=2I", held["CONTENT_LIGHT_LEVEL"][:8]) == (1000, 400)


def test_hdr_metadata_that_an_encoder_cannot_store_is_reported(
    find_video: FindVideo, tmp_path: Path
) -> None:
    light = (None, struct.pack("=2I", 1000, 400))
    sink = copy_video(read(find_video("even")), output(tmp_path / "out.webm", "vp9"), light)
    assert ["light level are left out" in word for word in sink.dropped] == [True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"codec": "prores", "crf": 20}, "prores has no such option"),
        ({"codec": "h264", "crf": 52}, r"wanted 0 \(best\) to 51 for h264"),
        ({"codec": "av1", "preset": "medium"}, "wanted one of 0, 1, 2,.* for av1"),
        ({"codec": "ffv1", "preset": "medium"}, "ffv1 has no presets"),
        ({"codec": "h265"}, "wanted one of h264, hevc"),
        ({"container": "mkv"}, "container is mkv and the output is out.mp4"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        VideoOutput(Path("out.mp4"), **settings)


def test_container_setting_applies_to_names_without_a_known_suffix(
    find_video: FindVideo, tmp_path: Path
) -> None:
    copy_video(read(find_video("even")), VideoOutput(tmp_path / "out.video", container="mkv"))
    assert (tmp_path / "out.video").read_bytes()[:4] == b"\x1a\x45\xdf\xa3"


def test_default_codec_depends_on_the_container() -> None:
    assert VideoOutput(Path("a.webm")).chosen_codec == "vp9"
    assert VideoOutput(Path("a"), container="webm").chosen_codec == "vp9"
    assert VideoOutput(Path("a.mp4")).chosen_codec == "h264"


@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if not codec.exact])
def test_missing_hardware_encoder_is_refused_with_its_software_codec(
    codec: str, find_video: FindVideo, tmp_path: Path
) -> None:
    video = read(find_video("even"))
    with pytest.raises(Unsupported, match=f"pass --codec {codec.partition('_')[0]}"):
        copy_video(video, VideoOutput(tmp_path / "out.mp4", codec))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def _packets(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def test_docs_about_codecs_match_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs" / "codecs.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line for line in page.splitlines() if " | " in line}
    for name, codec in CODECS.items():
        if not codec.exact:
            assert name in page
            continue
        crf = "none" if codec.crf is None else f"0-{codec.worst} ({codec.crf})"
        assert f"| {name} | {codec.encoder} | {crf} |" in lines[name]
        ends = (*codec.presets[:1], *codec.presets[-1:])
        assert all(preset in lines[name] for preset in ends)
        assert f"({codec.preset})" in lines[name] or codec.preset is None
        held = [box for box in HELD if codec.encoder != "rawvideo" and name in HELD[box]]
        assert all(box in lines[name].split("|")[5].split() for box in held)


FILLED = """
import hashlib, sys
from dataclasses import replace
from pathlib import Path
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
video = VideoFile(Path(sys.argv[1])).open()
for codec in ("h264", "hevc"):
    output = VideoOutput(Path(sys.argv[2]), codec, overwrite=True)
    with output.open(video.metadata, video.spec) as sink:
        for chunk, _ in video.read(None, 8):
            sink.write(chunk)
        sink.finish()
    print(hashlib.sha256(Path(sys.argv[2]).read_bytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only glibc fills fresh memory on demand")
def test_x264_output_does_not_depend_on_uninitialized_memory(tmp_path: Path) -> None:
    """x264's AVX-512 code gave other packets for the same frames at this width."""
    kind = videos.Video(frames=30, size=(320, 240))
    source = videos.make(kind, tmp_path / "in.mp4")
    outputs = set()
    for fill in ("0", "1", "170"):
        words = [sys.executable, "-c", FILLED, str(source), str(tmp_path / "out.mkv")]
        env = {**os.environ, "MALLOC_PERTURB_": fill}
        outputs.add(subprocess.run(words, env=env, check=True, capture_output=True).stdout)
    assert len(outputs) == 1
