"""Write a task: a pure function of frames becomes a stage, and runs like any other task."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import filmgate as fg
from filmgate.plugins import Each, Planes, each


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Mirror a video: left becomes right."""

    time_scale = 1

    def stages(self, spec: fg.StreamSpec, models: object = None) -> tuple[Each, ...]:
        return (each(mirror_frames),)

    def timeline(self, frames: Iterable[fg.Frame]) -> Iterator[fg.Frame]:
        return iter(frames)


def mirror_frames(frames: Sequence[fg.Frame]) -> list[fg.Frame]:
    """Return one frame for each; the input frames are not modified."""
    return [frame.with_image(_flip(frame.image)) for frame in frames]


def _flip(image: object) -> Planes:
    assert isinstance(image, Planes)
    return image.with_arrays(tuple(plane[:, ::-1] for plane in image.arrays))


if __name__ == "__main__":
    fg.run([Mirror(), fg.Interpolate(factor=2)], "in.mp4", "mirrored.mp4")
