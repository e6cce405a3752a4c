"""Follow people by where they will be, how they will stand, and what they look like.

Rajasegaran et al., "Tracking People by Predicting 3D Appearance, Location and Pose", CVPR 2022,
with the pose predictor and the costs of 4D-Humans (Goel et al., ICCV 2023).

A track is confirmed at its detection number `n_init`. It ends at a frame without one before that,
and later after more than `max_age` of them. Births in one frame are numbered in the order of the
detections; who is who does not depend on that order.

After a shot boundary no one's place is known. Such a track is found again by looks and pose alone,
among detections that fit no track whose place is known, and only if it knows a quarter of what is
seen of the body. It is supposed nowhere until then, and without looks it ends at the boundary.

`as_upstream` does what the published code does, its defects included: predicted poses are read at
the place of the first track, among those that were found and among the others; a cost that is NaN
is the best one; people who are not seen stay where they were seen last, with all their values; at
a shot boundary places are compared as in any frame, and those that a track remembers become the
new one.

What a track remembers is bounded: 7 locations and times (336 bytes), 7 poses if they are known
(6.4 kB), one texture if it is known (393 kB: 16 bits a value; after 200 frames off by 0.00013 at
most from one of 64 bits, and costs by 0.00001 of themselves), and its last detection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from filmgate.errors import BadInput
from filmgate.models.families.phalp.appearance import (
    ALIGN,
    Packed,
    TextureComparison,
    blend,
    list_seen,
    pack,
    unpack,
)
from filmgate.models.families.phalp.cost import (
    THRESHOLD,
    Terms,
    bound,
    combine_looks,
    compare_poses,
    compute_costs,
)
from filmgate.models.families.phalp.location import locate, predict_location, start_prediction
from filmgate.models.families.phalp.predictor import POSE, PosePredictor
from filmgate.models.people.association import (
    Assignments,
    Box,
    FrameInfo,
    PersonDetection,
    Unseen,
)
from filmgate.models.people.matching import match
from filmgate.models.people.regions import Floats

HISTORY = 7  # detections that a track remembers
# what a detection's record has if its pose is known, as the family hmr2 says it
_BODY: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {"global_orient": (3, 3), "body_pose": (23, 3, 3), "betas": (10,), "camera": (3,)}
)
_SHARE = 0.1  # of a new texture in that of the track, at score 1
_ENOUGH = 0.25  # of the texels that a detection shows, which the track knows too


@dataclass(frozen=True, slots=True)
class Track:
    """Someone who is followed; `id` is positive, also before the track is confirmed.

    `hits`: detections so far; `misses`: frames since the last. `times` (7,), `locations` (7, 5) and
    `poses` (7, 229, NaN where unknown, or none): of the last detections, at first copies of one.
    `predicted` (6,) and `predicted_pose` (229,): for the next frame. `texture` (3, S, S): packed.
    `placed`: where it is is known; not so from a shot boundary on until it is found again.
    """

    id: int
    hits: int
    misses: int
    times: npt.NDArray[np.float64]
    locations: npt.NDArray[np.float64]
    predicted: npt.NDArray[np.float64]
    poses: npt.NDArray[np.float32] | None
    predicted_pose: npt.NDArray[np.float32] | None
    texture: npt.NDArray[np.int16] | None
    last: PersonDetection
    placed: bool = True


@dataclass(frozen=True, slots=True)
class PhalpState:
    """Those who are followed, by number, and the next number."""

    tracks: tuple[Track, ...] = ()
    next_id: int = 1


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a detection; see `Track`."""

    detection: PersonDetection
    location: Floats
    pose: npt.NDArray[np.float32] | None
    texture: Packed | None


