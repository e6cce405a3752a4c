"""Choose which of the source's other streams an output can hold, and add them to it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

import av
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Discard, Disposition, Stream
from av.video.stream import VideoStream

from filmgate.errors import Unsupported

MUXERS: Mapping[str, str] = MappingProxyType(
    {
        ".mp4": "mp4",
        ".m4v": "mp4",
        ".mov": "mov",
        ".mkv": "matroska",
        ".webm": "webm",
        ".nut": "nut",
        ".y4m": "yuv4mpegpipe",
    }
)
# Metadata about the old container, and metadata that the muxer writes itself.
_CONTAINER_KEYS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
_COUNT_KEYS = ("bps", "number_of_frames", "number_of_bytes", "_statistics_")
# The codec of text subtitles, by container.
TEXT_CODECS: Mapping[str, str] = MappingProxyType(
    {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "subrip",
     ".webm": "webvtt"}
)  # fmt: skip
_ALTERNATIVES = (".mkv", ".mov", ".mp4", ".webm")  # named in errors
_STYLES = re.compile(rb"</?[a-zA-Z][^>]*>|\{\\[^}]*\}")
# QuickTime knows these languages by their older names.
QUICKTIME_LANGUAGES = MappingProxyType(
    {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb"}
)


def create_container(
    file: Path | io.BufferedIOBase, suffix: str, timescale: int | None = None
) -> OutputContainer:
    """Open an empty container of the kind of `suffix`; fragmented where `file` can't seek.

    An mp4 stores the starts of its streams in ticks of `timescale` a second, else in milliseconds.
    """
    flags = {"fflags": "+bitexact"}  # the same packets give the same file
    if MUXERS[suffix] in ("mp4", "mov"):
        piped = not isinstance(file, Path) and not file.seekable()
        fragments = "+frag_keyframe+empty_moov+default_base_moof" if piped else ""
        flags["movflags"] = f"use_metadata_tags{fragments}"
        if timescale is not None:
            flags["movie_timescale"] = str(timescale)
    if suffix == ".y4m":
        flags["strict"] = "-1"  # allows more than 8 bits
    return av.open(
        os.path.abspath(file) if isinstance(file, Path) else file,  # never a protocol
        "w",
        format=MUXERS[suffix],
        container_options=flags,
        metadata_errors="surrogateescape",
    )


def choose_streams(
    suffix: str, video: VideoStream, others: Sequence[Stream], time_scale: Fraction | None
) -> tuple[list[Stream], list[str], dict[int, str]]:
    """Return the `others` to keep, messages about the rest, and subtitle codecs to convert to.

    With a `time_scale` other than 1 only audio, re-encoded, and subtitles have times that can be
    scaled; None keeps only what has no time: attachments and covers. Raises Unsupported, with the
    containers that would do, if `suffix` can't hold the `video` or a stream that must be kept.
    """
    _check_video(suffix, video)
    kept = [s for s in others if _fits_timeline(s, time_scale)]
    dropped = [
        f"{describe_stream(s)} is left out: its times no longer fit"
        for s in others
        if s not in kept
    ]
    reencoded = "audio" if time_scale not in (1, None) else ""
    unfit = [s for s in kept if s.type != reencoded and not _fits(suffix, video, s)]
    converted = {s.index: TEXT_CODECS[suffix] for s in unfit if _is_convertible(suffix, video, s)}
    dropped += [
        f"{describe_stream(s)} becomes {converted[s.index]}: its styles are left out"
        for s in unfit if s.index in converted
    ]  # fmt: skip
    unfit = [s for s in unfit if s.index not in converted]
    optional = unfit if suffix == ".y4m" else [s for s in unfit if _is_optional(s)]
    dropped += [f"{describe_stream(s)} is left out: {suffix} can't hold it" for s in optional]
    if required := [s for s in unfit if s not in optional]:
        names = " and ".join(describe_stream(s) for s in required)
        able = [x for x in _ALTERNATIVES if all(_fits(x, video, s) for s in kept)]
        advice = f"name the output {' or '.join(able)}" if able else "remove them from the input"
        raise Unsupported(f"{suffix} can't hold {names}: {advice}")
    return [s for s in kept if s not in optional], dropped, converted


def _check_video(suffix: str, video: VideoStream) -> None:
    """Raise Unsupported, with the containers that would do, if `suffix` can't hold the video."""
    if _fits(suffix, video, None):
        return
    able = [x for x in _ALTERNATIVES if _fits(x, video, None)]
    raise Unsupported(
        f"{suffix} can't hold {video.codec_context.codec.canonical_name} of "
        f"{video.codec_context.pix_fmt}: name the output {' or '.join(able)}"
    )


