"""Records as a page: a timeline of tracks, small images of each, and counts."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import Unsupported
from filmgate.media.pixels.planes import Planes
from filmgate.media.records.record_format import Record, RecordFormat, SegmentEncoder, iter_tracked
from filmgate.media.records.thumbnail import cut_thumbnail, encode_jpeg
from filmgate.media.records.track_page import MOST_SHOWN, Overview, Track, render_track_page

THUMBNAIL = (72, 96)  # pixels, at most
_MOST_OPEN = 128  # tracks that are held; with more, those who are not in the frame are written
_GAP = 0.5  # seconds without a record that do not end a bar of the timeline


@dataclass(slots=True)
class _Look:
    """Someone in one frame; `rank` orders looks by how well they show them."""

    frame: int
    rank: tuple[float, float]
    image: Planes

    def to_plain(self) -> dict[str, Any]:
        """Return plain values, the image as base64 of a JPEG file."""
        jpeg = b64encode(encode_jpeg(self.image)).decode()
        return {"frame": self.frame, "rank": self.rank, "jpeg": jpeg}


@dataclass(slots=True)
class _OpenTrack:
    """A track since the last time that it was written."""

    track: Track
    latest: int = 0  # the frame of the latest record
    looks: dict[str, _Look] = field(default_factory=dict)

    def add(self, record: Record, image: object) -> None:
        """Take the next record of the track."""
        seen, score, box = record["seen"], record["score"], record["box"]
        start, end = record["time"], record["time"] + record["duration"]
        self.latest = record["frame"]
        self.track.add(Track(record["id"], 1, seen, score if seen else 0.0, [(start, end)]), _GAP)
        cut = cut_thumbnail(image, box, THUMBNAIL) if seen and isinstance(image, Planes) else None
        if cut is not None:
            look = _Look(record["frame"], (round(score, 1), box[2] * box[3]), cut)
            self.looks.setdefault("first", look)
            if "best" not in self.looks or look.rank > self.looks["best"].rank:
                self.looks["best"] = look
            self.looks["last"] = look


class TrackReport(RecordFormat):
    """A page of HTML. Segments hold sums and the first, best and last image of each track.

    Images are as they are when they are written, with what is drawn on them. The longest
    `MOST_SHOWN` tracks are on the page; all are counted.
    """

    def __init__(self, spec: StreamSpec, title: str) -> None:
        self._spec, self._title = spec, title

    def start(self, file: BinaryIO) -> SegmentEncoder:
        """See `RecordFormat`."""
        return _ReportEncoder(file)

    def join(self, segments: Sequence[Path], output: BinaryIO) -> None:
        """See `RecordFormat`. Segments are read twice: images only of the tracks that are shown."""
        overview, tracks = Overview(self._spec.width, self._spec.height), dict[int, Track]()
        for line in _iter_lines(segments):
            if "frames" in line:
                overview.add(line)
            else:
                part = Track.from_plain(line)
                if part.id in tracks:
                    tracks[part.id].add(part, _GAP)
                else:
                    tracks[part.id] = part
        shown = sorted(tracks.values(), key=lambda track: (-track.count, track.id))[:MOST_SHOWN]
        looks = _merge_looks(_iter_lines(segments), {track.id for track in shown})
        page = render_track_page(self._title, overview, tracks.values(), shown, looks)
        output.write(page.encode())


class _ReportEncoder(SegmentEncoder):
    def __init__(self, file: BinaryIO) -> None:
        self._file, self._tracks = file, dict[int, _OpenTrack]()
        self._overview = Overview()

    def write(self, frames: Sequence[Frame]) -> None:
        """See `SegmentEncoder`."""
        for frame in frames:
            people = list(iter_tracked(frame))
            for record in people:
                one = self._tracks.setdefault(record["id"], _OpenTrack(Track(record["id"])))
                one.add(record, frame.image)
            self._overview.count_frame(float(frame.time), float(frame.end), len(people))
            if len(self._tracks) > _MOST_OPEN:
                self._flush(frame.index)

    def close(self) -> None:
        """See `SegmentEncoder`."""
        self._flush()
        self._write(self._overview.to_plain())

    def _flush(self, present: int | None = None) -> None:
        """Write the tracks, but those who are in the frame `present`."""
        for id, one in list(self._tracks.items()):
            if one.latest == present:
                continue
            looks = {}
            with suppress(Unsupported):  # of pixels that cannot become RGB the page has no images
                plain = {look.frame: look.to_plain() for look in one.looks.values()}
                looks = {name: plain[look.frame] for name, look in one.looks.items()}
            self._write({"id": id, **one.track.to_plain(), "looks": looks})
            del self._tracks[id]

    def _write(self, values: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(values).encode() + b"\n")


def _iter_lines(segments: Sequence[Path]) -> Iterator[dict[str, Any]]:
    for path in segments:
        with open(path, "rb") as file:
            yield from map(json.loads, file)


def _merge_looks(
    lines: Iterable[Mapping[str, Any]], ids: set[int]
) -> dict[int, dict[str, dict[str, Any]]]:
    """Return the first, best and last look of each of these tracks over all segments."""
    merged: dict[int, dict[str, dict[str, Any]]] = {id: {} for id in ids}
    for line in lines:
        if line.get("id") not in ids or not line["looks"]:
            continue
        looks, new = merged[line["id"]], line["looks"]
        looks.setdefault("first", new["first"])
        if "best" not in looks or new["best"]["rank"] > looks["best"]["rank"]:
            looks["best"] = new["best"]
        looks["last"] = new["last"]
    return merged
