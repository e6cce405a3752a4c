"""Short videos to try stages on: made of moving waves, or the beginning of a file."""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.errors import BadSetting
from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoPipe
from filmgate.tasks.job_config import source_from


@dataclass(frozen=True)
class SampleVideo:
    """A short stream: its format and its frames, with indices and times from 0."""

    spec: StreamSpec
    frames: tuple[Frame, ...]

    def first(self, count: int) -> "SampleVideo":
        """Return its first `count` frames."""
        return SampleVideo(self.spec, self.frames[:count])

    def repeat(self) -> "SampleVideo":
        """Return the video followed by itself."""
        n, end = len(self.frames), self.frames[-1].end if self.frames else Fraction(0)
        again = (replace(f, index=f.index + n, time=f.time + end) for f in self.frames)
        return SampleVideo(self.spec, (*self.frames, *again))


def make_sample_video(
    count: int = 20, *, pixels: Literal["rgb", "yuv420p"] = "rgb", width: int = 32, height: int = 24
) -> SampleVideo:
    """Return `count` images of moving waves at 25 fps; a new shot ("cut") starts in the middle.

    "rgb": float32 tensors (3, H, W) in [0, 1], as models get them. "yuv420p": uint8 `Planes`, as
    decoded from a file; width and height must be even.
    """
    rate, colour = Fraction(25), ColorTags(matrix="bt709", range="tv")
    spec = StreamSpec(
        width=width, height=height, rate=rate, time_base=1 / rate, pixels=pixels, colour=colour,
        dtype="float32" if pixels == "rgb" else "uint8",
    )  # fmt: skip
    y, x = np.mgrid[:height, :width]
    frames = []
    for i in range(count):
        new_shot, period = i > 0 and i == count // 2, 7 if i >= count // 2 else 4
        waves = 0.5 + 0.4 * np.stack([np.sin((x + 2 * i) / (period + k) + y / 5) for k in range(3)])
        image = _make_tensor(waves) if pixels == "rgb" else _make_planes(waves, colour)
        extras = {"cut": True} if new_shot else {}
        frames.append(Frame(i, i / rate, 1 / rate, image, extras))
    return SampleVideo(spec, tuple(frames))


def _make_tensor(waves: Any) -> Any:
    import torch

    return torch.from_numpy(waves.astype(np.float32))


def _make_planes(waves: Any, colour: ColorTags) -> Planes:
    luma, *chroma = (waves * 255).astype(np.uint8)
    small = (np.ascontiguousarray(plane[::2, ::2]) for plane in chroma)
    return Planes((luma, *small), "yuv420p", colour)


def read_sample_video(path: Path, count: int = 16) -> SampleVideo:
    """Return the first `count` frames of a video, or of images, as a task's stages get them.

    Raises BadInput, BadSetting, Unsupported.
    """
    source = source_from({"path": path})
    if isinstance(source, VideoPipe):
        raise BadSetting("cannot read a sample from a pipe: pass a file")
    with source.open() as reader:
        chunks = reader.read(None, 1)
        frames = tuple(islice(chain.from_iterable(frames for frames, _ in chunks), count))
        return SampleVideo(reader.spec, frames)
