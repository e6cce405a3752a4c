"""Frames as pictures on disk: each whole or absent, written by several threads."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, TracebackType

import av
import numpy as np
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.prefetch import map_threads
from filmgate.core.snapshot import Snapshot
from filmgate.core.stage import AnyStage
from filmgate.errors import BadSetting, FilmgateError, OutputExists, StageContractError, Unsupported
from filmgate.media.containers.open import opened
from filmgate.media.images.numbering import image_name, image_numbers, numbered
from filmgate.media.pixels import formats, rgb
from filmgate.media.pixels.av_frames import rows_of
from filmgate.media.pixels.planes import Plane, Planes, bits_of
from filmgate.media.sinks import ImageOutput
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.streams.selection import words
from filmgate.storage.atomic import synced
from filmgate.units import MIB

_HELD = 64 * MIB  # of frames that wait for the writers
# What each file holds without a loss, and the interleaved format that its encoder wants.
_TAKEN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "png": {"gbrp": "rgb24", "gbrap": "rgba", "gray": "gray", "gbrp16le": "rgb48be",
                "gbrap16le": "rgba64be", "gray16le": "gray16be"},
        "libwebp": {"gbrp": "bgra"},
        "tiff": {"gbrp": "rgb24", "gbrap": "rgba", "gray": "gray", "gbrp16le": "rgb48le",
                 "gbrap16le": "rgba64le", "gray16le": "gray16le"},
    }
)  # fmt: skip
_ENCODERS = MappingProxyType({".png": "png", ".webp": "libwebp", ".tif": "tiff", ".tiff": "tiff"})
_LIST = ".filmgate.jsonl"


class ImageWriter:
    """A result being written as pictures; a frame's number is in its name, from 0.

    A list beside them (.filmgate.jsonl) says which are durable, by whose `tags` and of which film;
    it goes when the film has ended. Left before that, whole pictures and the list stay, and the
    same job goes on from them: pictures that are what the list says are not written again.
    `dropped` says in words what is not carried. Raises UserError before the first frame.
    """

    resume: Snapshot | None = None  # frames are made again; those that are there stay

    def __init__(
        self,
        output: ImageOutput,
        spec: StreamSpec,
        origin: SourceMetadata,
        *,
        tags: Mapping[str, str],
        threads: int,
    ) -> None:
        self._output, self._spec, self._threads = output, spec, threads
        self._turn = origin.turn
        self._pattern, self._encoder = _pattern(output), _encoder(output)
        if spec.pixels not in _TAKEN[self._encoder]:
            raise Unsupported(f"{self._pattern.name} can't hold {spec.pixels} without a loss, "
                              f"wanted {', '.join(_TAKEN[self._encoder])}")  # fmt: skip
        folder = self._pattern.parent
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise BadSetting(f"the folder {folder} can't be made: {error.strerror}") from error
        head = {"tags": dict(tags), "film": _identity(origin)}
        kept = verified(output, head) if head["film"] else []
        self._check_free(bool(kept))
        self._held: list[Frame] = []
        self._written: list[str] = []
        self._next = self._kept = len(kept)
        self.dropped = tuple(_dropped(spec, origin))
        if kept:
            self.dropped += (f"{len(kept)} pictures of this job are there and whole: they stay",)
        with _writing(folder / _LIST):
            (folder / _LIST).write_text("".join([json.dumps(head) + "\n", *kept]))

    @property
    def bytes_per_frame(self) -> int:
        """At most so many bytes of disk for a frame, and a few more: it is not squeezed at all."""
        planes = {"gray": 1, "gbrp": 3, "gbra": 4}[self._spec.pixels[:4]]
        return self._spec.width * self._spec.height * planes * bits_of(self._spec.pixels) // 8

    def write(self, frames: Sequence[Frame]) -> None:
        """Takes the next frames; some wait until there is one for each thread."""
        for frame in frames:
            if frame.index < self._kept:
                continue
            self._held.append(frame)
            full = len(self._held) * self.bytes_per_frame >= _HELD
            if full or len(self._held) >= self._threads:
                self._flush()

    def commit(self, snapshot: Snapshot) -> None:
        """Everything before `snapshot` is durable and in the list; the end makes the list go."""
        self._flush()
        folder = self._pattern.parent
        with _writing(folder / _LIST):
            with open(folder / _LIST, "a") as file:
                file.writelines(self._written)
                file.flush()
                os.fsync(file.fileno())
            self._written = []
            if snapshot.state is None:
                for number, path in image_numbers(self._pattern):
                    if number >= self._next:  # of a longer film that was here before
                        path.unlink()
                (folder / _LIST).unlink()
            synced(folder)

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held = []

    def _check_free(self, ours: bool) -> None:
        taken = [path for _, path in image_numbers(self._pattern)]
        if taken and not ours and not self._output.overwrite:
            raise OutputExists(
                f"{taken[0]} exists{f' and {len(taken) - 1} more' if len(taken) > 1 else ''}: name "
                "another folder, or say overwrite"
            )

    def _flush(self) -> None:
        held, self._held = self._held, []
        if held:
            self._written += map_threads(self._store, held, min(self._threads, len(held)))
            self._next = held[-1].index + 1

    def _store(self, frame: Frame) -> str:
        """Writes a frame under a hidden name, then gives it its own. Returns its line."""
        path = self._pattern.with_name(image_name(self._pattern.name, frame.index))
        part = path.with_name(f".{path.name}.part")
        with _writing(path):
            data = self._encoded(frame)
            try:
                with open(part, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        line = {"name": path.name, "bytes": len(data), "crc32": zlib.crc32(data)}
        return json.dumps(line) + "\n"

    def _encoded(self, frame: Frame) -> bytes:
        planes, spec = frame.image, self._spec
        if not isinstance(planes, Planes):
            raise StageContractError(
                f"frame {frame.index} is a {type(planes).__name__}, wanted Planes"
            )
        if (planes.size, planes.pixels) != ((spec.width, spec.height), spec.pixels):
            raise StageContractError(
                f"frame {frame.index} is {planes.size[0]}x{planes.size[1]} {planes.pixels}, wanted "
                f"{spec.width}x{spec.height} {spec.pixels}"
            )
        arrays = [_upright(array, self._turn) for array in planes.arrays]
        height, width = arrays[0].shape
        picture = VideoFrame(width, height, spec.pixels)
        for plane, array in zip(picture.planes, arrays, strict=True):
            rows_of(plane, array.dtype)[: array.shape[0], : array.shape[1]] = array
        picture = picture.reformat(format=_TAKEN[self._encoder][spec.pixels])
        primaries = formats.code_of(formats.PRIMARIES, spec.colour.primaries)
        transfer = formats.code_of(formats.TRANSFERS, spec.colour.transfer)
        context = CodecContext.create(self._encoder, "w")
        assert isinstance(context, VideoCodecContext)
        context.width, context.height, context.pix_fmt = width, height, picture.format.name
        context.time_base, context.thread_count = Fraction(1, 25), 1
        context.color_primaries, context.color_trc = primaries, transfer
        picture.color_primaries, picture.color_trc, picture.color_range = primaries, transfer, 2
        context.options = {
            "png": {"compression_level": str(self._output.png_level), "pred": "mixed"},
            "libwebp": {"lossless": "1", "compression_level": "0"},
            "tiff": {"compression_algo": "deflate"},
        }[self._encoder]
        picture.pts = 0
        return b"".join(bytes(p) for p in (*context.encode(picture), *context.encode(None)))


def as_stills(output: ImageOutput, spec: StreamSpec) -> tuple[AnyStage, ...]:
    """Stages that make frames what the files can hold: RGB or grey of 8 or 16 bits, full range."""
    taken, bits = _TAKEN[_encoder(output)], bits_of(spec.pixels)
    grey = spec.pixels.startswith("gray")
    if spec.pixels in taken and spec.colour.range != "tv":
        return ()
    if bits > 8 and "gbrp16le" not in taken:
        raise Unsupported(
            f"the film has {bits} bits and {output.path} holds 8: name it .png, .tiff"
        )
    deep = "16le" if bits > 8 else ""
    pixels = f"gray{deep}" if grey and "gray" in taken else f"gbrp{deep}"
    full = replace(spec.colour, range="pc", siting="unknown")
    full = full if pixels.startswith("gray") else replace(full, matrix="gbr")
    made = rgb.planes(pixels, full)
    return (made,) if spec.pixels == "rgb" else (rgb.rgb(), made)


def verified(output: ImageOutput, head: Mapping[str, object]) -> list[str]:
    """The list's lines for frames that are whole, from the first on; `head` is what begins it."""
    pattern = _pattern(output)
    listed = pattern.parent / _LIST
    if not listed.is_file():
        return []
    lines = [line for line in listed.read_text().splitlines(True) if line[-1] == "\n"]
    if not lines or json.loads(lines[0]) != head:
        return []
    for number, line in enumerate(lines[1:]):
        said = json.loads(line)
        path = pattern.with_name(image_name(pattern.name, number))
        if said["name"] != path.name or not path.is_file():
            return lines[1 : number + 1]
        data = path.read_bytes()
        if (len(data), zlib.crc32(data)) != (said["bytes"], said["crc32"]):
            return lines[1 : number + 1]
    return lines[1:]


