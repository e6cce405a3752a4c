"""Estimate the size of a result: encode a few frames from three places of the source."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from filmgate.core.chain import Chain, ChainState
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import UserError
from filmgate.media.pixels.format_names import get_subsampling
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.media.sources import ImageSequence, VideoFile

PLACES = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10))  # of the video
FRAMES = 16  # at each place
TICK = Fraction(1, 1_000_000)
LOSSY_SHARE, LOSSLESS_SHARE = 0.2, 0.8  # of the raw bytes: no ordinary video exceeds it


def bound_frame_bytes(output: VideoOutput | ImageOutput, result: StreamSpec) -> int:
    """Return a bound on the bytes of a result frame, without encoding anything."""
    raw = result.width * result.height * 3 * (1 if result.dtype == "uint8" else 2)
    if isinstance(output, ImageOutput):
        return raw
    lossless = output.chosen_codec in ("ffv1", "rawvideo", "prores") or (output.crf or 18) < 8
    return int(raw * (LOSSLESS_SHARE if lossless else LOSSY_SHARE))


def estimate_frame_bytes(
    source: VideoFile | ImageSequence,
    output: VideoOutput | ImageOutput,
    spec: StreamSpec,
    result: StreamSpec,
    key_interval: int,
) -> float:
    """Return the mean bytes of a result frame: source frames, scaled to its size, are encoded.

    `spec`: the source's stream. `key_interval`: frames from one key frame to the next. Detail that
    a model would add is not counted.
    """
    sizes = []
    for place in PLACES:
        frames = list(_read_snippet(source, spec, place))
        if frames:
            first, *rest = packets = _measure_packets(frames, output, spec, result)
            if isinstance(output, ImageOutput):
                sizes.append(sum(packets) / len(packets))
            else:
                sizes.append(first / key_interval + sum(rest) / max(1, len(rest)))
    return sum(sizes) / max(1, len(sizes))


def _read_snippet(
    source: VideoFile | ImageSequence, spec: StreamSpec, place: Fraction
) -> Iterator[Frame]:
    rate, count = spec.rate or Fraction(25), spec.frames or 1
    begin = (source.start or Fraction(0)) + place * max(0, count - FRAMES) / rate
    try:
        video: Any = replace(source, start=begin, end=None, max_frames=FRAMES).open(1)
        for frames, _ in video.read(None, FRAMES):
            yield from frames
    except UserError:  # behind the end of a video of variable rate, or in a damaged part
        return


def _measure_packets(
    frames: Sequence[Frame],
    output: VideoOutput | ImageOutput,
    spec: StreamSpec,
    result: StreamSpec,
) -> list[int]:
    """Return the bytes of each packet, or image."""
    spec = replace(spec, width=result.width, height=result.height)
    chain = Chain(output.stages(spec))  # RGB of images, for one, becomes what the codec takes
    state: ChainState | None = chain.start(spec, frames[0].position)
    assert state is not None
    state, ready = chain.step(state, [_resize(frame, spec) for frame in frames])
    while state:
        state, rest = chain.finish(state)
        ready += rest
    if isinstance(output, ImageOutput):
        from filmgate.media.images.image_encoder import ImageEncoder
        from filmgate.media.images.image_files import resolve_pattern

        suffix = resolve_pattern(Path(output.path)).suffix.lower()
        images = ImageEncoder(suffix, chain.output(spec), png_level=output.png_level)
        return [len(images.encode(frame)) for frame in ready]
    from filmgate.media.writing.encoder import Encoder

    encoder = Encoder(output.encode_options, chain.output(spec), TICK, SourceMetadata(), 1)
    try:
        return [packet.size for packet in (*encoder.encode(ready), *encoder.flush())]
    finally:
        encoder.close()


def _resize(frame: Frame, spec: StreamSpec) -> Frame:
    """Return the frame at the size of the result."""
    import cv2

    planes: Any = frame.image
    if planes.size == (spec.width, spec.height):
        return frame
    across, down = get_subsampling(planes.pixels)
    arrays = []
    for number, array in enumerate(planes.arrays):
        x, y = (across, down) if number in (1, 2) else (1, 1)
        arrays.append(cv2.resize(array, (-(-spec.width // x), -(-spec.height // y))))
    return frame.with_image(planes.with_arrays(tuple(arrays)))
