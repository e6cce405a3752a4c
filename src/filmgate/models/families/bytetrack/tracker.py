"""Match boxes to tracks by overlap, those of high scores first, then those of low ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from filmgate.models.families.bytetrack.motion import Motion, correct, predict, start_motion, stop
from filmgate.models.people.association import (
    Assignments,
    FrameInfo,
    PersonDetection,
)
from filmgate.models.people.matching import match, measure_overlaps

# Least overlap (intersection over union) of a track's predicted box and a detection.
_FIRST, _SECOND, _TENTATIVE = 0.2, 0.5, 0.3


@dataclass(frozen=True, slots=True)
class Track:
    """Someone who is followed. `id` is negative until the track is confirmed.

    `seen`: the time of the last detection, in seconds. `hits`: how many there were.
    """

    id: int
    motion: Motion
    hits: int
    seen: Fraction


@dataclass(frozen=True, slots=True)
class ByteTrackState:
    """Those who are followed, the next number of each kind, and the time of the last frame."""

    tracks: tuple[Track, ...] = ()
    next_id: int = 1
    next_provisional: int = -1
    time: Fraction = Fraction(-1)


@dataclass(frozen=True)
class ByteTracker:
    """A tracker that knows boxes and scores only; see `ByteTrackOptions` for its settings.

    All tracks end at a shot boundary. Who comes back after `keep` seconds is someone new.
    """

    high: float
    low: float
    hits: int
    keep: float
    fill: int

    @property
    def delay(self) -> int:
        """See `PersonTracker`: until a track is confirmed, or a gap is filled."""
        return max(self.hits - 1, self.fill)

    def start(self) -> ByteTrackState:
        """See `PersonTracker`."""
        return ByteTrackState()

    def update(
        self, state: ByteTrackState, frame: FrameInfo, detections: Sequence[PersonDetection]
    ) -> tuple[ByteTrackState, Assignments]:
        """See `PersonTracker`."""
        tracks = [] if frame.cut else [_move(track, state.time, frame) for track in state.tracks]
        found = self._match(tracks, state.time, detections)
        kept, owners = list[Track](), dict[int, int]()  # the detection of each that was seen
        for k, track in enumerate(tracks):
            if k in found:
                owners[len(kept)] = found[k]
                motion = correct(track.motion, detections[found[k]].box)
                kept.append(Track(track.id, motion, track.hits + 1, frame.time))
            elif track.id > 0 and frame.time - track.seen <= self.keep:
                kept.append(track)
        next_id, next_provisional = state.next_id, state.next_provisional
        for n in _without(range(len(detections)), found.values()):
            if detections[n].score >= self.high:
                owners[len(kept)] = n
                motion = start_motion(detections[n].box, frame.time)
                kept.append(Track(next_provisional, motion, 1, frame.time))
                next_provisional -= 1
        confirmed = []
        for k, track in enumerate(kept):
            if track.id < 0 and track.hits >= self.hits:
                confirmed.append((track.id, next_id))
                kept[k] = replace(track, id=next_id)
                next_id += 1
        numbers = {n: kept[k].id for k, n in owners.items()}
        ids = [numbers.get(n, 0) for n in range(len(detections))]
        after = ByteTrackState(tuple(kept), next_id, next_provisional, frame.time)
        return after, Assignments(tuple(ids), tuple(confirmed))

    def _match(
        self, tracks: Sequence[Track], last: Fraction, detections: Sequence[PersonDetection]
    ) -> dict[int, int]:
        """Return the detection of each track that has one, by their places in the lists."""
        strong = [n for n, one in enumerate(detections) if one.score >= self.high]
        weak = [n for n, one in enumerate(detections) if self.low <= one.score < self.high]
        people = [k for k, track in enumerate(tracks) if track.id > 0]
        present = [k for k in people if tracks[k].seen == last]
        tentative = [k for k, track in enumerate(tracks) if track.id < 0]
        found: dict[int, int] = {}
        for rows, columns, least in (
            (people, strong, _FIRST),
            (present, weak, _SECOND),
            (tentative, strong, _TENTATIVE),
            (tentative, weak, _SECOND),
        ):
            left = [k for k in rows if k not in found]
            free = _without(columns, found.values())
            overlaps = measure_overlaps(
                [tracks[k].motion.box for k in left], [detections[n].box for n in free]
            )
            scores = [detections[n].score for n in free] if columns is strong else 1.0
            pairs = match(overlaps, least, scores)
            found |= {left[row]: free[column] for row, column in pairs}
        return found


def _move(track: Track, last: Fraction, frame: FrameInfo) -> Track:
    """Return the track at the time of the frame; who was not seen keeps the size."""
    motion = track.motion if track.seen == last else stop(track.motion)
    return replace(track, motion=predict(motion, frame.time))


def _without(values: Iterable[int], taken: Iterable[int]) -> list[int]:
    used = set(taken)
    return [value for value in values if value not in used]
