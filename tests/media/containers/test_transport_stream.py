"""Transport streams that were appended: the second one may be another program."""

from fractions import Fraction
from pathlib import Path

import pytest

from filmgate.media.sources import VideoFile
from tests.media.awkward import read_frames
from tests.videos import PLAIN, Video, make, read_number


def append(path: Path, *options: dict[str, str]) -> Path:
    """Write transport streams, each with these options of its container, one behind the other."""
    parts = [
        make(
            Video(suffix=".ts", tick=Fraction(1, 90000), options=PLAIN, sounds=("mp2",),
                  container=container),
            path.with_name(f"{n}.ts"),
        )
        for n, container in enumerate(options)
    ]  # fmt: skip
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


@pytest.mark.parametrize("size", [188, 192])
def test_another_program_at_the_end_is_reported(size: int, tmp_path: Path) -> None:
    """PyAV failed at the end, for streams that it does not know."""
    first = {"mpegts_start_pid": "256", "mpegts_pmt_start_pid": "4096"}
    other = {"mpegts_start_pid": "768", "mpegts_pmt_start_pid": "2048"}
    path = append(tmp_path / "a.ts", first, other)
    data = path.read_bytes()
    packets = [data[at : at + 188] for at in range(0, len(data), 188)]
    path.write_bytes(b"".join(bytes(size - 188) + packet for packet in packets))
    frames = read_frames(VideoFile(path).open())
    assert [read_number(frame) for frame in frames] == list(range(12))
    assert "(packets 768 and 256), and is not read" in str(frames[0].extras["notice"])


def test_the_same_program_twice_is_read_without_doubt(tmp_path: Path) -> None:
    frames = read_frames(VideoFile(append(tmp_path / "a.ts", {}, {})).open())
    assert [read_number(frame) for frame in frames] == [*range(12), *range(12)]
    assert "program" not in str(frames[0].extras.get("notice"))
