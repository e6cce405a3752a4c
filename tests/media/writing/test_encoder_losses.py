"""What of a video an encoder or a simple container cannot store is reported."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.errors import Unsupported
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from tests.media.awkward import MORE
from tests.videos import HD, Video, make


def convert(kind: Video, folder: Path, name: str, **settings: str) -> list[str]:
    """Convert a video and return the warnings."""
    heard: list[fg.Event] = []
    output = VideoOutput(folder / name, **settings)  # type: ignore[arg-type]
    fg.run((), make(kind, folder / f"in{kind.suffix}"), output, on_event=heard.append)
    return [event.message for event in heard if isinstance(event, fg.Warned)]


@pytest.mark.parametrize(
    ("name", "lost"), [("out.y4m", True), ("out.nut", True), ("out.mkv", False), ("o.mov", False)]
)
def test_rotation_is_kept_or_reported(name: str, lost: bool, tmp_path: Path) -> None:
    warnings = convert(Video(frames=2, turn=90), tmp_path, name)
    assert [text for text in warnings if "rotation is left out" in text] == [
        f"the rotation is left out: {Path(name).suffix} cannot store it"
    ] * lost


@pytest.mark.parametrize(
    ("name", "codec", "lost"),
    [("out.y4m", "rawvideo", True), ("out.nut", "ffv1", True), ("out.nut", "h264", False),
     ("out.mkv", "ffv1", False)],
)  # fmt: skip
def test_colour_tags_are_kept_or_reported(
    name: str, codec: str, lost: bool, tmp_path: Path
) -> None:
    warnings = convert(Video(frames=2, colour=HD), tmp_path, name, codec=codec)
    assert [bool("matrix bt709" in text) for text in warnings] == [True] * lost


def test_hdr_metadata_is_kept_or_reported(tmp_path: Path) -> None:
    kept, lost = (
        [text for text in convert(MORE["hdr"], tmp_path, f"{codec}.mkv", codec=codec)
         if "light level" in text]
        for codec in ("h264", "ffv1")
    )  # fmt: skip
    assert kept == []
    assert lost == ["mastering display and light level are left out: ffv1 cannot write them"]


def test_a_frame_that_lasts_longer_than_a_container_stores_is_refused(tmp_path: Path) -> None:
    kind = Video(frames=2, times=(Fraction(0), Fraction(10**9)), codec="ffv1", options={},
                 tick=Fraction(1), suffix=".nut")  # fmt: skip
    with pytest.raises(Unsupported, match=r"frame 0 at 0\.000 s lasts 1000000000 s, wanted"):
        convert(kind, tmp_path, "out.mp4")


@pytest.mark.parametrize(
    ("name", "pixels", "written"),
    [
        ("out.mp4", "yuv411p", "yuv420p"),  # DV of NTSC
        ("out.webm", "yuv410p", "yuv420p"),
        ("out.mkv", "yuv440p10le", "yuv420p10le"),
        ("out.webm", "yuv440p", "yuv440p"),
        ("out.y4m", "yuv411p", "yuv411p"),
    ],
)
def test_default_codecs_take_the_pixels_of_old_videos(
    name: str, pixels: str, written: str, tmp_path: Path
) -> None:
    dtype = "uint16" if pixels.endswith("le") else "uint8"
    spec = replace(VideoFile(make(Video(frames=2), tmp_path / "in.mp4")).open().spec,
                   pixels=pixels, dtype=dtype)  # fmt: skip
    for stage in VideoOutput(tmp_path / name).stages(spec):
        spec = stage.output(spec)
    assert spec.pixels == written
