"""Iterate over frames in Python: print the brightness of each frame of a smoother video."""

import filmgate as fg
from filmgate.plugins import Planes


def measure_brightness(video: str) -> list[float]:
    """Return the mean of the first plane of each frame, 60 frames a second."""
    means = []
    for frame in fg.frames(fg.Interpolate(fps=60), video):
        assert isinstance(frame.image, Planes)
        means.append(float(frame.image.arrays[0].mean()))
    return means


if __name__ == "__main__":
    for number, mean in enumerate(measure_brightness("in.mp4")):
        print(f"{number / 60:.3f} s: {mean:.1f}")
