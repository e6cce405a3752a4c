"""Floods of tiny elements: refused before FFmpeg reads them, or not followed to the end."""

from pathlib import Path
from time import process_time

import pytest

from filmgate.errors import BadInput
from filmgate.media.containers import element_budget, element_count
from filmgate.media.containers.integrity import check_structure, find_damage
from filmgate.media.containers.open import open_container
from tests.media.conftest import FindVideo

_COUNT = 20_000
_SEGMENT = bytes.fromhex("1a45dfa380 18538067 01ffffffffffffff")


def _box(kind: bytes, content: bytes) -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def _riff(content: bytes) -> bytes:
    return b"RIFF" + (4 + len(content)).to_bytes(4, "little") + b"AVI " + content


_FTYP = _box(b"ftyp", b"isom\0\0\0\0")
FLOODS = {
    "boxes.mp4": _FTYP + _box(b"free", b"") * _COUNT,
    "tracks.mov": _FTYP + _box(b"moov", _box(b"trak", b"") * _COUNT),
    "tags.mp4": _FTYP + _box(b"moov", _box(b"udta", _box(b"abcd", b"") * _COUNT)),
    "voids.mkv": _SEGMENT + b"\xec\x80" * _COUNT,
    "chapters.mkv": _SEGMENT + bytes.fromhex("1043a770 01ffffffffffffff") + b"\xb6\x80" * _COUNT,
    "chunks.avi": _riff(b"JUNK\0\0\0\0" * _COUNT),
}
LISTS = {  # FFmpeg stops at once, or reads on quickly
    "blocks.mkv": _SEGMENT + b"\x1f\x43\xb6\x75\xff" + b"\xa3\x80" * _COUNT,
    "blocks.gif": b"GIF89a" + bytes(7) + b"\x21\xfe\0" * _COUNT,
    "parts.gif": b"GIF89a" + bytes(7) + b"\x21\xfe" + b"\x01\x01" * _COUNT,
    "frames.y4m": b"YUV4MPEG2 W0 H0\n" + b"FRAME\n" * _COUNT,
    "boxes.mp4": FLOODS["boxes.mp4"],
    "chunks.avi": FLOODS["chunks.avi"],
}


@pytest.fixture
def few_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (element_budget, element_count):
        monkeypatch.setattr(module, "MAX_ELEMENTS", _COUNT // 2)


@pytest.mark.usefixtures("few_elements")
@pytest.mark.parametrize("name", FLOODS)
def test_flood_is_refused_before_ffmpeg_reads_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FLOODS[name])
    with pytest.raises(BadInput, match=r"more than 10000 boxes, elements or chunks"):  # noqa: SIM117
        with open_container(path):
            pass


@pytest.mark.usefixtures("few_elements")
@pytest.mark.parametrize("name", LISTS)
def test_long_list_is_not_followed_to_its_end(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(LISTS[name])
    found = check_structure(path)
    assert (found.damage, "too many parts to check all" in found.doubt) == ("", True)


@pytest.mark.usefixtures("few_elements")
def test_very_long_matroska_video_is_still_known_to_be_truncated(tmp_path: Path) -> None:
    cluster = b"\x1f\x43\xb6\x75\x01" + (2 * _COUNT).to_bytes(7, "big") + b"\xa3\x80" * _COUNT
    path = tmp_path / "video.mkv"
    path.write_bytes(_SEGMENT + 2 * cluster)
    assert check_structure(path).doubt == check_structure(path).damage == ""
    path.write_bytes((_SEGMENT + 2 * cluster)[:-100])
    assert find_damage(path) == "truncated: at least 100 bytes missing"


@pytest.mark.parametrize("name", ["even", "fragments", "even_mkv", "mpeg4_avi", "gif", "nut"])
def test_video_with_as_many_elements_as_are_followed_is_read(
    name: str, find_video: FindVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notice says that its structure is not known to be complete."""
    monkeypatch.setattr(element_budget, "MAX_ELEMENTS", 3)
    found = check_structure(find_video(name))
    assert not found.damage
    assert ("too many parts" in found.doubt) == (name != "nut")


def test_tables_that_promise_thousands_of_millions_of_rows_take_no_time(
    find_video: FindVideo, tmp_path: Path
) -> None:
    data, start = find_video("even").read_bytes(), process_time()
    for kind in (b"stts", b"stsc", b"stsz", b"stco", b"ctts", b"stsd"):
        for length in (b"\xff\xff\xff\xff", b"\0\0\0\x08", b"\0\0\0\x0c", b"\x7f\xff\xff\xff"):
            for shift in (-4, 4, 8):
                at = data.find(kind) + shift
                if at < 0:
                    continue
                path = tmp_path / "hurt.mp4"
                path.write_bytes(data[:at] + length + data[at + 4 :])
                check_structure(path)
    assert process_time() - start < 5


@pytest.mark.parametrize("name", ["even", "even_mkv", "mpeg4_avi", "gif", "y4m", "h264_ts"])
def test_no_damage_makes_the_check_itself_fail(
    name: str, find_video: FindVideo, tmp_path: Path
) -> None:
    data, path = find_video(name).read_bytes(), tmp_path / "hurt"
    places = [*range(0, 400, 23), *range(max(0, len(data) - 900), len(data), 67)]
    for at in places:
        for hurt in (data[:at], data[:at] + b"\xff" * 4 + data[at + 4 :]):
            path.write_bytes(hurt)
            check_structure(path)