def _identity(origin: SourceMetadata) -> dict[str, object] | None:
    """What tells a film from another, without reading it; None where there is no file."""
    if origin.path is None:
        return None
    stat = origin.path.stat()
    return {"name": origin.path.name, "bytes": stat.st_size, "changed_ns": stat.st_mtime_ns}


def _pattern(output: ImageOutput) -> Path:
    path = Path(output.path)
    if not path.suffix or path.is_dir():
        path = path / "%06d.png"
    if numbered(path.name) is None:
        raise BadSetting(
            f"the output is {path.name}, which names one picture: write {path.parent}/%06d"
            f"{path.suffix}, or a folder"
        )
    if not path.parent.parent.is_dir():
        raise BadSetting(f"the folder {path.parent.parent} does not exist: make it first")
    return path


def _encoder(output: ImageOutput) -> str:
    suffix = _pattern(output).suffix.lower()
    if suffix not in _ENCODERS:
        raise BadSetting(
            f"the output is {output.path}, and without a loss pictures are written as "
            f"{', '.join(_ENCODERS)}: name one of them"
        )
    return _ENCODERS[suffix]


def _upright(array: Plane, turn: tuple[int, ...] | None) -> Plane:
    """A plane as a display matrix shows it: x' = a x + c y, y' = b x + d y."""
    if turn is None:
        return array
    a, b, _, c, d = np.sign(turn[:5])
    if not a and not d:
        array, a, d = array.T, c, b
    return array[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _dropped(spec: StreamSpec, origin: SourceMetadata) -> Iterator[str]:
    """What pictures on disk can't carry, in words."""
    if origin.path is not None:
        with opened(origin.path, max_pixels=origin.max_pixels) as container:
            for stream in container.streams:
                if stream.index != origin.video:
                    yield f"{words(stream)}: pictures on disk carry no tracks"
    if spec.rate is None:
        yield "when each frame is shown: the film's rate varies, and pictures on disk have no times"
    if origin.aspect not in (None, 1):
        yield f"pixels that are {origin.aspect} as wide as high: those of pictures are square"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors while `path` is written become FilmgateError."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        said = error.strerror or type(error).__name__
        raise FilmgateError(
            f"{path} could not be written: {said}; see that its folder can be written to and its "
            "disk has room"
        ) from error