@dataclass(frozen=True)
class PhalpTracker:
    """A PersonTracker; see `PhalpOptions` for its settings, and the module for its rules.

    Of a detection it reads the pose in its fields, as hmr2 gives it, and "texture" (4, S, S) of its
    features. Without a pose people are supposed to be of one size; without poses, textures or
    `comparison` those terms of the cost drop out. Without `predictor` poses are supposed to stay.
    """

    predictor: PosePredictor | None = None
    comparison: TextureComparison | None = None
    min_score: float = 0.6
    n_init: int = 5
    max_age: int = 50
    threshold: float = THRESHOLD
    as_upstream: bool = False

    @property
    def delay(self) -> int:
        """See `PersonTracker`."""
        return self.n_init - 1

    def start(self) -> PhalpState:
        """See `PersonTracker`."""
        return PhalpState()

    def update(
        self, state: PhalpState, frame: FrameInfo, detections: Sequence[PersonDetection]
    ) -> tuple[PhalpState, Assignments]:
        """See `PersonTracker`. Raises BadInput for values that do not fit, FloatingPointError if
        a network returns values that are not finite."""
        counted = [n for n, one in enumerate(detections) if one.score >= self.min_score]
        seen = [observe(detections[n], frame) for n in counted]
        lost = frame.cut and not self.as_upstream
        tracks = [replace(track, misses=track.misses + 1, placed=track.placed and not lost)
                  for track in state.tracks]  # fmt: skip
        found = self._match(tracks, seen)
        matched = [self._see(tracks[k], seen[n], frame) for k, n in sorted(found.items())]
        missed = [track for k, track in enumerate(tracks) if k not in found]
        if self.as_upstream:  # those that end now are predicted too: one may be the first
            matched, missed = self._predict(matched), self._predict(missed)
        missed = [track for track in missed if self._lives(track)]
        if not self.as_upstream:
            both = self._predict([*matched, *missed])
            matched, missed = both[: len(matched)], both[len(matched) :]
        free = sorted(set(range(len(seen))) - set(found.values()))
        births = [self._begin(state.next_id + k, seen[n], frame) for k, n in enumerate(free)]
        ids = [0] * len(detections)
        for n, track in zip([found[k] for k in sorted(found)] + free, [*matched, *births],
                            strict=True):  # fmt: skip
            ids[counted[n]] = track.id if track.hits >= self.n_init else -track.id
        confirmed = tuple(
            (-track.id, track.id) for track in (*matched, *births) if track.hits == self.n_init
        )
        alive = sorted([*matched, *missed, *births], key=lambda track: track.id)
        after = PhalpState(tuple(alive), state.next_id + len(births))
        return after, Assignments(
            tuple(ids),
            confirmed,
            tuple(self._suppose(track, frame) for track in missed if track.placed),
        )

    def _match(self, tracks: Sequence[Track], seen: Sequence[Observation]) -> dict[int, int]:
        """Return the detection of each track that is found, by their places in the lists.

        Tracks whose place is known come first.
        """
        found = dict[int, int]()
        for placed in (True, False):
            rows = [k for k, track in enumerate(tracks) if track.placed == placed]
            columns = sorted(set(range(len(seen))) - set(found.values()))
            if rows and columns:
                costs = self._compute_costs([tracks[k] for k in rows], [seen[n] for n in columns])
                # what is above the threshold has the value 0, and the rest more
                pairs = match(self.threshold + 1e-5 - costs, 5e-6)
                found |= {rows[row]: columns[column] for row, column in pairs}
        return found

    def _compute_costs(self, tracks: Sequence[Track], seen: Sequence[Observation]) -> Floats:
        """Return what each pair costs (T, D); the places of all tracks are known, or those of none.

        What must not be matched is above the threshold.
        """

        def compare_looks(pairs: npt.NDArray[np.intp]) -> Floats:
            assert self.comparison is not None
            return self.comparison.compare_known(
                [(tracks[row].texture, seen[column].texture) for row, column in pairs]
            )

        track_poses = _stack_poses([track.predicted_pose for track in tracks])
        poses = _stack_poses([one.pose for one in seen])
        if tracks[0].placed:
            predicted = np.stack([track.predicted for track in tracks])
            terms = Terms(predicted, np.stack([one.location for one in seen]), track_poses, poses)
            compare = compare_looks if self.comparison else None
            return compute_costs(terms, compare, threshold=self.threshold,
                                 as_upstream=self.as_upstream)  # fmt: skip
        looks = np.full((len(tracks), len(seen)), np.inf)
        if self.comparison:
            pairs = np.argwhere([[_is_known(track, one) for one in seen] for track in tracks])
            looks[pairs[:, 0], pairs[:, 1]] = compare_looks(pairs)
        return bound(combine_looks(looks, compare_poses(track_poses, poses)), self.threshold)

    def _begin(self, track_id: int, one: Observation, frame: FrameInfo) -> Track:
        """Return the track of someone new: its history is one detection, repeated."""
        poses = None if one.pose is None else np.repeat(one.pose[None], HISTORY, 0)
        return Track(
            track_id, 1, 0, np.full(HISTORY, float(frame.index)),
            np.repeat(one.location[None], HISTORY, 0), start_prediction(one.location), poses,
            one.pose, one.texture, self._remember(one.detection),
        )  # fmt: skip

    def _remember(self, detection: PersonDetection) -> PersonDetection:
        fields = dict(detection.fields) if self.as_upstream else {}
        return PersonDetection(detection.box, float(detection.score), fields)

    def _see(self, track: Track, one: Observation, frame: FrameInfo) -> Track:
        """Return a track with one more detection, not yet predicted."""
        locations = _push(track.locations, one.location)
        if frame.cut or not track.placed:
            locations = np.repeat(one.location[None], HISTORY, 0)
        poses = track.poses
        if poses is not None or one.pose is not None:
            unknown = np.full(POSE, np.nan, np.float32)
            if poses is None:
                poses = np.repeat(unknown[None], HISTORY, 0)
            poses = _push(poses, unknown if one.pose is None else one.pose)
            poses = None if np.isnan(poses).all() else poses
        texture = one.texture
        if texture is None:
            texture = track.texture
        elif track.texture is not None and track.texture.shape == texture.shape:
            share = _SHARE * one.detection.score**2
            texture = pack(blend(unpack(track.texture), unpack(texture), share))
        return replace(
            track, hits=track.hits + 1, misses=0, last=self._remember(one.detection),
            times=_push(track.times, float(frame.index)), locations=locations, poses=poses,
            texture=texture, placed=True,
        )  # fmt: skip

    def _predict(self, tracks: Sequence[Track]) -> list[Track]:
        """Return the tracks with predictions for the next frame."""
        posed = [track for track in tracks if track.poses is not None]
        poses: list[Any] = [_get_last_pose(track) for track in posed]
        if self.predictor and posed:
            poses = list(
                self.predictor.predict(
                    np.stack([track.times for track in posed]),
                    _stack_known(posed),
                    [track.misses for track in posed],
                )
            )
        pose_of = {track.id: pose for track, pose in zip(posed, poses, strict=True)}
        return [
            replace(
                track,
                predicted=predict_location(track.times, track.locations, track.misses),
                predicted_pose=pose_of.get(track.id),
            )
            for track in tracks
        ]

    def _lives(self, track: Track) -> bool:
        if not track.placed and (self.comparison is None or track.texture is None):
            return False
        return track.hits >= self.n_init and track.misses <= self.max_age

    def _suppose(self, track: Track, frame: FrameInfo) -> Unseen:
        """Return a track that no detection shows: its box, moved and scaled as predicted."""
        if self.as_upstream:
            return Unseen(track.id, track.last)
        before = track.locations[-1]
        now = predict_location(track.times, track.locations, track.misses - 1)
        move = (now[:2] - before[:2]) * max(frame.width, frame.height)
        box = _transform(track.last.box, move, float(before[4] / now[2]))
        return Unseen(track.id, replace(track.last, box=box))


