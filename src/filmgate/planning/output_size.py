"""How large a result will be, about: a few frames from three places, encoded as it will be."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from filmgate.core.chain import Chain, ChainState
from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import UserError
from filmgate.media.pixels.planes import steps_of
from filmgate.media.sinks import VideoOutput
from filmgate.media.source_metadata import SourceMetadata
from filmgate.media.sources import ImageSequence, VideoFile

PLACES = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10))  # of the film
FRAMES = 16  # at each place
TICK = Fraction(1, 1_000_000)
# Of the raw bytes, what no ordinary film exceeds: codecs that lose something, and the others.
AT_MOST, LOSSLESS = 0.2, 0.8


def at_most(output: VideoOutput, made: StreamSpec) -> int:
    """Bytes of a result frame that will hardly be exceeded; nothing is tried for that."""
    lossless = output.coded in ("ffv1", "rawvideo", "prores") or (output.crf or 18) < 8
    raw = made.width * made.height * 3 * (1 if made.dtype == "uint8" else 2)
    return int(raw * (LOSSLESS if lossless else AT_MOST))


def frame_bytes(
    source: VideoFile | ImageSequence,
    output: VideoOutput,
    given: StreamSpec,
    made: StreamSpec,
    key: int,
) -> float:
    """Bytes of a result frame, about: those of the source, at the size of the result.

    `key`: frames from one key picture to the next. What a model adds is not known yet.
    """
    sizes = []
    for place in PLACES:
        frames = list(_snippet(source, given, place))
        if frames:
            first, *rest = _encoded(frames, output, given, made)
            sizes.append(first / key + sum(rest) / max(1, len(rest)))
    return sum(sizes) / max(1, len(sizes))


def _snippet(
    source: VideoFile | ImageSequence, spec: StreamSpec, place: Fraction
) -> Iterator[Frame]:
    rate, count = spec.rate or Fraction(25), spec.frames or 1
    begin = (source.from_ or Fraction(0)) + place * max(0, count - FRAMES) / rate
    try:
        video: Any = replace(source, from_=begin, to=None, frames=FRAMES).open(1)
        for frames, _ in video.read(None, FRAMES):
            yield from frames
    except UserError:  # behind the end of a film of uneven times, or where it is damaged
        return


def _encoded(
    frames: Sequence[Frame], output: VideoOutput, given: StreamSpec, made: StreamSpec
) -> list[int]:
    """Bytes of each packet."""
    spec = replace(given, width=made.width, height=made.height)
    chain = Chain(output.stages(spec))  # of pictures, for one, RGB becomes what the codec takes
    from filmgate.media.writing.encoder import Encoder

    encoder = Encoder(output, chain.output(spec), TICK, SourceMetadata(), 1)
    try:
        begun = chain.start(spec, frames[0].position)
        links: ChainState | None
        links, ready = chain.step(begun, [_sized(frame, spec) for frame in frames])
        while links:
            links, rest = chain.finish(links)
            ready += rest
        return [packet.size for packet in (*encoder.packets(ready), *encoder.flush())]
    finally:
        encoder.close()


def _sized(frame: Frame, spec: StreamSpec) -> Frame:
    """The frame at the size of the result."""
    import cv2

    planes: Any = frame.image
    if planes.size == (spec.width, spec.height):
        return frame
    across, down = steps_of(planes.pixels)
    arrays = []
    for number, array in enumerate(planes.arrays):
        x, y = (across, down) if number in (1, 2) else (1, 1)
        arrays.append(cv2.resize(array, (-(-spec.width // x), -(-spec.height // y))))
    return frame.made(planes.with_arrays(tuple(arrays)))
