"""A task that counts, for this process and for one that is killed: pytest is not imported."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction as F

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from tests.videos import read_number

PLAN = fg.Plan(chunk=2, segment_frames=8)


@dataclass(frozen=True)
class Count:
    """A task whose result is no video: the number that each frame shows, n % 3 times."""

    time_scale: F = F(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(find_numbers, name="count"),)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        yield from frames


def find_numbers(frames: Sequence[Frame]) -> list[Frame]:
    numbers = [read_number(frame) for frame in frames]
    return [
        frame.with_extras(records=tuple({"number": n, "copy": k} for k in range(n % 3)))
        for frame, n in zip(frames, numbers, strict=True)
    ]