def _fits_timeline(stream: Stream, time_scale: Fraction | None) -> bool:
    """Whether the stream has no times, or times that can be scaled."""
    if stream.type == "attachment" or is_cover(stream) or time_scale == 1:
        return True
    return time_scale is not None and stream.type in ("audio", "subtitle")


def _is_convertible(suffix: str, video: VideoStream, stream: Stream) -> bool:
    """Whether it is a text subtitle, in another codec than that of this container."""
    codec = stream.codec_context.codec.canonical_name if stream.codec_context else ""
    return (
        codec in TEXT_CODECS.values()
        and suffix in TEXT_CODECS
        and _fits(suffix, video, stream, TEXT_CODECS[suffix])
    )


def _is_optional(stream: Stream) -> bool:
    """Whether a stream may be left out of a container that can't hold it.

    A cover: in an mp4 it excludes metadata with keys of any name.
    """
    return stream.type in ("data", "unknown", "attachment") or is_cover(stream)


def add_stream(
    container: OutputContainer, suffix: str, stream: Stream, codec: str | None = None
) -> Stream:
    """Add a stream for the packets of `stream`, unchanged or converted to the subtitle `codec`."""
    if codec:
        converted: Stream = container.add_mux_stream(codec)
        converted.time_base = Fraction(1, 1000)
        copy_metadata(converted, stream, suffix)
        return converted
    if isinstance(stream, AttachmentStream):
        name = stream.name or f"attachment-{stream.index}"
        kind = stream.mimetype or "application/octet-stream"
        added: Stream = container.add_attachment(name, kind, stream.data)
    elif is_cover(stream) and suffix == ".mkv":  # in Matroska covers are attachments
        kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
        name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        added = container.add_attachment(name, f"image/{kind}", _read_cover(stream))
    else:
        added = container.add_stream_from_template(stream, opaque=True)
    copy_metadata(added, stream, suffix)
    return added


def copy_metadata(output: Stream, stream: Stream, suffix: str, *, reencoded: bool = False) -> None:
    """Copy metadata and dispositions; `reencoded`: without counts of the old packets."""
    metadata = keep_metadata(stream.metadata, _COUNT_KEYS if reencoded else ())
    if suffix == ".mov" and metadata.get("language") in QUICKTIME_LANGUAGES:
        metadata["language"] = QUICKTIME_LANGUAGES[metadata["language"]]
    output.metadata.update(metadata)
    output.disposition = stream.disposition


def is_content(stream: Stream) -> bool:
    """False for the text stream of an mp4's chapters: chapters are copied by themselves."""
    return not (stream.type == "data" and stream.discard == Discard.all)


def keep_metadata(metadata: Mapping[str, str], stale: tuple[str, ...] = ()) -> dict[str, str]:
    """Return metadata without keys about the old container or starting with one of `stale`."""
    return {k: v for k, v in metadata.items() if not k.lower().startswith(_CONTAINER_KEYS + stale)}


def describe_stream(stream: Stream) -> str:
    """Return the stream's index, codec, kind and language for messages."""
    context = stream.codec_context
    codec = context.codec.canonical_name if context else stream.name or "unknown"
    kind = "cover" if is_cover(stream) else stream.type
    language = f", {stream.language}" if stream.language not in (None, "und") else ""
    return f"stream {stream.index} ({codec} {kind}{language})"


def is_cover(stream: Stream) -> bool:
    """Whether it is cover art: one image, stored as a video stream."""
    return bool(stream.disposition & Disposition.attached_pic)


def _read_cover(stream: Stream) -> bytes:
    container = stream.container
    assert isinstance(container, InputContainer)
    return bytes(next(packet for packet in container.demux(stream) if packet.size))


def convert_subtitle(data: bytes, old: str, new: str) -> bytes:
    """Return the text of a subtitle packet in the codec `new`, without styles; may be empty."""
    text = data
    if old == "mov_text":  # ETSI TS 126 245, 5.17: the text's length before it, styles after it
        text = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = _STYLES.sub(b"", text)
    if text and new == "mov_text":
        text = text[:65535]
        return len(text).to_bytes(2, "big") + text
    return text


def _fits(suffix: str, video: VideoStream, other: Stream | None, codec: str | None = None) -> bool:
    """Whether a container takes the video and another stream: a header is written in memory."""
    if other is not None and is_cover(other):
        return suffix == ".mkv"
    try:
        with create_container(io.BytesIO(), suffix) as trial:
            trial.add_stream_from_template(video)
            if other is not None:
                add_stream(trial, suffix, other, codec)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True
