"""Check a result against its source: times, audio sync, streams, chapters, metadata, colour."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.core.join import replaces_audio
from filmgate.errors import BadSetting
from filmgate.media.audio.sync import find_first_packet, find_packet
from filmgate.media.images.image_reader import ImageReader
from filmgate.media.options import StreamOptions
from filmgate.media.pixels.color_tags import resize_color_tags
from filmgate.media.pixels.format_names import has_alpha, is_hdr
from filmgate.media.probe import MediaInfo, StreamInfo, probe
from filmgate.media.reading.side_data import find_kind
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile, VideoPipe
from filmgate.media.streams.subtitles import TEXT_SUBTITLES
from filmgate.media.writing.pixel_aspect import TOLERANCE
from filmgate.pipeline.build import compute_time_scale
from filmgate.quality.track_tags import (
    clear_default,
    describe_tags,
    find_title,
    fold_key,
    fold_text,
    has_no_times,
    is_encoded,
)
from filmgate.tasks.job_config import sink_from, source_from
from filmgate.tasks.job_form import task_to
from filmgate.tasks.provenance import TAG, Provenance, read_tag

# Metadata that describes the file and not the video.
_FILE_KEYS = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", TAG)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: its name, the verdict, and what was found and wanted as text."""

    name: str
    ok: bool
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All findings of `check`. `tasks` come from the result's job tag, None without a tag."""

    out: Path
    against: Path
    tasks: tuple[dict[str, object], ...] | None
    findings: tuple[Finding, ...]
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(finding.ok for finding in self.findings)


@dataclass(frozen=True, slots=True)
class ResultPair:
    """A result and its source, with the processed stream of each.

    `source` and `source_track` are None if the source was images. `wanted` is the spec that the
    result's stream should have, except for size and rate.
    """

    source: MediaInfo | None
    out: MediaInfo
    source_track: StreamInfo | None
    result_track: StreamInfo
    source_reader: VideoReader | ImageReader
    result_reader: VideoReader
    wanted: StreamSpec

    @classmethod
    def of(
        cls, out: Path, against: Path, job: Provenance | None, parts: tuple[Path, ...] = ()
    ) -> "ResultPair":
        """Open both videos. The result's stream is at the same place among the tracks."""
        joined = {"join": parts} if parts else {}
        source = source_from({**(job.input if job else {}), "path": against, **joined})
        if isinstance(source, VideoPipe):
            raise BadSetting(
                "the source was a pipe, which cannot be read again: pass the file it came from"
            )
        reader, result = source.open(), probe(out)
        source_info = None
        sink = sink_from({**(job.output if job else {}), "path": out})
        if isinstance(reader, VideoReader):
            options = sink.stream_options if isinstance(sink, VideoOutput) else StreamOptions()
            source_info = _remove_dropped(
                probe(against, parts=parts), reader.metadata.stream, options
            )
        source_track = result_track = None
        if source_info:
            index = reader.metadata.stream
            source_track = next(t for t in source_info.streams if t.index == index)
            place = [t.index for t in source_info.tracks].index(index)
            tracks = result.tracks
            if len(tracks) == len(source_info.tracks):
                result_track = tracks[place]
        if result_track is None or result_track.kind != "video":
            best = VideoFile(out).open().stream
            result_track = next(t for t in result.streams if t.index == best)
        spec = reader.spec
        for part in (source, sink):
            for stage in part.stages(spec):
                spec = stage.output(spec)
        result_reader = VideoFile(out, result_track.index).open()
        return cls(source_info, result, source_track, result_track, reader, result_reader, spec)

    @property
    def tick(self) -> Fraction:
        """The time base of the result's stream, in seconds."""
        return self.result_track.time_base or Fraction(1, 1000)


