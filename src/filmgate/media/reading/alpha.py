"""The alpha of VP8 and VP9: a second video next to the first, which FFmpeg's own decoders skip."""

from __future__ import annotations

from types import MappingProxyType
from typing import cast

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

_DECODERS = MappingProxyType({"vp8": "libvpx", "vp9": "libvpx-vp9"})  # that read the alpha


def choose_decoder(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder for a stream: its own, or one that reads the alpha where it has alpha."""
    name = _find_alpha_decoder(stream)
    if not name:
        return stream.codec_context
    decoder = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
    if stream.codec_context.extradata:
        decoder.extradata = stream.codec_context.extradata
    return decoder


def describe_lost_alpha(stream: VideoStream) -> list[str]:
    """Return a message if the stream has alpha that this FFmpeg cannot decode."""
    if not has_alpha_video(stream) or _find_alpha_decoder(stream):
        return []
    codec = stream.codec_context.name
    return [f"alpha is left out: this FFmpeg has no {_DECODERS[codec]}, which decodes it"]


def has_alpha_video(stream: VideoStream) -> bool:
    """Whether the header says that each packet has alpha next to the image (Matroska, WebM)."""
    tags = {key.lower(): text for key, text in stream.metadata.items()}
    return tags.get("alpha_mode") == "1" and stream.codec_context.name in _DECODERS


def _find_alpha_decoder(stream: VideoStream) -> str:
    """Return FFmpeg's decoder that reads the stream's alpha; empty if it has none."""
    if not has_alpha_video(stream):
        return ""
    name = _DECODERS[stream.codec_context.name]
    return name if name in av.codecs_available else ""
