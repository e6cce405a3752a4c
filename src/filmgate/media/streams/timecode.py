"""The time code of a camera: a tag of the video, from which mp4 and mov make a track."""

from __future__ import annotations

from fractions import Fraction

from av.container import InputContainer
from av.stream import Stream

from filmgate.core.source_metadata import SourceMetadata
from filmgate.media.streams.description import is_timecode


def find_timecode(input: InputContainer, video: int) -> str | None:
    """Return the time code of the first frame of stream `video`.

    It is a tag of that stream, of a time code track or of the file.
    """
    tracks = [stream.metadata for stream in input.streams if is_timecode(stream)]
    tagged = (input.streams[video].metadata, *tracks, input.metadata)
    return next((tags["timecode"] for tags in tagged if "timecode" in tags), None)


def find_misfit(
    code: str, video: Stream, source: SourceMetadata, rate: Fraction | None
) -> str | None:
    """Return why a result at `rate` frames a second cannot keep the time code, None if it can."""
    start = (video.start_time or 0) * (video.time_base or Fraction(1))
    if source.trimmed and source.offset - start > Fraction(1, 1000):
        return "the video starts later than the source"
    if ";" in code and rate is not None and round(rate) % 30:
        return f"it drops numbers as at 29.97 frames a second, and the result has {float(rate):g}"
    return None