def check(out: Path, against: Path, parts: tuple[Path, ...] = ()) -> CheckReport:
    """Check the result `out` against its source, a file and its `parts`. Raises BadInput.

    Always checked: duration, sync of each audio track, streams, chapters, metadata. With a job tag
    in `out` also the number of frames and each time, within half a tick of the container.
    """
    job, note = _read_provenance(probe(out, header=True))
    tasks, spoken = (job.tasks, replaces_audio(job.tasks)) if job else (None, False)
    pair = ResultPair.of(out, against, job, parts)
    kinds = (set[str](), set[str]())  # of side data, in the source and in the result
    findings = list(_check_times(pair, tasks, *kinds))
    if pair.source and pair.source_track:
        scale = compute_time_scale(tasks or ())
        if scale is not None:
            findings += [
                *_check_sync(pair, pair.source, scale),
                _check_chapters(pair, pair.source, scale),
            ]
        findings += [
            *_check_streams(pair, pair.source, pair.source_track, scale, spoken),
            _check_metadata(pair, pair.source),
        ]
    findings += [_check_image(pair), *_check_side_data(pair, *kinds)]
    done = None if tasks is None else tuple(task_to(task) for task in tasks)
    return CheckReport(out, against, done, tuple(findings), note)


def _read_provenance(out: MediaInfo) -> tuple[Provenance | None, str]:
    """Return the job of the result's tag, or None and the reason."""
    tag = next((text for key, text in out.metadata.items() if key.lower() == TAG), None)
    if tag is None:
        return None, "the result has no Filmgate tag, so frame times are not checked"
    try:
        return read_tag(tag, out.path), ""
    except BadSetting as error:
        return None, f"frame times are not checked: {error}"


def _check_times(
    pair: ResultPair, tasks: tuple[Task, ...] | None, before: set[str], after: set[str]
) -> Iterator[Finding]:
    """Compare the times of all frames, on the containers' timelines, less one constant shift.

    The kinds of side data in frames are added to `before` (source) and `after` (result).
    """
    # A container that cannot start before 0 shifts all streams; the sync check covers the audio.
    shift = Fraction(0)
    if not pair.source_reader.metadata.trimmed:
        shift = pair.result_reader.offset - pair.source_reader.metadata.offset
    reader = pair.source_reader
    source_times = (
        reader.iter_times(before) if isinstance(reader, VideoReader) else reader.iter_times()
    )
    wanted: Iterable[Frame] = (
        Frame(index, time, duration, None) for index, (time, duration) in enumerate(source_times)
    )
    for task in tasks or ():
        wanted = task.timeline(wanted)
    n = m = 0
    early = late = (Fraction(0), Fraction(0))  # by how much, and when
    ends = [Fraction(0), Fraction(0)]
    for want, have in zip_longest(wanted, pair.result_reader.iter_times(after)):
        if want is not None:
            n, ends[0] = n + 1, want.end
        if have is not None:
            m, ends[1] = m + 1, sum(have, Fraction(0))
        if want is not None and have is not None:
            early = min(early, (have[0] - want.time, want.time))
            late = max(late, (have[0] - want.time, want.time))
    if tasks is not None:
        yield Finding("frames", n == m, f"{m}", f"{n}")
        worst = (late[0] - early[0]) / 2
        found = f"largest error {_format_ms(worst)}"
        if worst:
            found += f", {_format_ms(late[0])} at {_format_s(late[1])}"
            found += f" and {_format_ms(early[0])} at {_format_s(early[1])}"
        if shift:
            found += f"; all frames are {_format_ms(shift)} later"
        yield Finding("times", worst <= pair.tick / 2, found,
                      f"within {_format_ms(pair.tick / 2)}, half a tick")  # fmt: skip
    yield Finding("duration", abs(ends[1] - ends[0]) <= pair.tick, _format_s(ends[1]),
                  f"{_format_s(ends[0])}, within {_format_ms(pair.tick)}, a tick")  # fmt: skip


