"""Check: does a result stand in step with the film it was made from, with nothing lost?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Task
from filmgate.errors import BadSetting
from filmgate.media.audio.sync import first_heard, heard_again
from filmgate.media.images.image_reader import ImageReader
from filmgate.media.pixels.rgb import resized
from filmgate.media.probe import Contents, Track, probe
from filmgate.media.reading.video_reader import VideoReader
from filmgate.media.sources import VideoFile, VideoPipe
from filmgate.media.streams.selection import QUICKTIME, TEXT
from filmgate.pipeline.build import stretched
from filmgate.tasks.job_config import sink_from, source_from, task_to
from filmgate.tasks.provenance import TAG, Provenance, read_tag

# What tells of the file that was, and not of the film.
_OF_THE_FILE = ("major_brand", "minor_version", "compatible_brands", "encoder", "duration", TAG)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its name, the verdict, what was found and wanted, in words."""

    name: str
    ok: bool
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found. `tasks`: what the result's tag says was done, None without a tag."""

    out: Path
    against: Path
    tasks: tuple[dict[str, object], ...] | None
    findings: tuple[Finding, ...]
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return all(finding.ok for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Pair:
    """The two films, with the stream that was processed; `made` is among the tracks of `out`.

    `source` and `taken` are None where the film was images. `wanted` is what the result's stream
    should look like, but for its size and rate.
    """

    source: Contents | None
    out: Contents
    taken: Track | None
    made: Track
    film: VideoReader | ImageReader
    result: VideoReader
    wanted: StreamSpec

    @classmethod
    def of(cls, out: Path, against: Path, told: Provenance | None) -> "Pair":
        """Looks at both. The result's stream is the one that stands where the source's does."""
        origin = source_from({**(told.input if told else {}), "path": against})
        if isinstance(origin, VideoPipe):
            raise BadSetting("the film came through a pipe, which can't be read again: name a file")
        film, result = origin.open(), probe(out)
        source = probe(against) if isinstance(film, VideoReader) else None
        taken = made = None
        if source:
            taken = next(t for t in source.tracks if t.index == film.origin.video)
            place = [t.index for t in _solid(source)].index(taken.index)
            solid = _solid(result)
            made = solid[place] if len(solid) == len(_solid(source)) else None
        if made is None or made.kind != "video":
            best = VideoFile(out).open().video
            made = next(t for t in result.tracks if t.index == best)
        spec = film.spec
        sink = sink_from({**(told.output if told else {}), "path": out})
        for part in (origin, sink):
            for stage in part.stages(spec):
                spec = stage.output(spec)
        return cls(source, result, taken, made, film, VideoFile(out, made.index).open(), spec)

    @property
    def tick(self) -> Fraction:
        """The unit that the result counts its pictures' times in, in seconds."""
        return self.made.time_base or Fraction(1, 1000)


def check(out: Path, against: Path) -> Report:
    """Compares the result `out` with the film `against`. Raises BadInput if one can't be read.

    With the job's tag in `out`: the number of frames and every time within half a tick of the
    container. With or without: duration, sync of each sound, streams, chapters, tags.
    """
    told, note = _told(probe(out, header=True))
    tasks = told.tasks if told else None
    pair = Pair.of(out, against, told)
    findings = list(_times(pair, tasks))
    if pair.source and pair.taken:
        slow = stretched(tasks or ())
        if slow is not None:
            findings += [*_sync(pair, pair.source, slow), _chapters(pair, pair.source, slow)]
        findings += [*_streams(pair, pair.source, pair.taken, slow), _metadata(pair, pair.source)]
    findings.append(_picture(pair))
    done = None if tasks is None else tuple(task_to(task) for task in tasks)
    return Report(out, against, done, tuple(findings), note)


def _told(out: Contents) -> tuple[Provenance | None, str]:
    """What the tag tells, and why nothing if it tells nothing."""
    tag = next((text for key, text in out.metadata.items() if key.lower() == TAG), None)
    if tag is None:
        return None, "the result has no tag of Filmgate: its single times are not checked"
    try:
        return read_tag(tag), ""
    except BadSetting as error:
        return None, f"its single times are not checked: {error}"


def _times(pair: Pair, tasks: tuple[Task, ...] | None) -> Iterator[Finding]:
    """Both films walked in step, on the containers' own timelines, but for one constant shift."""
    # A container that can't begin before 0 moves everything later; sync tells if sound went along.
    shift = Fraction(0)
    if not pair.film.origin.trimmed:
        shift = pair.result.offset - pair.film.origin.offset
    wanted: Iterable[Frame] = (
        Frame(index, time, duration, None)
        for index, (time, duration) in enumerate(pair.film.times())
    )
    for task in tasks or ():
        wanted = task.timeline(wanted)
    n = m = 0
    early = late = (Fraction(0), Fraction(0))  # by how much, and when
    ends = [Fraction(0), Fraction(0)]
    for want, have in zip_longest(wanted, pair.result.times()):
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
        found = f"worst {_ms(worst)} off"
        if worst:
            found += f", {_ms(late[0])} at {_s(late[1])} and {_ms(early[0])} at {_s(early[1])}"
        if shift:
            found += f"; all is {_ms(shift)} later"
        yield Finding("times", worst <= pair.tick / 2, found,
                      f"within {_ms(pair.tick / 2)}, half a tick")  # fmt: skip
    yield Finding("duration", abs(ends[1] - ends[0]) <= pair.tick, _s(ends[1]),
                  f"{_s(ends[0])}, within {_ms(pair.tick)}, a tick")  # fmt: skip


def _sync(pair: Pair, source: Contents, slow: Fraction) -> Iterator[Finding]:
    """A sound's first packet less the first picture, for each: half a tick of each, a sample.

    Stretched sound has other packets and another run-in: within a tenth of a second, stretched.
    """
    pairs = zip(_sounds(source), _sounds(pair.out), strict=False)
    for k, (old, new) in enumerate(pairs, 1):
        name, offset = f"sync of sound {k}", pair.film.origin.offset
        heard = first_heard(pair.out.path, new.index)
        if heard is None:
            silent = first_heard(source.path, old.index) is None or pair.film.origin.trimmed
            yield Finding(name, silent, "silence", "silence" if silent else "sound")
            continue
        after = heard.time - pair.result.offset
        if slow != 1:
            first, limit = first_heard(source.path, old.index), max(slow, Fraction(1)) / 10
            before = (first.time - offset if first else after / slow) * slow
            if pair.film.origin.trimmed or -limit < before < 0:  # a codec's run-in
                before = max(before, Fraction(0))
            yield Finding(name, abs(after - before) <= limit,
                          f"sound {_ms(after)} after the picture",
                          f"{_ms(before)}, within {_ms(limit)}")  # fmt: skip
            continue
        found = heard_again(source.path, old.index, heard.data, after + offset)
        if found is None:
            yield Finding(name, False, "no packet of the source begins it", "the same sound")
            continue
        before = found - offset
        limit = pair.tick / 2 + Fraction(1, new.sample_rate or 8000)
        limit += (new.time_base or Fraction(0)) / 2
        yield Finding(name, abs(after - before) <= limit,
                      f"sound {_ms(after)} after the picture",
                      f"{_ms(before)}, within {_ms(limit)}")  # fmt: skip


def _streams(
    pair: Pair, source: Contents, taken: Track, slow: Fraction | None
) -> Iterator[Finding]:
    """Kinds, codecs, and marks of every track; data tracks may go, containers differ in them.

    Of a film that is `slow`: the picture, sound, which has another codec, and subtitles; None: the
    picture and what has no time.
    """
    kinds = ("video", "audio", "subtitle") if slow == 1 else ("audio", "subtitle") if slow else ()
    old = [t for t in _solid(source) if t == taken or _timeless(t) or t.kind in kinds]
    new = _solid(pair.out)
    anew = {"audio"} if slow not in (1, None) else set()
    found, wanted = (
        ", ".join(
            t.kind
            if t in (taken, pair.made) or t.kind in anew or t.codec in TEXT.values()
            else f"{t.kind} {t.codec}"
            for t in tracks
        )
        for tracks in (new, old)
    )
    yield Finding("streams", found == wanted, found, wanted)
    if "mov" in pair.out.container:  # it turns on the first of a kind of which none is on
        on = {t.kind for t in old if "default" in t.traits}
        new = [t if t.kind in on else _off(t) for t in new]
    both = zip(new, old, strict=False)
    odd = [(f"{b.index}: {_marks(a)}", f"{b.index}: {_marks(b)}")
           for a, b in both if _marks(a) != _marks(b)]  # fmt: skip
    yield Finding("marks", not odd,
                  "; ".join(found for found, _ in odd) or "all the same",
                  "; ".join(wanted for _, wanted in odd)
                  or "languages, titles, dispositions kept")  # fmt: skip


def _chapters(pair: Pair, source: Contents, slow: Fraction) -> Finding:
    limit, origin = max(pair.tick, Fraction(1, 1000)), pair.film.origin
    old = [(c.start, c.metadata.get("title")) for c in source.chapters]
    new = [(c.start, c.metadata.get("title")) for c in pair.out.chapters]
    if origin.trimmed or slow != 1:
        left = [c for c in source.chapters if not origin.trimmed or (c.end > origin.offset
                and (origin.until is None or c.start < origin.until))]  # fmt: skip
        old = [((c.start - origin.offset) * slow, c.metadata.get("title")) for c in left]
        if origin.trimmed:
            old = [(max(start, Fraction(0)), title) for start, title in old]
        new = [(start - pair.result.offset, title) for start, title in new]
    same = len(old) == len(new) and all(
        abs(a[0] - b[0]) <= limit and a[1] == b[1] for a, b in zip(old, new, strict=True)
    )
    return Finding("chapters", same, f"{len(new)}", f"{len(old)}, within {_ms(limit)}")


def _metadata(pair: Pair, source: Contents) -> Finding:
    new = {key.lower(): text for key, text in pair.out.metadata.items()}
    old = {
        key.lower(): text
        for key, text in source.metadata.items()
        if key.lower() not in _OF_THE_FILE
    }
    lost = [key for key, text in old.items() if new.get(key) != text]
    return Finding("metadata", not lost, f"lost: {', '.join(lost)}" if lost else "all of it",
                   f"{len(old)} entries")  # fmt: skip


def _picture(pair: Pair) -> Finding:
    """Rotation, pixel aspect and colour tags of the processed stream."""
    made = pair.result.spec
    due = replace(pair.wanted, colour=resized(pair.wanted, made.width, made.height))
    found, wanted = (
        f"rotation {picture.turn or 0 if picture else 0}, pixel aspect {aspect or 1}, "
        f"colour {_colour(spec)}"
        for picture, aspect, spec in (
            (pair.made.picture, pair.result.origin.aspect, made),
            (pair.taken and pair.taken.picture, pair.film.origin.aspect, due),
        )
    )
    return Finding("picture", found == wanted, found, wanted)


def _colour(spec: StreamSpec) -> str:
    colour, rgb = spec.colour, spec.pixels.startswith("gbr")
    # encoders leave out what is usual
    matrix = "gbr" if rgb and colour.matrix == "unknown" else colour.matrix
    range = ("pc" if rgb else "tv") if colour.range == "unknown" else colour.range
    return "/".join((matrix, colour.primaries, colour.transfer, range))


def _solid(contents: Contents) -> list[Track]:
    """Every track but data, which containers carry or leave out as they can."""
    return [track for track in contents.tracks if track.kind != "data"]


def _sounds(contents: Contents) -> list[Track]:
    return [track for track in contents.tracks if track.kind == "audio"]


def _timeless(track: Track) -> bool:
    return track.kind == "attachment" or "attached_pic" in track.traits


def _off(track: Track) -> Track:
    return replace(track, traits=tuple(trait for trait in track.traits if trait != "default"))


def _marks(track: Track) -> str:
    language = QUICKTIME.get(track.language or "und", track.language or "und")
    marks = (language, track.metadata.get("title", ""), *sorted(track.traits))
    return " ".join(mark for mark in marks if mark)


def _ms(seconds: Fraction) -> str:
    return f"{float(seconds * 1000):.3f} ms"


def _s(seconds: Fraction) -> str:
    return f"{float(seconds):.3f} s"
