"""Add streams to an output for packets of the source's other streams."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import AttachmentStream, Stream

from filmgate.media.audio.codecs import add_audio_stream, name_channels
from filmgate.media.streams.description import is_cover
from filmgate.media.streams.output_container import is_mp4
from filmgate.media.streams.subtitles import TEXT_TICK

# Metadata about the old container, and metadata that the muxer writes itself.
_CONTAINER_KEYS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
_COUNT_KEYS = ("bps", "number_of_frames", "number_of_bytes", "_statistics_")
# QuickTime knows these languages by their older names.
QUICKTIME_LANGUAGES = MappingProxyType(
    {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb"}
)


def add_stream(
    container: OutputContainer, suffix: str, stream: Stream, codec: str | None = None
) -> Stream:
    """Add a stream for the packets of `stream`.

    `codec`: the encoder of audio that is re-encoded, or the codec of subtitles that are converted;
    None: packets are copied. Raises ValueError or FFmpegError if the container cannot hold it.
    """
    if codec and isinstance(stream, AudioStream):
        added: Stream = add_audio_stream(container, stream, codec)
        copy_metadata(added, stream, suffix, reencoded=True)
        return added
    if codec:
        added = container.add_mux_stream(codec)
        added.time_base = TEXT_TICK
    elif isinstance(stream, AttachmentStream):
        name = stream.name or f"attachment-{stream.index}"
        kind = stream.mimetype or "application/octet-stream"
        added = container.add_attachment(name, kind, stream.data)
    elif is_cover(stream) and suffix == ".mkv":  # in Matroska covers are attachments
        kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
        name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        added = container.add_attachment(name, f"image/{kind}", _read_cover(stream))
    else:
        added = container.add_stream_from_template(stream, opaque=True)
        if isinstance(stream, AudioStream) and isinstance(added, AudioStream):
            name_channels(added, stream)
    copy_metadata(added, stream, suffix)
    return added


def copy_metadata(output: Stream, stream: Stream, suffix: str, *, reencoded: bool = False) -> None:
    """Copy metadata and dispositions; `reencoded`: without counts of the old packets.

    In an mp4 FFmpeg writes a title under another name than that which it reads, and in a mov none.
    """
    metadata = keep_metadata(stream.metadata, _COUNT_KEYS if reencoded else ())
    if "name" in metadata and "title" not in metadata:
        metadata["title"] = metadata.pop("name")
    if is_mp4(suffix) and metadata.get("title"):
        longest = 127 if suffix == ".mov" else None  # bytes; FFmpeg reads no longer one there
        title = metadata["title"].encode()[:longest]
        metadata["handler_name"] = title.decode(errors="ignore")
    if suffix == ".mov" and metadata.get("language") in QUICKTIME_LANGUAGES:
        metadata["language"] = QUICKTIME_LANGUAGES[metadata["language"]]
    output.metadata.update(metadata)
    output.disposition = stream.disposition


def keep_metadata(metadata: Mapping[str, str], stale: tuple[str, ...] = ()) -> dict[str, str]:
    """Return metadata without keys about the old container or starting with one of `stale`."""
    return {k: v for k, v in metadata.items() if not k.lower().startswith(_CONTAINER_KEYS + stale)}


def _read_cover(stream: Stream) -> bytes:
    container = stream.container
    assert isinstance(container, InputContainer)
    return next((bytes(packet) for packet in container.demux(stream) if packet.size), b"")
