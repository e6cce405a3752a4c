"""The outer structure: what FFmpeg would pass over in silence."""

from pathlib import Path

import av
import pytest

from filmgate.errors import BadInput
from filmgate.media.containers.integrity import flaw
from filmgate.media.sources import VideoFile
from tests.media.conftest import Reel
from tests.videos import BROKEN, VIDEOS


@pytest.mark.parametrize("name", VIDEOS)
def test_a_whole_film_has_no_flaw(name: str, reel: Reel) -> None:
    assert flaw(reel(name)) == ""


@pytest.mark.parametrize("name", [name for name in BROKEN if name.startswith("cut")])
def test_a_film_that_is_cut_short_is_told_before_its_first_frame(name: str, reel: Reel) -> None:
    assert "cut short: at least" in flaw(reel(name))
    with pytest.raises(BadInput, match=r"cut short: at least \d+ bytes of it are missing"):
        VideoFile(reel(name)).open()


def test_a_hole_in_a_matroska_file_is_found_although_ffmpeg_finds_its_way_around_it(
    reel: Reel, tmp_path: Path
) -> None:
    """A run of noughts over a block's header lost frames without a word."""
    with av.open(str(reel("rich"))) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    data = bytearray(reel("rich").read_bytes())
    at = data.index(bytes(packets[5]))
    data[at - 8 : at] = bytes(8)
    hurt = tmp_path / "hurt.mkv"
    hurt.write_bytes(data)
    assert "damaged: no element begins at byte" in flaw(hurt)
    with pytest.raises(BadInput, match=r"near 0\.000 s; pictures can be found up to 0\.\d+ s"):
        VideoFile(hurt).open()


def test_rubbish_behind_a_whole_mp4_does_no_harm(reel: Reel, tmp_path: Path) -> None:
    path = tmp_path / "padded.mp4"
    path.write_bytes(reel("even").read_bytes() + bytes(100))
    assert len(list(VideoFile(path).open().times())) == 12


def test_rubbish_between_fragments_hides_what_follows(reel: Reel, tmp_path: Path) -> None:
    data = reel("fragments").read_bytes()
    at = data.rindex(b"moof") - 4
    path = tmp_path / "holed.mp4"
    path.write_bytes(data[:at] + bytes(16) + data[at:])
    with pytest.raises(BadInput, match=f"no box begins at byte {at}"):
        VideoFile(path).open()
