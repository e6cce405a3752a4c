"""What the benchmarks share: real clips, a generated video, and the machine of a measurement."""

import json
import os
import platform
from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

CLIPS = Path(__file__).parents[2] / "shared" / "clips"


def find_clips(*names: str) -> list[Path]:
    """Return those of the real clips that exist; used when --video is not given."""
    return [path for name in names if (path := CLIPS / f"{name}.mp4").exists()]


def make_video(path: Path, width: int, height: int, frames: int, rate: int = 25) -> Path:
    """Write an h264 video of a texture that slides two pixels a frame under changing grain."""
    import av

    rng = np.random.default_rng(1)
    small = rng.integers(40, 200, (height // 8 + 2, width // 8 + 2), np.uint8)
    texture = np.kron(small, np.ones((8, 8), np.uint8))[:height, : width + 16]
    grain = rng.integers(0, 6, (8, *texture.shape), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            frame = av.VideoFrame(width, height, "yuv420p")
            moved = (np.roll(texture, -2 * i, axis=1) + grain[i % 8])[:, :width]
            samples = (moved, moved[::2, ::2], moved[::2, 1::2])
            for plane, rows in zip(frame.planes, samples, strict=True):
                held: Any = np.frombuffer(memoryview(plane), dtype=rows.dtype).reshape(
                    -1, plane.line_size
                )
                held[: plane.height, : plane.width] = rows
            frame.pts, frame.time_base = i, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


Rows = dict[str, dict[str, Any]]


def average_tables(tables: Sequence[Rows]) -> Rows:
    """Return the mean of tables, cell by cell; text is kept."""
    return {
        name: {key: mean_or_text([rows[name][key] for rows in tables]) for key in row}
        for name, row in tables[0].items()
    }


def mean_or_text(values: Sequence[Any]) -> Any:
    """Return the mean of figures, or the first value if any is text."""
    return values[0] if any(isinstance(value, str) for value in values) else mean(values)


def write_result(name: str, result: dict[str, Any], **more: str) -> Path:
    """Write the result and the machine as bench/results/NAME.json; `more` describes the machine."""
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **{name: version(name) for name in ("av", "numpy", "opencv-contrib-python-headless")},
        **more,
    }
    path = Path(__file__).parent / "results" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"machine": machine, **result}, indent=1) + "\n")
    return path