def _check_sync(pair: ResultPair, source: MediaInfo, scale: Fraction) -> Iterator[Finding]:
    """Compare the time from the first frame to the first packet of each audio track.

    The limit is half a tick of each track and a sample. Stretched and other encoded audio has
    another priming: the limit is a tenth of a second, times the time scale.
    """
    pairs = zip(_list_audio(source), _list_audio(pair.out), strict=False)
    for k, (old, new) in enumerate(pairs, 1):
        name, offset = f"sync of audio {k}", pair.source_reader.metadata.offset
        heard = find_first_packet(pair.out.path, new.index)
        if heard is None:
            silent = (
                find_first_packet(source.path, old.index) is None
                or pair.source_reader.metadata.trimmed
            )
            yield Finding(name, silent, "silence", "silence" if silent else "audio")
            continue
        after = heard.time - pair.result_reader.offset
        if scale != 1 or old.codec != new.codec:
            first, limit = find_first_packet(source.path, old.index), max(scale, Fraction(1)) / 10
            before = (first.time - offset if first else after / scale) * scale
            if pair.source_reader.metadata.trimmed or -limit < before < 0:  # priming of the codec
                before = max(before, Fraction(0))
            yield Finding(name, abs(after - before) <= limit,
                          f"{_format_ms(after)} after the first frame",
                          f"{_format_ms(before)}, within {_format_ms(limit)}")  # fmt: skip
            continue
        found = find_packet(source.path, old.index, heard.data, after + offset)
        if found is None:
            yield Finding(name, False, "its first packet is not in the source", "the same audio")
            continue
        before = found - offset
        limit = pair.tick / 2 + Fraction(1, new.sample_rate or 8000)
        limit += (new.time_base or Fraction(0)) / 2
        yield Finding(name, abs(after - before) <= limit,
                      f"{_format_ms(after)} after the first frame",
                      f"{_format_ms(before)}, within {_format_ms(limit)}")  # fmt: skip


def _check_streams(
    pair: ResultPair, source: MediaInfo, track: StreamInfo, scale: Fraction | None, spoken: bool
) -> Iterator[Finding]:
    """Compare kinds, codecs, languages, titles and dispositions of all tracks but data.

    With a time scale, audio has another codec. With None, only the video and tracks without times
    are expected. `spoken`: a task put in the audio.
    """
    kinds = ("video", "audio", "subtitle") if scale == 1 else ("audio", "subtitle") if scale else ()
    old = [t for t in source.tracks if t == track or has_no_times(t) or t.kind in kinds]
    new = [t for t in pair.out.tracks if t.kind != "audio" or not spoken]
    # audio in another codec was encoded again, stretched or because the container could not hold it
    encoded = [t for both in zip(new, old, strict=False) if is_encoded(*both) for t in both]
    found, wanted = (
        ", ".join(
            t.kind
            if t in (track, pair.result_track) or t in encoded or t.codec in TEXT_SUBTITLES
            else f"{t.kind} {t.codec}"
            for t in tracks
        )
        for tracks in (new, old)
    )
    yield Finding("streams", found == wanted, found, wanted)
    if "mov" in pair.out.container:  # the muxer sets a default track for each kind without one
        on = {t.kind for t in old if "default" in t.dispositions}
        new = [t if t.kind in on else clear_default(t) for t in new]
    tags = [(b.index, describe_tags(a, find_title(b)), describe_tags(b, find_title(b)))
            for a, b in zip(new, old, strict=False)]  # fmt: skip
    different = [
        (f"{n}: {found}", f"{n}: {wanted}") for n, found, wanted in tags if found != wanted
    ]
    yield Finding("track tags", not different,
                  "; ".join(found for found, _ in different) or "the same",
                  "; ".join(wanted for _, wanted in different)
                  or "same languages, titles, dispositions")  # fmt: skip


def _check_chapters(pair: ResultPair, source: MediaInfo, scale: Fraction) -> Finding:
    limit, origin = max(pair.tick, Fraction(1, 1000)), pair.source_reader.metadata
    old = [(c.start, c.metadata.get("title")) for c in source.chapters]
    new = [(c.start, c.metadata.get("title")) for c in pair.out.chapters]
    if origin.offset != origin.output_offset or scale != 1:
        left = [c for c in source.chapters if not origin.trimmed or (c.end > origin.offset
                and (origin.until is None or c.start < origin.until))]  # fmt: skip
        old = [((c.start - origin.offset) * scale, c.metadata.get("title")) for c in left]
        if origin.trimmed:
            old = [(max(start, Fraction(0)), title) for start, title in old]
        new = [(start - pair.result_reader.offset, title) for start, title in new]
    old, new = (sorted(found, key=lambda chapter: chapter[0]) for found in (old, new))
    same = len(old) == len(new) and all(
        abs(a[0] - b[0]) <= limit and a[1] == b[1] for a, b in zip(old, new, strict=True)
    )
    return Finding("chapters", same, f"{len(new)}", f"{len(old)}, within {_format_ms(limit)}")


