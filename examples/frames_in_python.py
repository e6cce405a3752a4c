"""Frames as a Python loop: prints the brightness of each frame of a smoother film."""

import filmgate as fg
from filmgate.media.pixels.planes import Planes


def brightness(video: str) -> list[float]:
    """Mean of the first plane of each frame, 60 a second."""
    means = []
    for frame in fg.frames(fg.Interpolate(fps=60), video):
        assert isinstance(frame.image, Planes)
        means.append(float(frame.image.arrays[0].mean()))
    return means


if __name__ == "__main__":
    for number, mean in enumerate(brightness("in.mp4")):
        print(f"{number / 60:.3f} s: {mean:.1f}")
