"""Animate a portrait by a long video, from files to a file, and watch the memory of the process.

Small networks with weights by rule: what is measured is whether memory grows, not how fast the
published model is. The driving video of the authors has 1,531 frames behind an edit list that
hides 110 more, and audio.
"""

import argparse
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from _common import CLIPS, write_result

ROOT = Path(__file__).parents[1]
SIZE = 64  # pixels of a side of the result


def run(portrait: Path, driving: Path, out: Path, frames: int | None) -> dict[str, Any]:
    """Animate, and return what was measured."""
    sys.path.append(str(ROOT))
    import filmgate as fg
    from filmgate.media.images.image_file import ImageFile
    from filmgate.models.families.personalive import PersonaLiveOptions
    from filmgate.quality.verify import check
    from filmgate.tasks.animate import Animate
    from tests.models.tiny_personalive import folder

    task = Animate(portrait=ImageFile(portrait), size=SIZE, finder="own",
                   options=PersonaLiveOptions(weights=folder()))  # fmt: skip
    job = fg.Job(fg.VideoFile(driving, max_frames=frames), fg.VideoOutput(out), (task,))
    start, seen, done = perf_counter(), list[tuple[int, int]](), None
    for event in fg.events(job, fg.Plan(chunk=8, segment_frames=96, torch_threads=1)):
        if isinstance(event, fg.Progress):
            seen.append((event.read, event.resident_bytes))
        elif isinstance(event, fg.Done):
            done = event
    assert done is not None
    report = check(driving, out) if frames is None else None
    read, resident = np.array(seen).T
    late = read > min(200, read[-1] // 2)  # until then libraries are loaded and buffers filled
    slope, _ = np.polyfit(read[late], resident[late], 1)
    return {
        "frames": int(read[-1]),
        "seconds": round(perf_counter() - start, 1),
        "resident_gb": round(float(resident[late].max()) / 1e9, 3),
        "bytes_per_frame": round(float(slope)),
        "checked": None if report is None else report.ok,
        "curve": [[int(n), int(held)] for n, held in seen[:: max(1, len(seen) // 60)]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portrait", type=Path, default=CLIPS / "pl_ref.png")
    parser.add_argument("--driving", type=Path, default=CLIPS / "pl_driving.mp4")
    parser.add_argument("--frames", type=int)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measured = run(args.portrait, args.driving, Path(folder) / "out.mp4", args.frames)
    print({name: value for name, value in measured.items() if name != "curve"})
    if args.frames is None:
        curve, name = measured.pop("curve"), f"{args.driving.stem}, {SIZE}x{SIZE}"
        write_result("animate_memory", {"rows": {name: measured}, "curve": curve},
                     torch=version("torch"))  # fmt: skip


if __name__ == "__main__":
    main()
