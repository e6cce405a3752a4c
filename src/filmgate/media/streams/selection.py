"""Choose which of the source's other streams an output gets, and how: before the first frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fractions import Fraction

from av.audio.stream import AudioStream
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, Unsupported
from filmgate.media.audio.codecs import list_encoders
from filmgate.media.options import StreamOptions
from filmgate.media.streams.description import (
    describe_stream,
    has_decoder,
    is_content,
    is_cover,
    is_timecode,
    name_codec,
)
from filmgate.media.streams.samples import Sample, fits_encoded, read_samples
from filmgate.media.streams.subtitles import TEXT_CODECS, TEXT_SUBTITLES
from filmgate.media.streams.trial import fits_header, fits_packets

_MEDIA = ("audio", "video", "subtitle")  # kinds of streams that have a decoder
_ALTERNATIVES = (".mkv", ".mov", ".mp4", ".webm")  # named in errors


@dataclass(slots=True)
class StreamSelection:
    """The streams to keep: by index the codec to convert to, None for those that are copied.

    `messages` are about streams that are left out or changed. `keeps_timecode`: the time code is
    kept, as a tag of the video.
    """

    kept: dict[int, str | None] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    keeps_timecode: bool = True


def choose_streams(
    suffix: str,
    video: VideoStream,
    streams: Sequence[Stream],
    source: SourceMetadata,
    time_scale: Fraction | None,
    options: StreamOptions,
    failed: AbstractSet[int] = frozenset(),
) -> StreamSelection:
    """Return which of the source's `streams` to keep with its video, after a trial of each.

    Audio that the container cannot hold is re-encoded; without a decoder it is left out, as are
    streams in `failed`. With a `time_scale` other than 1 only audio and subtitles are kept; None
    keeps only what has no time. Raises BadSetting for a video to drop that is processed, and
    Unsupported, with what would do, for a video or stream that must be kept and cannot.
    """
    _check_video(suffix, video)
    names = _name_places(streams)
    wanted = _list_wanted(streams, source, options, names)
    chosen = StreamSelection(messages=_list_unknown(options, streams, names))
    codes = [s for s in streams if is_timecode(s)]
    chosen.keeps_timecode = suffix != ".y4m" and (not codes or any(s in wanted for s in codes))
    if chosen.keeps_timecode:
        wanted = [s for s in wanted if s not in codes]
    lost = [s for s in wanted if s.index in failed]
    timed = [s for s in wanted if s not in lost and _fits_timeline(s, time_scale)]
    chosen.messages += [f"{describe_stream(s)} is left out: {suffix} can't hold it" for s in lost]
    chosen.messages += [
        f"{describe_stream(s)} is left out: its times no longer fit"
        for s in wanted
        if s not in lost and s not in timed
    ]
    trial = _Trial(suffix, video, source, time_scale, options, timed)
    for stream in timed:
        trial.choose(stream, chosen)
    if trial.required:
        raise Unsupported(_describe_refusal(trial, names))
    if suffix == ".mov":
        chosen.messages += [
            f"{describe_stream(s)} is no longer marked as {roles}: a mov cannot store that"
            for s in timed
            if s.index in chosen.kept and (roles := _describe_roles(s))
        ]
    return chosen


class _Trial:
    """Tries the streams on a container; `required` are those that it cannot hold but must."""

    def __init__(
        self,
        suffix: str,
        video: VideoStream,
        source: SourceMetadata,
        time_scale: Fraction | None,
        options: StreamOptions,
        streams: Sequence[Stream],
    ) -> None:
        self.suffix, self.video, self.source = suffix, video, source
        self.streams, self.required = streams, list[Stream]()
        self._scaled, self._audio = time_scale not in (1, None), options.audio
        self._samples = read_samples(source, streams) if streams and suffix != ".y4m" else {}
        audio = {s.index for s in streams if s.type == "audio"}
        self._empty = {n for n, s in self._samples.items() if n in audio and not s.packets}

    def choose(self, stream: Stream, chosen: StreamSelection) -> None:
        """Keep the stream, converted if it must be, or leave it out with a message."""
        name = describe_stream(stream)
        if isinstance(stream, AudioStream) and (self._scaled or self._audio == "encode"):
            self._encode(stream, chosen, lossless=False)
        elif self._takes(self.suffix, stream):
            chosen.kept[stream.index] = None
        elif has_decoder(stream) and (codec := self._find_text_codec(stream)):
            chosen.kept[stream.index] = codec
            chosen.messages.append(f"{name} becomes {codec}: its styles are left out")
        elif self.suffix == ".y4m" or _is_optional(stream):
            chosen.messages.append(self._describe_loss(stream))
        elif isinstance(stream, AudioStream) and self._audio != "copy":
            self._encode(stream, chosen, lossless=True)
        else:
            self.required.append(stream)

    def fits(self, suffix: str) -> bool:
        """Whether another container would hold all streams as they are."""
        samples, self._samples = self._samples, read_samples(self.source, self.streams)
        able = all(self._takes(suffix, stream) for stream in self.required)
        self._samples = samples
        return able

    def _encode(self, stream: AudioStream, chosen: StreamSelection, *, lossless: bool) -> None:
        name = describe_stream(stream)
        for codec in list_encoders(stream, lossless=lossless) if self.suffix != ".y4m" else ():
            if fits_header(self.suffix, self.video, stream, codec) and fits_encoded(
                self.suffix, self.source, stream, codec
            ):
                chosen.kept[stream.index] = codec
                if not self._scaled:
                    why = "" if self._audio else f": {self.suffix} can't hold it as it is"
                    chosen.messages.append(
                        f"{name} is re-encoded as {codec.removeprefix('lib')}{why}"
                    )
                return
        chosen.messages.append(self._describe_loss(stream))

    def _describe_loss(self, stream: Stream) -> str:
        why = f"{self.suffix} can't hold it"
        if stream.index in self._empty:
            why = "it has no packets where the video starts"
        elif not has_decoder(stream) and stream.type in _MEDIA and self.suffix != ".y4m":
            why += " as it is, and FFmpeg has no decoder for it"
        elif stream.type == "subtitle" and fits_header(".mkv", self.video, stream):
            why += "; name the output .mkv to keep it"
        return f"{describe_stream(stream)} is left out: {why}"

    def _takes(self, suffix: str, stream: Stream) -> bool:
        """Whether the container takes the stream's header, first packets and trailer unchanged."""
        if is_cover(stream):
            return suffix == ".mkv" and has_decoder(stream)
        if not fits_header(suffix, self.video, stream):
            return False
        sample = self._samples.pop(stream.index, Sample())
        return stream.type == "attachment" or fits_packets(
            suffix, stream, sample.packets, seconds=sample.seconds
        )

    def _find_text_codec(self, stream: Stream) -> str | None:
        """Return the text codec of this container if `stream` has text in another one."""
        codec = TEXT_CODECS.get(self.suffix)
        if codec is None or name_codec(stream) not in TEXT_SUBTITLES:
            return None
        if not fits_header(self.suffix, self.video, stream, codec):
            return None
        packets = read_samples(self.source, [stream])[stream.index].packets
        return codec if fits_packets(self.suffix, stream, packets, codec) else None


