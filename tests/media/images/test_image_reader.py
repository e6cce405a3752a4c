"""Images on disk: read completely and in order or refused, written without loss."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.outputs import Outputs, open_outputs
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import (
    BadInput,
    BadSetting,
    FilmgateError,
    OutputExists,
    Unsupported,
    UserError,
)
from filmgate.media.pixels.format_names import get_bit_depth
from filmgate.media.pixels.planes import Plane, Planes
from filmgate.media.sinks import ImageOutput
from filmgate.media.sources import ImageSequence, is_images

END = Snapshot(Cursor(0, 0), None, (), 0)
MIDDLE = Snapshot(Cursor(0, 0), (), (), 0)
TAGS = {"job": "a"}


def _texture(
    width: int = 24, height: int = 16, channels: int = 3, seed: int = 0
) -> npt.NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)
    blurred = cv2.blur(small, (3, 3)).astype(np.uint8)
    return blurred.reshape(height, width, channels)


def _save(path: Path, image: npt.NDArray[Any], *options: int) -> Path:
    done, data = cv2.imencode(path.suffix, image, options)
    assert done
    path.write_bytes(data.tobytes())
    return path


def _folder(folder: Path, names: list[str], **size: int) -> Path:
    folder.mkdir(exist_ok=True)
    for n, name in enumerate(names):
        _save(folder / name, _texture(seed=n, **size))
    return folder


def _planes(pixels: str, seed: int = 0, width: int = 24, height: int = 16) -> Planes:
    count = {"gray": 1, "gbrp": 3, "gbra": 4}[pixels[:4]]
    wide: Any = np.uint8 if get_bit_depth(pixels) == 8 else np.uint16
    chance = np.random.default_rng(seed)
    arrays: list[Plane] = [
        chance.integers(0, 1 << get_bit_depth(pixels), (height, width)).astype(wide)
        for _ in range(count)
    ]
    return Planes(tuple(arrays), pixels, ColorTags(matrix="gbr", range="pc"))


def _spec(pixels: str, **more: Any) -> StreamSpec:
    given: dict[str, Any] = {"width": 24, "height": 16, "colour": ColorTags(range="pc"), **more}
    return StreamSpec(rate=Fraction(25), time_base=Fraction(1, 25), pixels=pixels, **given)


def _frames(pixels: str, count: int) -> list[Frame]:
    tick = Fraction(1, 25)
    return [Frame(n, n * tick, tick, _planes(pixels, n)) for n in range(count)]


def _read(path: Path, **more: Any) -> list[Frame]:
    with ImageSequence(path, **more).open(threads=2) as reader:
        return [frame for chunk, _ in reader.read(None, 4) for frame in chunk]


def _arrays(frame: Frame) -> tuple[Plane, ...]:
    assert isinstance(frame.image, Planes)
    return frame.image.arrays


def _write(output: ImageOutput, pixels: str, count: int = 3, end: Snapshot = END) -> Outputs:
    with open_outputs([output], SourceMetadata(), _spec(pixels), tags=TAGS) as sink:
        sink.write(_frames(pixels, count))
        sink.commit(end)
    return sink


def test_natural_order_without_hidden_files(tmp_path: Path) -> None:
    names = [f"shot{n}.png" for n in range(1, 12)]
    _folder(tmp_path, names)
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("nor this")
    with ImageSequence(tmp_path).open() as reader:
        assert [path.name for path in reader.paths] == names
        assert reader.spec.frames == 11
        assert reader.spec.rate == 25


@pytest.mark.parametrize("pattern", ["%06d.png", "%d.png", "*.png", "??????.png", "."])
def test_patterns_find_what_they_match(tmp_path: Path, pattern: str) -> None:
    wide = 1 if pattern == "%d.png" else 6
    _folder(tmp_path, [f"{n:0{wide}d}.png" for n in range(8, 11)])
    path = tmp_path if pattern == "." else tmp_path / pattern
    assert is_images(path)
    assert len(_read(path)) == 3


def test_missing_numbers_are_named(tmp_path: Path) -> None:
    _folder(tmp_path, [f"{n:06d}.png" for n in (5, 6, 10, 12)])
    for path in (tmp_path, tmp_path / "%06d.png"):
        with pytest.raises(BadInput, match="frames 000007 to 000009 are missing, frame 000011 is"):
            _read(path)
    assert len(_read(tmp_path / "*.png")) == 4


@pytest.mark.parametrize(
    ("names", "path", "message"),
    [
        ([], ".", "has no images"),
        (["a.jpg"], "*.png", "has no images"),
        (["a.jpg", "b.png"], ".", "has 1 .jpg, 1 .png"),
        (["a.png"], "no/%d.png", "does not exist"),
        (["a1.png", "a01.png"], ".", "the same number twice"),
    ],
)
def test_paths_without_a_sequence_are_refused(
    tmp_path: Path, names: list[str], path: str, message: str
) -> None:
    _folder(tmp_path, names)
    with pytest.raises(BadInput, match=message):
        _read(tmp_path / path)


def test_image_of_another_size_or_format_is_refused_by_name(tmp_path: Path) -> None:
    _folder(tmp_path, ["0.png", "1.png"])
    _save(tmp_path / "1.png", _texture(width=26))
    with pytest.raises(Unsupported, match=r"1\.png is 26x16 gbrp.*24x16 gbrp"):
        _read(tmp_path)
    _save(tmp_path / "1.png", _texture(channels=1))
    with pytest.raises(Unsupported, match=r"1\.png is 24x16 gray"):
        _read(tmp_path)


def test_reading_from_any_cursor_gives_the_same_images(tmp_path: Path) -> None:
    _folder(tmp_path, [f"{n}.png" for n in range(7)])
    with ImageSequence(tmp_path, in_fps=Fraction(24000, 1001)).open(threads=3) as reader:
        chunks = list(reader.read(None, 2))
        frames = [frame for chunk, _ in chunks for frame in chunk]
        assert [frame.time for frame in frames] == [Fraction(1001 * n, 24000) for n in range(7)]
        assert list(reader.iter_times()) == [(frame.time, frame.duration) for frame in frames]
        for _, cursor in chunks:
            rest = [frame for chunk, _ in reader.read(cursor, 2) for frame in chunk]
            assert [f.index for f in rest] == [f.index for f in frames[cursor.index :]]
            for ours, first in zip(rest, frames[cursor.index :], strict=True):
                assert ours.time == first.time
                for a, b in zip(_arrays(ours), _arrays(first), strict=True):
                    np.testing.assert_array_equal(a, b)


def test_trim_is_exact_and_time_starts_at_zero(tmp_path: Path) -> None:
    _folder(tmp_path, [f"{n}.png" for n in range(10)])
    for first, last, frames, kept in (
        (Fraction(2, 25), None, 3, [2, 3, 4]),
        (Fraction(5, 50), Fraction(5, 25), None, [3, 4]),
        (None, Fraction(1, 100), None, [0]),
    ):
        trim = ImageSequence(tmp_path, start=first, end=last, max_frames=frames)
        with trim.open() as reader:
            assert [int(path.stem) for path in reader.paths] == kept
            assert next(reader.read(None, 1))[0][0].time == 0
            assert reader.metadata.trimmed
    with pytest.raises(BadSetting, match=r"has no frame from 1\.000 s on: it has 10, 0\.400"):
        _read(tmp_path, start=Fraction(1))


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".webp"])
def test_samples_equal_those_of_opencv(tmp_path: Path, suffix: str) -> None:
    lossless = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ()
    for channels, pixels in ((3, "gbrp"), (4, "gbrap"), (1, "gray")):
        if suffix == ".webp" and channels == 1:
            continue
        image = _texture(channels=channels)
        image[..., 3:] |= 1  # WebP forgets colours where nothing is seen
        _save(tmp_path / f"a{suffix}", image, *lossless)
        (frame,) = _read(tmp_path / f"a{suffix}")
        assert isinstance(frame.image, Planes)
        assert frame.image.pixels == pixels
        order = (1, 0, 2, 3) if channels > 1 else (0,)  # of OpenCV: B G R A
        for n, array in zip(order, frame.image.arrays, strict=False):
            np.testing.assert_array_equal(array, image[..., n])


@pytest.mark.parametrize("pixels", ["gbrp16le", "gray16le", "gbrap16le", "gbrap", "gray", "gbrp"])
@pytest.mark.parametrize("name", ["%06d.png", "%d.tif"])
def test_written_images_are_read_back_bit_for_bit(tmp_path: Path, pixels: str, name: str) -> None:
    _write(ImageOutput(tmp_path / "out" / name), pixels)
    frames = _read(tmp_path / "out" / name)
    for frame, given in zip(frames, _frames(pixels, 3), strict=True):
        assert isinstance(frame.image, Planes)
        assert frame.image.pixels == pixels
        for a, b in zip(_arrays(frame), _arrays(given), strict=True):
            np.testing.assert_array_equal(a, b)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [name % n for n in range(3)]


def test_webp_is_lossless_and_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    output = ImageOutput(tmp_path / "%d.webp")
    _write(output, "gbrp")
    for frame, given in zip(_read(tmp_path), _frames("gbrp", 3), strict=True):
        for a, b in zip(_arrays(frame), _arrays(given), strict=True):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(Unsupported, match="10 bits"):
        output.stages(_spec("yuv420p10le"))
    with pytest.raises(Unsupported, match="cannot store gbrap without loss"):
        _write(ImageOutput(tmp_path / "a" / "%d.webp"), "gbrap")


def test_png_level_changes_only_the_size(tmp_path: Path) -> None:
    sizes = []
    for level in (0, 9):
        _write(ImageOutput(tmp_path / str(level) / "%d.png", png_level=level), "gray", count=1)
        sizes.append((tmp_path / str(level) / "0.png").stat().st_size)
    with pytest.raises(BadSetting, match="png_level is 10"):
        ImageOutput(tmp_path, png_level=10)
    assert sizes[1] <= sizes[0]


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("yuv420p", "gbrp"), ("yuv422p10le", "gbrp16le"), ("gbrp10le", "gbrp16le"),
        ("gray10le", "gray16le"), ("gbrp", "gbrp"), ("gray", "gray"),
    ],
)  # fmt: skip
def test_stages_convert_to_what_a_png_holds(given: str, made: str) -> None:
    spec = _spec(given)
    for stage in ImageOutput(Path("f/%d.png")).stages(spec):
        spec = stage.output(spec)
    assert (spec.pixels, spec.colour.range) == (made, "pc")


def test_existing_images_are_replaced_only_with_overwrite(tmp_path: Path) -> None:
    output = ImageOutput(tmp_path / "%d.png")
    _write(output, "gray", count=5)
    with pytest.raises(OutputExists, match=r"0\.png exists and 4 more"):
        _write(output, "gray")
    old = [path.read_bytes() for path in sorted(tmp_path.glob("*.png"))]
    _write(ImageOutput(output.path, overwrite=True), "gray", count=2)
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.png"))] == old


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("out/a.png", r"names one image: write .*a-%06d\.png, or .*a/ for a folder"),
        ("out/%d.jpg", r"images a pattern .* ends in \.png, \.webp, \.tif, \.tiff"),
        ("no/such/%d.png", "no does not exist"),
    ],
)
def test_impossible_outputs_are_refused(tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        _write(ImageOutput(tmp_path / path), "gray")


def test_failed_write_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "1.png").mkdir()
    with pytest.raises(FilmgateError, match=r"1\.png could not be written: "):
        _write(ImageOutput(tmp_path / "%d.png", overwrite=True), "gray")
    assert not list(tmp_path.glob(".*.part"))


def test_rotation_is_read_and_images_are_written_upright(tmp_path: Path) -> None:
    exif = b"Exif\0\0" + b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0%c\0\0\0\0\0\0\0"
    plain = cv2.imencode(".jpg", _texture(32, 16))[1].tobytes()
    for orientation in range(2, 9):
        data = exif % orientation
        path = tmp_path / f"{orientation}.jpg"
        head = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data
        path.write_bytes(head + plain[2:])
        with ImageSequence(path).open() as reader:
            assert reader.metadata.display_matrix is not None
            frames = next(reader.read(None, 1))[0]
            grey = reader.spec.pixels.replace("yuvj", "yuv")[:3] == "yuv"
            assert grey
            luma = Planes(_arrays(frames[0])[:1], "gray", ColorTags(range="pc"))
            output = ImageOutput(tmp_path / str(orientation) / "%d.png")
            spec = _spec("gray", width=32, height=16)
            with open_outputs([output], reader.metadata, spec) as sink:
                sink.write([frames[0].with_image(luma)])
                sink.commit(END)
        written = cv2.imread(str(tmp_path / str(orientation) / "0.png"), cv2.IMREAD_GRAYSCALE)
        expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)  # OpenCV turns it
        assert written is not None
        assert expected is not None
        assert written.shape == expected.shape
        assert np.abs(written.astype(int) - expected).mean() < 2


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_bomb() -> bytes:
    head = struct.pack(">IIBBBBB", 16000, 16000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(16000 * 2001), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")
    )


def _tiff_bomb() -> bytes:
    sides = struct.pack("<HHIIHHII", 256, 4, 1, 60000, 257, 4, 1, 60000)
    return b"II*\0\x08\0\0\0\2\0" + sides + bytes(4)


def _jpeg_bomb() -> bytes:
    sof = struct.pack(">BHHB", 8, 65000, 65000, 1) + b"\1\x11\0"
    return b"\xff\xd8\xff\xc0" + struct.pack(">H", len(sof) + 2) + sof + b"\xff\xda\0\2\xff\xd9"


def _webp_bomb() -> bytes:
    body = b"\x2f" + struct.pack("<I", 16383 | 16383 << 14)
    return b"RIFF" + struct.pack("<I", 17) + b"WEBPVP8L" + struct.pack("<I", 5) + body


@pytest.mark.parametrize("bomb", [_png_bomb, _tiff_bomb, _jpeg_bomb, _webp_bomb])
def test_decompression_bomb_is_refused_before_it_unpacks(
    tmp_path: Path, bomb: Callable[[], bytes]
) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    with pytest.raises(UserError, match=r"of (16000|60000|65000|16384)x.* pass --max-pixels"):
        ImageSequence(path).open()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_image_truncated_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    data = _save(tmp_path / f"a{suffix}", _texture(64, 48)).read_bytes()
    path = tmp_path / f"cut{suffix}"
    after = 5 if suffix == ".tiff" else 1  # after it there is no data of the image
    for size in [*range(0, len(data) - after, max(1, len(data) // 50)), len(data) - after]:
        path.write_bytes(data[:size])
        with pytest.raises((BadInput, Unsupported), match="truncated"):
            _read(path)


def test_no_flipped_bit_of_a_png_gives_another_image(tmp_path: Path) -> None:
    data = _save(tmp_path / "a.png", _texture()).read_bytes()
    (want,) = _read(tmp_path / "a.png")
    chance = np.random.default_rng(3)
    for at in chance.integers(0, 8 * len(data), 150):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        (tmp_path / "b.png").write_bytes(flipped)
        try:
            (got,) = _read(tmp_path / "b.png")
        except UserError:
            continue
        for a, b in zip(_arrays(got), _arrays(want), strict=True):
            np.testing.assert_array_equal(a, b)


def test_compressed_text_in_a_png_is_not_unpacked(tmp_path: Path) -> None:
    data = _save(tmp_path / "a.png", _texture()).read_bytes()
    text = _chunk(b"zTXt", b"k\0\0" + b"not zlib")
    (tmp_path / "a.png").write_bytes(data[:33] + text + data[33:])
    assert len(_read(tmp_path / "a.png")) == 1
