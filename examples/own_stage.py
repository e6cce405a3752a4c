"""A task of your own: a pure function of frames becomes a stage, and goes where any task goes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.stage import AnyStage
from filmgate.media.pixels.planes import Planes


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Left becomes right."""

    stretch = 1

    def stages(self, spec: fg.StreamSpec) -> tuple[AnyStage, ...]:
        return (each(mirrored),)

    def timeline(self, shown: Iterable[fg.Frame]) -> Iterator[fg.Frame]:
        return iter(shown)


def mirrored(frames: Sequence[fg.Frame]) -> list[fg.Frame]:
    """One for one; nothing is written into the frames that came."""
    return [frame.made(_flipped(frame.image)) for frame in frames]


def _flipped(image: object) -> Planes:
    assert isinstance(image, Planes)
    return image.with_arrays(tuple(plane[:, ::-1] for plane in image.arrays))


if __name__ == "__main__":
    fg.run([Mirror(), fg.Interpolate(factor=2)], "in.mp4", "mirrored.mp4")