def _describe_roles(stream: Stream) -> str:
    """Return what the stream is marked as, but as a default one: "comment and forced"."""
    roles = (role.name or "" for role in Disposition if role & stream.disposition)
    return " and ".join(role for role in roles if role not in ("", "default", "attached_pic"))


def _check_video(suffix: str, video: VideoStream) -> None:
    """Raise Unsupported, with the containers that would do, if `suffix` can't hold the video."""
    if fits_header(suffix, video):
        return
    able = [x for x in _ALTERNATIVES if fits_header(x, video)]
    raise Unsupported(
        f"{suffix} can't hold {video.codec_context.codec.canonical_name} of "
        f"{video.codec_context.pix_fmt}: name the output {' or '.join(able)}"
    )


def _list_wanted(
    streams: Sequence[Stream],
    source: SourceMetadata,
    options: StreamOptions,
    names: Mapping[int, str],
) -> list[Stream]:
    """Return the other streams that the user does not drop. Raises BadSetting."""
    wanted = []
    for stream in streams:
        place = int(names[stream.index].partition(":")[2])
        if stream.index == source.stream:
            if not {names[stream.index], str(stream.index)}.isdisjoint(options.drop):
                raise BadSetting(
                    f"drop names stream {stream.index}, which is the video that is processed: "
                    "omit it, or choose another video with --stream"
                )
        elif is_content(stream) and not options.drops(stream.type, place, stream.index):
            wanted.append(stream)
    return wanted


def _list_unknown(
    options: StreamOptions, streams: Sequence[Stream], names: Mapping[int, str]
) -> list[str]:
    """Return messages about streams to drop that the source does not have."""
    known = {*names.values(), *(str(index) for index in names), *(s.type for s in streams)}
    return [
        f"drop {name}: the input has no such stream" for name in options.drop if name not in known
    ]


def _name_places(streams: Sequence[Stream]) -> dict[int, str]:
    """Return by index what --drop calls each stream, such as "audio:1"."""
    counts: Counter[str] = Counter()
    names = {}
    for stream in streams:
        names[stream.index] = f"{stream.type}:{counts[stream.type]}"
        counts[stream.type] += 1
    return names


def _describe_refusal(trial: _Trial, names: Mapping[int, str]) -> str:
    """Return the error about streams that must be kept and cannot: what would do instead."""
    streams = " and ".join(describe_stream(s) for s in trial.required)
    able = [x for x in _ALTERNATIVES if x != trial.suffix and fits_header(x, trial.video)
            and trial.fits(x)]  # fmt: skip
    advice = [f"name the output {' or '.join(able)}"] if able else []
    if any(stream.type == "audio" for stream in trial.required):
        advice.append("pass --audio encode")
    advice.append("pass " + " ".join(f"--drop {names[s.index]}" for s in trial.required))
    return f"{trial.suffix} can't hold {streams}: {', or '.join(advice)}"


def _fits_timeline(stream: Stream, time_scale: Fraction | None) -> bool:
    """Whether the stream has no times, or times that can be scaled."""
    if stream.type == "attachment" or is_cover(stream) or time_scale == 1:
        return True
    return time_scale is not None and stream.type in ("audio", "subtitle")


def _is_optional(stream: Stream) -> bool:
    """Whether a stream may be left out of a container that can't hold it.

    A cover: in an mp4 it excludes metadata with keys of any name. A stream without a decoder: no
    other container would hold it either. Subtitles: the video can be seen without them.
    """
    needed = stream.type in ("audio", "video")
    return not has_decoder(stream) or not needed or is_cover(stream)
