"""MOTA, IDF1 and HOTA: how well tracks agree with the truth.

Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance: The CLEAR MOT
Metrics", 2008; Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking", 2016; Luiten et al., "HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking",
2020. The libraries that compute them are no option here: motmetrics does not run on NumPy 2, and
trackeval installs another OpenCV over ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from filmgate.errors import BadInput
from filmgate.media.records.box_reader import BoxTable, read_boxes
from filmgate.models.people.matching import match, measure_overlaps

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OVERLAP = 0.5  # the least of a box that is found, for MOTA and IDF1
ALPHAS = np.arange(1, 20) / 20  # the overlaps that HOTA is averaged over
_TINY = 1e-10  # an overlap may be smaller than the threshold by this much


@dataclass(frozen=True, slots=True)
class TrackingScores:
    """The metrics of a video, 0 to 1 (`mota` may be negative), and the counts behind them.

    `truth`, `found`: boxes. `missed`, `false`: boxes that have no partner. `switches`: how often
    someone gets another number. `fragments`: how often someone is lost and found again.
    `mostly_tracked`, `mostly_lost`: people who are found in 80 % of their boxes or more, in less
    than 20 %. `detection`, `association`: the two parts of HOTA. None: there is no box to count.
    """

    frames: int
    truth: int
    found: int
    people: int
    tracks: int
    missed: int
    false: int
    switches: int
    fragments: int
    mostly_tracked: int
    mostly_lost: int
    mota: float | None
    motp: float | None
    idf1: float | None
    id_precision: float | None
    id_recall: float | None
    hota: float
    detection: float
    association: float
    localization: float


@dataclass(frozen=True, slots=True)
class _Frame:
    """The boxes of one frame by the rows of people and tracks, and their overlaps (N, M)."""

    truth: Ints
    found: Ints
    overlaps: Floats


def compare_tracks(truth: Path, found: Path) -> TrackingScores:
    """Compare the tracks of two files, JSON Lines or MOT text. Raises BadInput."""
    tables = []
    for path in (truth, found):
        table = read_boxes(path)
        if fault := find_faults(table):
            raise BadInput(f"{path} is not a file of tracks: {fault}. Each box needs a number of "
                           "its own in its frame")  # fmt: skip
        tables.append(table)
    return score_tracks(*tables)


def score_tracks(truth: BoxTable, found: BoxTable) -> TrackingScores:
    """Compare tracks with the truth. Ids are unique in a frame of either; see `find_faults`."""
    people, true_rows = np.unique(truth.ids, return_inverse=True)
    tracks, found_rows = np.unique(found.ids, return_inverse=True)
    counts, found_counts = np.bincount(true_rows), np.bincount(found_rows)
    frames = list(_iter_frames(truth, found, true_rows, found_rows))
    clear = _Clear(len(people))
    for frame in frames:
        clear.add(frame)
    same = _match_identities(frames, len(people), len(tracks))
    hota = _measure_hota(frames, counts, found_counts)
    total, all_found = int(counts.sum()), int(found_counts.sum())
    wrong = total - clear.matched + all_found - clear.matched + clear.switches
    share = clear.hits / np.maximum(counts, 1)
    return TrackingScores(
        frames=len(frames), truth=total, found=all_found, people=len(people), tracks=len(tracks),
        missed=total - clear.matched, false=all_found - clear.matched, switches=clear.switches,
        fragments=clear.fragments, mostly_tracked=int((share >= 0.8).sum()),
        mostly_lost=int((share < 0.2).sum()), mota=_divide(total - wrong, total),
        motp=_divide(clear.overlap, clear.matched), idf1=_divide(2 * same, total + all_found),
        id_precision=_divide(same, all_found), id_recall=_divide(same, total), hota=hota[0],
        detection=hota[1], association=hota[2], localization=hota[3],
    )  # fmt: skip


def find_faults(table: BoxTable) -> str:
    """Return what makes a table no table of tracks, "" if it is one."""
    if (table.ids <= 0).any():
        frame = int(table.frames[np.argmax(table.ids <= 0)])
        return f"a box of frame {frame} has no number"
    order = np.lexsort((table.ids, table.frames))
    frames, ids = table.frames[order], table.ids[order]
    twice = np.flatnonzero((frames[1:] == frames[:-1]) & (ids[1:] == ids[:-1]))
    if len(twice):
        return f"number {ids[twice[0]]} is in frame {frames[twice[0]]} twice"
    return ""


class _Clear:
    """The counts of CLEAR MOT. Someone keeps the partner of the frame before, while it overlaps."""

    def __init__(self, people: int) -> None:
        self.matched = self.switches = self.fragments = 0
        self.overlap = 0.0
        self.hits = np.zeros(people, np.int64)
        self._before = np.full(people, -1)  # the track of each in the frame before, -1: none
        self._latest = np.full(people, -1)  # in the latest frame in which there was one
        self._lost = np.zeros(people, bool)  # it was found once, and not in its frame before

    def add(self, frame: _Frame) -> None:
        """Take the next frame."""
        kept = self._before[frame.truth][:, None] == frame.found[None]
        scores = np.where(frame.overlaps >= OVERLAP - _TINY, frame.overlaps + 1000.0 * kept, 0)
        pairs = match(scores, _TINY)
        rows, columns = (np.array([pair[k] for pair in pairs], np.int64) for k in (0, 1))
        found, tracks = frame.truth[rows], frame.found[columns]
        latest = self._latest[found]
        self.switches += int(((latest >= 0) & (latest != tracks)).sum())
        self.fragments += int(self._lost[found].sum())
        self.matched += len(pairs)
        self.overlap += float(frame.overlaps[rows, columns].sum())
        self.hits[found] += 1
        self._before[:] = -1
        self._before[found] = self._latest[found] = tracks
        self._lost[frame.truth] = self._latest[frame.truth] >= 0
        self._lost[found] = False


def _iter_frames(
    truth: BoxTable, found: BoxTable, true_rows: Ints, found_rows: Ints
) -> Iterator[_Frame]:
    """Yield the frames in which either has a box."""
    for number in np.union1d(truth.frames, found.frames).tolist():
        mine, other = truth.find_rows(number), found.find_rows(number)
        a, b = (table.boxes[rows.start : rows.stop].astype(np.float64)
                for table, rows in ((truth, mine), (found, other)))  # fmt: skip
        overlaps = measure_overlaps([tuple(x) for x in a.tolist()], [tuple(x) for x in b.tolist()])
        yield _Frame(true_rows[mine.start : mine.stop], found_rows[other.start : other.stop],
                     overlaps)  # fmt: skip


def _match_identities(frames: list[_Frame], people: int, tracks: int) -> int:
    """Return the most boxes that a one-to-one match of people and tracks explains."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    keys = [_list_keys(frame, tracks)[frame.overlaps >= OVERLAP - _TINY] for frame in frames]
    pairs, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *keys]), return_counts=True)
    rows, columns = np.divmod(pairs, max(tracks, 1))
    # those who never meet are matched apart from each other: the matrix of all may be large
    graph = coo_array((counts, (rows, people + columns)), shape=(people + tracks,) * 2)
    groups = connected_components(graph, directed=False)[1][rows]
    explained = 0
    for group in np.split(np.argsort(groups, kind="stable"), _find_steps(np.sort(groups))):
        left, at_row = np.unique(rows[group], return_inverse=True)
        right, at_column = np.unique(columns[group], return_inverse=True)
        part = np.zeros((len(left), len(right)))
        part[at_row, at_column] = counts[group]
        explained += int(sum(part[pair] for pair in match(part, 1)))
    return explained


