"""The tracks beside the picture: which of them an output can hold, and their twins in it."""

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

FORMATS: Mapping[str, str] = MappingProxyType(
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
# Metadata that tells of the container that was, or that the muxer writes anew.
_STALE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration")
_COUNTED = ("bps", "number_of_frames", "number_of_bytes", "_statistics_")
# Words without a picture, by the container that holds them so.
TEXT: Mapping[str, str] = MappingProxyType(
    {".mp4": "mov_text", ".m4v": "mov_text", ".mov": "mov_text", ".mkv": "subrip",
     ".webm": "webvtt"}
)  # fmt: skip
_STYLES = re.compile(rb"</?[a-zA-Z][^>]*>|\{\\[^}]*\}")
# QuickTime knows these languages by their older names.
QUICKTIME = MappingProxyType(
    {"deu": "ger", "nld": "dut", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb"}
)


def blank(file: Path | io.BufferedIOBase, suffix: str, ticks: int | None = None) -> OutputContainer:
    """An empty container of the kind that `suffix` names; fragments where `file` can't seek.

    An mp4 counts where its tracks begin in `ticks` a second, else in milliseconds.
    """
    flags = {"fflags": "+bitexact"}  # no chance in it: the same packets give the same file
    if FORMATS[suffix] in ("mp4", "mov"):
        piped = not isinstance(file, Path) and not file.seekable()
        pieces = "+frag_keyframe+empty_moov+default_base_moof" if piped else ""
        flags["movflags"] = f"use_metadata_tags{pieces}"
        if ticks is not None:
            flags["movie_timescale"] = str(ticks)
    if suffix == ".y4m":
        flags["strict"] = "-1"  # more than 8 bits
    return av.open(
        os.path.abspath(file) if isinstance(file, Path) else file,  # no name is a protocol
        "w",
        format=FORMATS[suffix],
        container_options=flags,
        metadata_errors="surrogateescape",
    )


def chosen(
    suffix: str, picture: VideoStream, others: Sequence[Stream], slow: Fraction | None
) -> tuple[list[Stream], list[str], dict[int, str]]:
    """Which of the `others` go along, what does not, and in which codec words are told anew.

    What lasts `slow` times as long is sound, which is encoded anew, and subtitles; None: only what
    has no time goes, attachments and covers. Raises Unsupported, with the containers that would do,
    if `suffix` can't hold the `picture` or one of them.
    """
    if not _fits(suffix, picture, None):
        able = [x for x in (".mkv", ".mov", ".mp4", ".webm") if _fits(x, picture, None)]
        raise Unsupported(
            f"{suffix} can't hold {picture.codec_context.codec.canonical_name} of "
            f"{picture.codec_context.pix_fmt}: name the output {' or '.join(able)}"
        )
    timed = (
        ("audio", "subtitle", "video", "data", "unknown") if slow == 1 else ("audio", "subtitle")
    )
    kept = [
        s for s in others if s.type == "attachment" or is_cover(s) or (slow and s.type in timed)
    ]
    dropped = [f"{words(s)} is left out: its times no longer fit" for s in others if s not in kept]
    anew = "audio" if slow not in (1, None) else ""
    bad = [s for s in kept if s.type != anew and not _fits(suffix, picture, s)]
    retold = {s.index: TEXT[suffix] for s in bad if _codec(s) in TEXT.values()
              and suffix in TEXT and _fits(suffix, picture, s, TEXT[suffix])}  # fmt: skip
    dropped += [f"{words(s)} becomes {retold[s.index]}: its styles are left out"
                for s in bad if s.index in retold]  # fmt: skip
    bad = [s for s in bad if s.index not in retold]
    # A cover and metadata of any name exclude each other in an mp4.
    loose = [s for s in bad if s.type in ("data", "unknown", "attachment") or is_cover(s)]
    if suffix == ".y4m":
        loose = bad
    dropped += [f"{words(s)} is left out: {suffix} can't hold it" for s in loose]
    if firm := [s for s in bad if s not in loose]:
        able = [
            x for x in (".mkv", ".mov", ".mp4", ".webm") if all(_fits(x, picture, s) for s in kept)
        ]
        raise Unsupported(
            f"{suffix} can't hold {' and '.join(words(s) for s in firm)}: "
            + (
                f"name the output {' or '.join(able)}"
                if able
                else "take them out of the film first"
            )
        )
    return [s for s in kept if s not in loose], dropped, retold


def twin(
    container: OutputContainer, suffix: str, stream: Stream, codec: str | None = None
) -> Stream:
    """A stream in `container` for the packets of `stream` as they are, or retold in `codec`."""
    if codec:
        told: Stream = container.add_mux_stream(codec)
        told.time_base = Fraction(1, 1000)
        named(told, stream, suffix)
        return told
    if isinstance(stream, AttachmentStream):
        name = stream.name or f"attachment-{stream.index}"
        kind = stream.mimetype or "application/octet-stream"
        made: Stream = container.add_attachment(name, kind, stream.data)
    elif is_cover(stream) and suffix == ".mkv":  # Matroska has covers among its attachments
        kind = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
        name = stream.metadata.get("filename", f"cover.{kind.replace('jpeg', 'jpg')}")
        made = container.add_attachment(name, f"image/{kind}", _cover_bytes(stream))
    else:
        made = container.add_stream_from_template(stream, opaque=True)
    named(made, stream, suffix)
    return made


def named(made: Stream, stream: Stream, suffix: str, anew: bool = False) -> None:
    """Gives a track the other's metadata and dispositions; `anew`: its packets are others."""
    told = lasting(stream.metadata, _COUNTED if anew else ())
    if suffix == ".mov" and told.get("language") in QUICKTIME:
        told["language"] = QUICKTIME[told["language"]]
    made.metadata.update(told)
    made.disposition = stream.disposition


def alive(stream: Stream) -> bool:
    """False for the text track of an mp4's chapters: the chapters themselves are carried."""
    return not (stream.type == "data" and stream.discard == Discard.all)


def lasting(metadata: Mapping[str, str], stale: tuple[str, ...] = ()) -> dict[str, str]:
    """Metadata without what tells of the old container, and without `stale` beginnings."""
    return {k: v for k, v in metadata.items() if not k.lower().startswith(_STALE + stale)}


def words(stream: Stream) -> str:
    """What a person calls the track."""
    context = stream.codec_context
    codec = context.codec.canonical_name if context else stream.name or "unknown"
    kind = "cover" if is_cover(stream) else stream.type
    tongue = f", {stream.language}" if stream.language not in (None, "und") else ""
    return f"track {stream.index} ({codec} {kind}{tongue})"


def is_cover(stream: Stream) -> bool:
    """Whether it is a still that stands for the film."""
    return bool(stream.disposition & Disposition.attached_pic)


def _cover_bytes(stream: Stream) -> bytes:
    container = stream.container
    assert isinstance(container, InputContainer)
    return bytes(next(packet for packet in container.demux(stream) if packet.size))


def retell(data: bytes, given: str, wanted: str) -> bytes:
    """The words of a subtitle packet in another codec, without styles; empty if it has none."""
    text = data
    if given == "mov_text":  # ETSI TS 126 245, 5.17: their length before them, styles behind
        text = data[2 : 2 + int.from_bytes(data[:2], "big")]
    text = _STYLES.sub(b"", text)
    if text and wanted == "mov_text":
        text = text[:65535]
        return len(text).to_bytes(2, "big") + text
    return text


def _codec(stream: Stream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else ""


def _fits(
    suffix: str, picture: VideoStream, other: Stream | None, codec: str | None = None
) -> bool:
    """Whether this container takes the picture and this track: it writes a header to nowhere."""
    if other is not None and is_cover(other):
        return suffix == ".mkv"
    try:
        with blank(io.BytesIO(), suffix) as trial:
            trial.add_stream_from_template(picture)
            if other is not None:
                twin(trial, suffix, other, codec)
            trial.start_encoding()
    except (ValueError, av.FFmpegError):
        return False
    return True