def observe(detection: PersonDetection, frame: FrameInfo) -> Observation:
    """Return what is known of a detection. Raises BadInput for values that do not fit."""
    if not np.isfinite(detection.box).all() or min(detection.box[2:]) <= 0:
        raise BadInput(f"a box is {detection.box}: pass finite numbers, and a width and a height "
                       "above 0")  # fmt: skip
    location, pose = locate(detection.box, frame), None
    if _BODY.keys() <= detection.fields.keys():
        values = [_read(detection.fields, name, shape) for name, shape in _BODY.items()]
        location = locate(detection.box, frame, values.pop().tolist())
        camera = location[2:] * (1, 1, 1 / 200)
        pose = np.concatenate([*map(np.ravel, values), camera]).astype(np.float32)
    texture = detection.features.get("texture")
    if texture is None:
        return Observation(detection, location, pose, None)
    shape = np.shape(texture)
    if len(shape) != 3 or shape[0] != 4 or shape[1] != shape[2] or shape[1] % ALIGN:
        raise BadInput(f"a texture has the shape {shape}: pass 4 channels of a square, 256 x 256")
    return Observation(detection, location, pose, pack(_read(detection.features, "texture", shape)))


def _is_known(track: Track, one: Observation) -> bool:
    """Return whether a track knows enough of what a detection shows to tell who it is."""
    old, new = track.texture, one.texture
    if old is None or new is None or old.shape != new.shape:
        return False
    shown = list_seen(new)
    both = list_seen(old) & shown
    return bool(both.any()) and float(both.sum()) >= _ENOUGH * float(shown.sum())


def _read(values: Mapping[str, Any], name: str, shape: tuple[int, ...]) -> Floats:
    try:
        found = np.asarray(values[name], np.float64)
    except (TypeError, ValueError):
        found = np.full(1, np.nan)
    if found.shape != shape or not np.isfinite(found).all():
        raise BadInput(f"{name} is {values[name]!r:.60}: pass finite numbers of shape {shape}")
    return found


def _push(values: npt.NDArray[Any], value: Any) -> npt.NDArray[Any]:
    """Return the values without the first, and with one more at the end."""
    return np.concatenate([values[1:], np.asarray(value, values.dtype)[None]])


def _stack_poses(poses: Sequence[npt.NDArray[np.float32] | None]) -> Floats:
    unknown = np.full(POSE, np.nan)
    return np.stack([unknown if pose is None else pose.astype(np.float64) for pose in poses])


def _stack_known(tracks: Sequence[Track]) -> npt.NDArray[np.float32]:
    return np.stack([track.poses for track in tracks if track.poses is not None])


def _get_last_pose(track: Track) -> npt.NDArray[np.float32]:
    assert track.poses is not None
    known = np.flatnonzero(np.isfinite(track.poses).all(1))
    pose: npt.NDArray[np.float32] = track.poses[known[-1]]
    return pose


def _transform(box: Box, move: Floats, scale: float) -> Box:
    """Return a box moved by pixels and scaled around its centre."""
    left, top, width, height = box
    x, y = left + width / 2 + float(move[0]), top + height / 2 + float(move[1])
    width, height = width * scale, height * scale
    return x - width / 2, y - height / 2, width, height
