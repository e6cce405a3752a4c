"""A small file that would unpack to gigabytes is refused by its first bytes, with the flag."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path

import pytest

from filmgate.core.source_metadata import MAX_PIXELS
from filmgate.errors import BadInput
from filmgate.media import options
from filmgate.media.containers.declared_size import read_declared_size
from filmgate.media.options import BYTES_PER_PIXEL, choose_max_pixels
from filmgate.media.sources import VideoFile, VideoPipe
from tests.media.containers.test_animated_png import encode


def resize(data: bytes, at: int, kind: str, size: int) -> bytes:
    return data[:at] + struct.pack(kind, size, size) + data[at + struct.calcsize(kind) :]


@pytest.fixture
def bombs(tmp_path: Path) -> dict[int, bytes]:
    """Return files by the width and height that they declare."""
    gif = encode(tmp_path / "a.gif", "gif", "gif", "gray").read_bytes()
    png = encode(tmp_path / "a.png", "apng", "apng", "gray").read_bytes()
    y4m = b"YUV4MPEG2 Ip W9000 F25:1 H9000 C420\nFRAME\n"
    return {
        8000: resize(gif, 6, "<HH", 8000),
        60000: resize(gif, 6, "<HH", 60000),
        30000: resize(png, 16, ">II", 30000),
        2_000_000_000: resize(png, 16, ">II", 2_000_000_000),
        9000: y4m,
        999_999_999: y4m.replace(b"9000", b"999999999"),
    }


def test_bombs_are_refused_with_the_flag_that_allows_them(
    tmp_path: Path, bombs: dict[int, bytes]
) -> None:
    for size, data in bombs.items():
        path = tmp_path / f"{size}.bin"
        path.write_bytes(data)
        assert read_declared_size(data) == (size, size)
        with pytest.raises(BadInput, match=rf"{size}x{size}, .* pass --max-pixels {size * size} "):
            VideoFile(path).open()


def test_bombs_in_a_pipe_are_refused(
    bombs: dict[int, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bombs[9000])))
    with pytest.raises(BadInput, match=r"9000x9000, .* pass --max-pixels 81000000 "):
        VideoPipe().open().__enter__()


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"YUV4MPEG2 W5\n", b"YUV4MPEG2 C420 H5 W5\n"])
def test_files_that_declare_no_size_are_left_to_the_library(data: bytes) -> None:
    assert read_declared_size(data) is None


def test_default_follows_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "measure_total_memory", lambda: 1 << 30)
    assert choose_max_pixels(None) == (1 << 30) // BYTES_PER_PIXEL
    assert choose_max_pixels(10**9) == 10**9
    monkeypatch.setattr(options, "measure_total_memory", lambda: 1 << 40)
    assert choose_max_pixels(None) == MAX_PIXELS == 3 * 2**30 // BYTES_PER_PIXEL
