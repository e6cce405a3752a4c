"""What do people and faces cost a frame, on one thread of the CPU? Medians of CPU milliseconds.

A search looks for new people in the complete image and in its parts; it happens every ten frames
while everyone is followed. Reading is done for each person in each frame: the turned crop, its
conversion to RGB, and the network of points. `frame` is the mean of all frames of the stage, with
one person in the image. Needs the real clips, the extra `people`, and `filmgate models pull
blazepose` and `face_mesh`.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from statistics import fmean, median
from time import thread_time
from typing import Any

import cv2
import torch
from _common import find_clips, write_result

from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import UserError
from filmgate.media.sources import VideoFile
from filmgate.models.people.tracker import Tracker
from filmgate.models.registry import build_tracker

FRAMES, ROUNDS = 60, 15
CLIPS = (("blazepose", "phalp_vid"), ("blazepose", "sam2_bedroom"), ("face_mesh", "ls_demo1"),
         ("face_mesh", "pl_driving"))  # fmt: skip


def read_frames(path: Path) -> tuple[list[Frame], StreamSpec]:
    with VideoFile(path).open() as reader:
        chunks = (chunk for chunk, _ in reader.read(None, 8))
        return list(islice(chain.from_iterable(chunks), FRAMES)), reader.spec


def measure(work: Callable[[], object]) -> float:
    """Return the median of CPU milliseconds."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = thread_time()
        work()
        times.append(1000 * (thread_time() - start))
    return median(times)


def measure_clip(family: str, path: Path) -> dict[str, Any]:
    tracker = build_tracker(family)
    assert isinstance(tracker, Tracker)
    frames, spec = read_frames(path)
    image: Any = frames[0].image
    state, _ = tracker.step(tracker.start(spec, frames[0].position), frames[:1])
    region = replace(state.tracks[0].region)
    times = []
    for frame in frames[1:]:
        start = thread_time()
        state, _ = tracker.step(state, [frame])
        times.append(1000 * (thread_time() - start))
    return {
        "model": family,
        "size": f"{spec.width}x{spec.height}",
        "search (ms)": measure(lambda: tracker.model.detect(image, False)),
        "search in parts (ms)": measure(lambda: tracker.model.detect(image, True)),
        "reading (ms)": measure(lambda: tracker.model.read(image, region)),
        "frame (ms)": fmean(times),
    }


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    rows = {}
    for family, clip in CLIPS:
        paths = find_clips(clip)
        if not paths:
            print(f"the clip {clip} is not here: nothing is measured")
            return 0
        try:
            rows[clip] = measure_clip(family, paths[0])
        except UserError as error:
            print(f"nothing is measured: {error}")
            return 0
    print(write_result("people_speed", {"clips": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
