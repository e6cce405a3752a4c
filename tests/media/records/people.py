"""People who walk through a small video, as records of every kind of field."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction as F
from typing import Any

from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def make_person(id: int, n: int) -> dict[str, Any]:
    """Return the record of a person in frame n; the second has points, the third a pose."""
    record: dict[str, Any] = {
        "kind": "person", "version": 1, "id": id, "box": (2.0 * n + 0.125, 4.0, 12.0, 30.0),
        "score": 0.9 if n == 7 else 0.75, "seen": n % 5 != 4,
    }  # fmt: skip
    if id == 2:
        points = tuple((float(k), float(n), 0.5) for k in range(33))
        record |= {"skeleton": "blazepose", "points": points, "visibility": (0.25,) * 33,
                   "world": points, "presence": (1.0,) * 33}  # fmt: skip
    if id == 3:
        record |= {
            "global_orient": IDENTITY, "body_pose": (IDENTITY,) * 23, "betas": (0.5,) * 10,
            "camera": (1.0, 2.0, 3.0), "camera_crop": (0.0, 0.0, 9.0),
            "translation": (0.1, 0.2, 5.0), "focal": 800.0, "root": (10.0, 20.0),
            "joints_2d": tuple((float(k), float(k)) for k in range(45)),
            "joints_3d": ((0.0, 1.0, 2.0),) * 45,
        }  # fmt: skip
    return record


def find_people(n: int) -> tuple[dict[str, Any], ...]:
    """Return the records of frame n: none, one, two or three."""
    return tuple(make_person(id, n) for id in (1, 2, 3)[: n % 4])


def _add_records(frames: Sequence[Frame]) -> list[Frame]:
    return [frame.with_extras(records=find_people(frame.index)) for frame in frames]


@dataclass(frozen=True)
class Walk:
    """A task that finds people by rule."""

    time_scale: F = F(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(_add_records, name="walk"),)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        yield from frames
