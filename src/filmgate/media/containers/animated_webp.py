"""Animated WebP as a container: FFmpeg reads none, so Pillow decodes its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from filmgate.errors import BadInput
from filmgate.media.containers.element_budget import ElementBudget

if TYPE_CHECKING:
    import mmap

    from av.container import InputContainer
    from av.packet import Packet

WEBP = "webp"  # the name of its format
_ANIMATED, _ALPHA = 2, 16  # of the flags in the first chunk (RFC 9649, 2.7.1)
_TICK = Fraction(1, 1000)
_MAX_BYTES = 1 << 29  # Pillow reads the entire file
_DAMAGE = (OSError, EOFError, SyntaxError, ValueError, MemoryError)  # as Pillow reports it
_SHORTEST_MS, _DEFAULT_MS = 11, 100  # shorter frames last so long, as in browsers


def is_webp_animation(head: bytes) -> bool:
    """Return whether a file that starts with `head` is an animated WebP."""
    named = head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) >= 30
    return named and bool(head[20] & _ANIMATED)


def read_webp_size(head: bytes) -> tuple[int, int]:
    """Return width and height of the canvas of an animated WebP."""
    width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    return width, height


def find_webp_damage(data: mmap.mmap, budget: ElementBudget) -> tuple[str, str]:
    """Follow the chunks of a WebP to the end that its header says (RFC 9649, 2.3)."""
    end = max(int.from_bytes(data[4:8], "little") + 8, *_follow_chunks(data, budget).values(), 0)
    missing = end - len(data)
    return (f"truncated: at least {missing} bytes missing" if missing > 0 else ""), ""


@contextmanager
def open_webp(
    path: Path, open_raw: Callable[..., AbstractContextManager[InputContainer]]
) -> Iterator[WebPContainer]:
    """Open an animated WebP; `open_raw` opens a file of raw video. Raises BadInput."""
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise BadInput(f"{path} has {size} bytes, wanted at most {_MAX_BYTES} of an animated WebP, "
                       "which is read at once: convert it to a video first")  # fmt: skip
    data = path.read_bytes()
    chunks = _follow_chunks(data, ElementBudget())
    lengths = [int.from_bytes(data[at + 20 : at + 23], "little") for at in chunks]
    times = accumulate((n if n >= _SHORTEST_MS else _DEFAULT_MS for n in lengths), initial=0)
    width, height = read_webp_size(data)
    pixels = "bgra" if data[20] & _ALPHA else "rgb24"
    with open_raw(
        BytesIO(b"\0"), video_size=f"{width}x{height}", pixel_format=pixels, framerate="1000"
    ) as template:
        yield WebPContainer(data, template, tuple(times))


class WebPContainer:
    """The frames of an animated WebP as packets of raw video, always from the first one.

    It has what is used of an InputContainer. Its stream is that of `template`, a container of raw
    video. `times` of the frames and of the end, in milliseconds.
    """

    def __init__(self, data: bytes, template: InputContainer, times: tuple[int, ...]) -> None:
        self._data, self._stream = data, template.streams.video[0]
        self._failed = False
        self.times = times[:-1]
        self._ends = times[1:]
        self.streams, self.metadata = template.streams, dict[str, str]()
        self.format = SimpleNamespace(name=WEBP, flags=0)
        self.size, self.start_time, self.duration = len(data), 0, 1000 * times[-1]

    def chapters(self) -> list[Any]:
        """Return none."""
        return []

    def seek(self, *_: object, **__: object) -> None:
        """Do nothing: each frame depends on the ones before."""

    def demux(self, *_: object) -> Iterator[Packet[Any]]:
        """Yield a packet of samples for each frame, and an empty one at the end.

        Raises FFmpegError if a frame cannot be decoded, and nothing follows it.
        """
        import av

        for number, samples in enumerate(() if self._failed else self._decode()):
            packet: Packet[Any] = av.Packet(samples)
            packet.stream, packet.time_base = self._stream, _TICK
            packet.pts = packet.dts = self.times[number]
            packet.duration = self._ends[number] - self.times[number]
            packet.is_keyframe = True
            yield packet
        end: Packet[Any] = av.Packet()
        end.stream = self._stream
        yield end

    def decode(self, *streams: object) -> Iterator[Any]:
        """Yield decoded frames."""
        for packet in self.demux(*streams):
            yield from packet.decode()

    def _decode(self) -> Iterator[bytes]:
        """Yield the samples of each frame."""
        import av
        from PIL import Image

        bgra = self._stream.codec_context.pix_fmt == "bgra"
        try:
            with Image.open(BytesIO(self._data), formats=["WEBP"]) as image:
                for number in range(len(self.times)):
                    image.seek(number)
                    frame = image.convert("RGBA" if bgra else "RGB")
                    yield frame.tobytes("raw", "BGRA" if bgra else "RGB")
        except (*_DAMAGE, Image.DecompressionBombError) as error:
            self._failed = True
            raise av.InvalidDataError(1, str(error)) from error


def list_webp_times(container: object) -> tuple[int, ...] | None:
    """Return when frames of an animated WebP start, in milliseconds; None of other containers."""
    return container.times if isinstance(container, WebPContainer) else None


def _follow_chunks(data: bytes | mmap.mmap, budget: ElementBudget) -> dict[int, int]:
    """Return where frames start in a WebP, each with its end."""
    frames, at, end = {}, 12, min(len(data), int.from_bytes(data[4:8], "little") + 8)
    while at + 8 <= end:
        budget.spend()
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ANMF":
            frames[at] = at + 8 + length
        at += 8 + length + length % 2
    return frames