def _measure_hota(
    frames: list[_Frame], people: Ints, tracks: Ints
) -> tuple[float, float, float, float]:
    """Return HOTA, detection, association and localization accuracy, means over `ALPHAS`."""
    keys = np.concatenate([np.zeros(0, np.int64), *(
        _list_keys(frame, len(tracks)).ravel() for frame in frames
    )])  # fmt: skip
    shares = np.concatenate([np.zeros(0), *(_share_overlaps(f.overlaps).ravel() for f in frames)])
    known, places = np.unique(keys, return_inverse=True)
    together = np.bincount(places, shares, len(known))
    rows, columns = np.divmod(known, max(len(tracks), 1))
    alike = together / np.maximum(people[rows] + tracks[columns] - together, _TINY)
    matched, values = [np.zeros(0, np.int64)], [np.zeros(0)]
    for frame in frames:
        own = _list_keys(frame, len(tracks))
        pairs = match(alike[np.searchsorted(known, own)] * frame.overlaps, _TINY)
        picked = tuple(np.array([pair[k] for pair in pairs], np.int64) for k in (0, 1))
        matched.append(own[picked])
        values.append(frame.overlaps[picked])
    scores = np.array([
        _score_alpha(np.concatenate(matched), np.concatenate(values), alpha, people, tracks)
        for alpha in ALPHAS
    ])  # fmt: skip
    hota, detection, association, localization = scores.mean(0).tolist()
    return hota, detection, association, localization


def _score_alpha(
    keys: Ints, overlaps: Floats, alpha: float, people: Ints, tracks: Ints
) -> tuple[float, float, float, float]:
    """Return the four for pairs that overlap by `alpha` or more."""
    enough = overlaps >= alpha - _TINY
    hits = int(enough.sum())
    if not hits:  # where nothing is matched, no place is wrong
        return 0.0, 0.0, 0.0, 1.0
    pairs, counts = np.unique(keys[enough], return_counts=True)
    rows, columns = np.divmod(pairs, len(tracks))
    detection = hits / (people.sum() + tracks.sum() - hits)
    association = (counts**2 / (people[rows] + tracks[columns] - counts)).sum() / hits
    return (float(np.sqrt(detection * association)), float(detection), float(association),
            float(overlaps[enough].mean()))  # fmt: skip


def _share_overlaps(overlaps: Floats) -> Floats:
    """Return each overlap as a part of all that the two boxes have with others."""
    rest = overlaps.sum(0)[None] + overlaps.sum(1)[:, None] - overlaps
    shares: Floats = np.divide(overlaps, rest, out=np.zeros_like(overlaps), where=rest > _TINY)
    return shares


def _list_keys(frame: _Frame, tracks: int) -> Ints:
    """Return a number (N, M) for each pair of a person and a track."""
    return frame.truth[:, None] * tracks + frame.found[None]


def _find_steps(values: Ints) -> Ints:
    """Return where sorted values change."""
    return np.flatnonzero(np.diff(values)) + 1


def _divide(value: float, total: float) -> float | None:
    return float(value / total) if total else None
