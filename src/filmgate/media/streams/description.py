"""Describe streams for messages, and tell what kind of stream one is."""

from __future__ import annotations

from av.stream import AttachmentStream, DataStream, Discard, Disposition, Stream
from av.video.stream import VideoStream


def has_decoder(stream: Stream) -> bool:
    """Whether FFmpeg can decode the stream; else it has no codec context."""
    return bool(stream.codec_context)


def name_codec(stream: Stream) -> str:
    """Return the name of a stream's codec, "unknown" where FFmpeg has no name for it."""
    if has_decoder(stream):
        return stream.codec_context.codec.canonical_name
    named = isinstance(stream, DataStream | AttachmentStream)
    return (stream.name if named else None) or "unknown"


def describe_stream(stream: Stream) -> str:
    """Return the stream's index, codec, kind and language for messages."""
    kind = "cover" if is_cover(stream) else "time code" if is_timecode(stream) else stream.type
    language = f", {stream.language}" if stream.language not in (None, "und") else ""
    return f"stream {stream.index} ({name_codec(stream)} {kind}{language})"


def is_cover(stream: Stream) -> bool:
    """Whether it is cover art: one image, stored as a video stream."""
    return bool(stream.disposition & Disposition.attached_pic)


def is_poster(stream: Stream) -> bool:
    """Whether it is the still image of an animated AVIF or HEIF, for programs that show no more."""
    timed = isinstance(stream, VideoStream) and (stream.frames != 1 or stream.duration is not None)
    return stream.type == "video" and not timed and "mov" in stream.container.format.name


def is_content(stream: Stream) -> bool:
    """False for the text stream of an mp4's chapters, which are copied by themselves, and a poster.

    The poster is the first frame of the video next to it.
    """
    if is_poster(stream):
        return False
    return not (stream.type == "data" and stream.discard == Discard.all)


def is_timecode(stream: Stream) -> bool:
    """Whether it is a time code track, whose only content is in its metadata too."""
    return stream.type == "data" and "timecode" in stream.metadata
