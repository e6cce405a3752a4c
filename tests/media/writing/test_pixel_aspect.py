"""The shape of pixels is stored where FFmpeg's muxers write none, and read back."""

from fractions import Fraction as F
from pathlib import Path
from typing import Any

import av
import pytest

import filmgate as fg
from filmgate.backends import inline
from filmgate.media.options import Codec
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.media.writing.pixel_aspect import TOLERANCE
from filmgate.quality.verify import check
from tests import videos


def convert(folder: Path, aspect: F, name: str, codec: Codec, **settings: Any) -> list[str]:
    """Convert a video with such pixels; return what is reported."""
    spec = videos.Video(frames=3, aspect=aspect, sounds=("aac",))
    source = videos.make(spec, folder / "in.mp4")
    output = VideoOutput(folder / name, codec, **settings)
    events = list(inline.run(fg.Job(VideoFile(source), output)))
    return [event.message for event in events if isinstance(event, fg.Warned)]


@pytest.mark.parametrize(
    ("name", "codec", "aspect"),
    [("out.mkv", "ffv1", F(64, 45)), ("out.mkv", "ffv1", F(4319, 4320)),
     ("out.y4m", "rawvideo", F(64, 45)), ("out.webm", "vp9", F(1, 3))],
)  # fmt: skip
def test_it_is_read_back(tmp_path: Path, name: str, codec: Codec, aspect: F) -> None:
    said = convert(tmp_path, aspect, name, codec)
    assert not any("aspect" in text for text in said)
    with av.open(str(tmp_path / name)) as container:
        video = container.streams.video[0]
        found = video.sample_aspect_ratio
        assert found is not None
        assert abs(found / aspect - 1) <= (TOLERANCE if codec == "vp9" else 0)
        assert "title" not in video.metadata
    image = next(f for f in check(tmp_path / name, tmp_path / "in.mp4").findings
                 if f.name == "image")  # fmt: skip
    assert image.ok


def test_a_title_stays_and_so_does_everything_behind_it(tmp_path: Path) -> None:
    """The room for the shape is in the title of the track while the file is written."""
    spec = videos.Video(frames=8, aspect=F(64, 45), sounds=("aac",), suffix=".mkv")
    first = videos.make(spec, tmp_path / "first.mkv")
    with av.open(str(first)) as old, av.open(str(tmp_path / "in.mkv"), "w") as new:
        streams = [new.add_stream_from_template(stream) for stream in old.streams]
        streams[0].metadata["title"] = "Größe"
        for packet in old.demux():
            if packet.size:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
    job = fg.Job(VideoFile(tmp_path / "in.mkv"), VideoOutput(tmp_path / "out.mkv", "ffv1"))
    list(fg.events(job, fg.Plan(segment_frames=4), worker=False))
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert container.streams.video[0].metadata["title"] == "Größe"
        assert container.streams.video[0].sample_aspect_ratio == F(64, 45)
        assert len(list(container.decode(video=0))) == 8
        container.seek(0)
        assert sum(packet.size > 0 for packet in container.demux(audio=0)) > 5
    assert check(tmp_path / "out.mkv", tmp_path / "in.mkv").ok


def test_a_container_without_a_place_for_it_is_reported(tmp_path: Path) -> None:
    said = convert(tmp_path, F(64, 45), "out.nut", "ffv1")
    assert any("the pixel aspect 64/45 is left out" in text for text in said)
