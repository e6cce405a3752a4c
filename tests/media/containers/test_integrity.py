"""Damage of a container's structure that FFmpeg skips silently."""

from pathlib import Path

import av
import pytest

from filmgate.errors import BadInput
from filmgate.media.containers.integrity import Integrity, check_structure, find_damage
from filmgate.media.sources import VideoFile
from tests.cases import mark_slow_cases
from tests.media.conftest import FindVideo
from tests.media.old_videos import OldVideo, make_old
from tests.videos import BROKEN, VIDEOS

# Every container, and what a container may do with its times.
QUICK = ["even_mov", "uneven_mkv", "hidden_start", "late_start_mkv", "one_frame", "vp9", "packed",
         "fragments", "sound", "rich", "rich_mp4", "cover", "cover_mkv", "two_videos"]  # fmt: skip


@pytest.mark.parametrize("name", mark_slow_cases(QUICK, list(VIDEOS)))
def test_intact_video_has_no_damage(name: str, find_video: FindVideo) -> None:
    assert find_damage(find_video(name)) == ""


@pytest.mark.parametrize("name", [name for name in BROKEN if name.startswith("cut")])
def test_truncated_video_is_refused_before_its_first_frame(
    name: str, find_video: FindVideo
) -> None:
    assert "truncated: at least" in find_damage(find_video(name))
    with pytest.raises(BadInput, match=r"truncated: at least \d+ bytes missing"):
        VideoFile(find_video(name)).open()


def test_hole_in_a_matroska_file_that_ffmpeg_skips_is_found(
    find_video: FindVideo, tmp_path: Path
) -> None:
    """Zeros over a block's header lost frames without an error."""
    with av.open(str(find_video("rich"))) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    data = bytearray(find_video("rich").read_bytes())
    at = data.index(bytes(packets[5]))
    data[at - 8 : at] = bytes(8)
    hurt = tmp_path / "hurt.mkv"
    hurt.write_bytes(data)
    assert "damaged: no element starts at byte" in find_damage(hurt)
    with pytest.raises(BadInput, match=r"near 0\.000 s; it has frames up to 0\.\d+ s"):
        VideoFile(hurt).open()


def test_garbage_after_a_complete_mp4_is_ignored(find_video: FindVideo, tmp_path: Path) -> None:
    path = tmp_path / "padded.mp4"
    path.write_bytes(find_video("even").read_bytes() + bytes(100))
    assert len(list(VideoFile(path).open().iter_times())) == 12


def test_garbage_between_fragments_is_damage(find_video: FindVideo, tmp_path: Path) -> None:
    data = find_video("fragments").read_bytes()
    at = data.rindex(b"moof") - 4
    path = tmp_path / "holed.mp4"
    path.write_bytes(data[:at] + bytes(16) + data[at:])
    with pytest.raises(BadInput, match=f"no box starts at byte {at}"):
        VideoFile(path).open()


@pytest.mark.parametrize("name", [b"00iv", b"00AM", b"00xm"])
def test_frames_of_an_avi_may_have_chunks_of_any_name(name: bytes, tmp_path: Path) -> None:
    spec = OldVideo("mjpeg", frames=6, pixels="yuvj420p", options={})
    path = make_old(spec, tmp_path / "a.avi")
    path.write_bytes(path.read_bytes().replace(b"00dc", name))
    assert check_structure(path) == Integrity()
    assert len(list(VideoFile(path).open().iter_times())) == 6


def test_odd_chunk_of_an_avi_is_still_damage(tmp_path: Path) -> None:
    spec = OldVideo("mjpeg", frames=6, pixels="yuvj420p", options={})
    path = make_old(spec, tmp_path / "a.avi")
    head, _, rest = path.read_bytes().rpartition(b"movi")
    path.write_bytes(head + b"movi" + rest.replace(b"00dc", b"00iv", 1))
    assert "its header says 6 frames and it has 5" in check_structure(path).damage