def _check_metadata(pair: ResultPair, source: MediaInfo) -> Finding:
    codes = {t for s in pair.out.streams for k, t in s.metadata.items() if k.lower() == "timecode"}
    new, old = (
        {fold_key(key): fold_text(key, text) for key, text in contents.metadata.items()}
        for contents in (pair.out, source)
    )
    old = {key: text for key, text in old.items() if key not in _FILE_KEYS}
    lost = [k for k, t in old.items() if new.get(k) != t and not (k == "timecode" and t in codes)]
    return Finding("metadata", not lost, f"lost: {', '.join(lost)}" if lost else "nothing lost",
                   f"{len(old)} entries")  # fmt: skip


def _check_image(pair: ResultPair) -> Finding:
    """Compare rotation, pixel aspect and colour tags of the processed stream."""
    actual = pair.result_reader.spec
    expected = replace(
        pair.wanted, colour=resize_color_tags(pair.wanted, actual.width, actual.height)
    )
    new, old = (
        (video.rotation or 0 if video else 0, aspect or Fraction(1), _describe_colour(spec))
        for video, aspect, spec in (
            (pair.result_track.video, pair.result_reader.metadata.aspect, actual),
            (
                pair.source_track and pair.source_track.video,
                pair.source_reader.metadata.aspect,
                expected,
            ),
        )
    )
    same = new[::2] == old[::2] and abs(new[1] - old[1]) <= TOLERANCE * old[1]
    found, wanted = (
        f"rotation {rotation}, pixel aspect {aspect}, colour {colour}"
        for rotation, aspect, colour in (new, old)
    )
    return Finding("image", same, found, wanted)


def _check_side_data(pair: ResultPair, before: set[str], after: set[str]) -> Iterator[Finding]:
    """Compare alpha and the kinds of side data, such as captions, and what headers say."""
    found, wanted = (
        "alpha" if has_alpha(spec.pixels) else "opaque"
        for spec in (pair.result_reader.spec, pair.wanted)
    )
    yield Finding("alpha", found == wanted, found, wanted)
    lost = before - after - {"DISPLAYMATRIX"}  # the rotation is compared with the image
    if not is_hdr(pair.wanted.colour):
        lost -= {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"}
    texts = [find_kind(name).text for name in sorted(lost)]
    if isinstance(pair.source_reader, VideoReader):
        texts += pair.source_reader.lost.header
    found = f"lost: {'; '.join(dict.fromkeys(texts))}" if texts else "nothing lost"
    yield Finding("side data", not texts, found, "nothing lost")


def _describe_colour(spec: StreamSpec) -> str:
    colour, rgb = spec.colour, spec.pixels.startswith("gbr")
    # encoders omit the usual values
    matrix = "gbr" if rgb and colour.matrix == "unknown" else colour.matrix
    range = ("pc" if rgb else "tv") if colour.range == "unknown" else colour.range
    return "/".join((matrix, colour.primaries, colour.transfer, range))


def _remove_dropped(contents: MediaInfo, video: int, options: StreamOptions) -> MediaInfo:
    """Return the contents without streams that are dropped, and audio without a decoder.

    `video` is the index of the processed stream, which stays.
    """
    places: Counter[str] = Counter()
    kept = []
    for track in contents.streams:
        dropped = options.drops(track.kind, places[track.kind], track.index)
        lost = track.kind == "audio" and track.codec == "unknown"
        places[track.kind] += 1
        if track.index == video or not (dropped or lost):
            kept.append(track)
    return replace(contents, streams=tuple(kept))


def _list_audio(contents: MediaInfo) -> list[StreamInfo]:
    return [track for track in contents.streams if track.kind == "audio"]


def _format_ms(seconds: Fraction) -> str:
    return f"{float(seconds * 1000):.3f} ms"


def _format_s(seconds: Fraction) -> str:
    return f"{float(seconds):.3f} s"
