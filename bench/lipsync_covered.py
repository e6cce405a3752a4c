"""How often does lipsync leave frames whose mouth is covered, and frames whose mouth is not?

The face mesh reads all frames of two real clips of people who talk, which nothing covers: each
frame that is left as it is, is a mistake. Then two hands, a microphone and a cup, made of pixels of
a clip, come from below, stay in front of the mouth and leave again, in parts of each clip. Frames
in which half of the points of the lips are hidden should be left as they are. The largest spread of
lips where nothing is, and the smallest of hidden ones, show the room around the limit of 0.095. The
same is measured in one part that is made smaller, darker, blurred or turned. Regions and limit were
chosen on these two clips with these occluders, so this is no test on unseen material.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from _common import CLIPS, write_result

ROOT = Path(__file__).parents[1]
TALKING = ("ls_demo1.mp4", "pl_driving.mp4")
PARTS = {"ls_demo1.mp4": (20, 160), "pl_driving.mp4": (40, 700, 1300)}  # first frames
LENGTH = 60  # frames of a part


def measure_seen(clip: str) -> dict[str, Any]:
    """Return what is found in a clip in which nothing is covered."""
    from tests.models.families.latentsync.occluders import count_found, find_faces, read_frames

    spreads, covered = list[float](), list[bool]()
    for _, record, landmarks in find_faces(build(), read_frames(CLIPS / clip)):
        if record is not None:
            spreads.append(record["lip_spread"])
        covered.append(landmarks is not None and landmarks.covered)
    found = count_found([0.0] * len(covered), covered)
    return {"frames": len(covered), "hidden": 0, "left": 0,
            "left by mistake": found["left by mistake"],
            "spread": f"at most {max(spreads):.3f}"}  # fmt: skip


def measure_hidden(occluder: Any) -> dict[str, Any]:
    """Return what is found where something moves in front of the mouth, in all parts."""
    from tests.models.families.latentsync.occluders import (
        count_found,
        find_faces,
        move_in_front,
        read_frames,
    )

    total, spreads = dict[str, int](), list[float]()
    for clip, starts in PARTS.items():
        for start in starts:
            frames = list(read_frames(CLIPS / clip, start, start + LENGTH))
            records = [record for _, record, _ in find_faces(build(), iter(frames))]
            moved = list(move_in_front(frames, records, occluder))
            shares, covered = [share for _, share in moved], list[bool]()
            faces = find_faces(build(), (frame for frame, _ in moved))
            for share, (_, record, landmarks) in zip(shares, faces, strict=True):
                covered.append(landmarks is None or landmarks.covered)
                if record is not None and share == 1:
                    spreads.append(record["lip_spread"])
            for key, count in count_found(shares, covered).items():
                total[key] = total.get(key, 0) + count
    return {"frames": sum(map(len, PARTS.values())) * LENGTH, "hidden": total["hidden"],
            "left": total["left"], "left by mistake": total["left by mistake"],
            "spread": f"at least {min(spreads):.3f}"}  # fmt: skip


def measure_changed(clip: str, start: int, change: Any, occluder: Any) -> dict[str, Any]:
    """Return what is found in a part whose images are changed, with an occluder and without one."""
    from tests.models.families.latentsync.occluders import (
        count_found,
        find_faces,
        move_in_front,
        read_frames,
        to_rgb,
        with_rgb,
    )

    frames = [with_rgb(frame, change(to_rgb(frame)))
              for frame in read_frames(CLIPS / clip, start, start + LENGTH)]  # fmt: skip
    records = [record for _, record, _ in find_faces(build(), iter(frames))]
    moved = list(move_in_front(frames, records, occluder))
    faces = list(find_faces(build(), (frame for frame, _ in moved)))
    covered = [landmarks is None or landmarks.covered for _, _, landmarks in faces]
    found = count_found([share for _, share in moved], covered)
    hidden = [record["lip_spread"] for (_, share), (_, record, _) in zip(moved, faces, strict=True)
              if share >= 0.5 and record is not None]  # fmt: skip
    seen = max(record["lip_spread"] for record in records)
    return {"frames": LENGTH, "hidden": found["hidden"], "left": found["left"],
            "left by mistake": found["left by mistake"],
            "spread": f"at most {seen:.3f}, hidden at least {min(hidden):.3f}"}  # fmt: skip


def list_changes() -> dict[str, tuple[str, int, Any]]:
    """Return clip, first frame and change of images (H, W, 3) by what is changed."""
    import cv2

    def shrink(image: Any, times: float) -> Any:
        size = [round(side * times / 2) * 2 for side in image.shape[1::-1]]
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    def darken(image: Any) -> Any:
        noise = np.random.default_rng(1).normal(0, 6, image.shape)
        return np.clip(image * 0.3 + noise, 0, 255).astype(np.uint8)

    def turn(image: Any) -> Any:
        height, width = image.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 30, 0.9)
        return cv2.warpAffine(image, matrix, (width, height))

    return {
        "a face of 77 pixels": ("ls_demo1.mp4", 20, lambda image: shrink(image, 0.4)),
        "a face of 48 pixels": ("ls_demo1.mp4", 20, lambda image: shrink(image, 0.25)),
        "dark, with noise": ("pl_driving.mp4", 700, darken),
        "turned by 30 degrees": ("pl_driving.mp4", 700, turn),
        "blurred": ("pl_driving.mp4", 700, lambda image: cv2.GaussianBlur(image, (0, 0), 3)),
    }


def build() -> Any:
    """Return the finder of faces that lipsync uses."""
    from filmgate.models.registry import build_tracker, find_family

    return build_tracker("face_mesh", find_family("face_mesh").covered_options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-result", action="store_true", help="write nothing")
    args = parser.parse_args()
    sys.path.append(str(ROOT))
    import torch

    from tests.models.families.latentsync.occluders import make_occluders

    torch.set_num_threads(1)
    rows = dict[str, dict[str, Any]]()
    occluders = make_occluders(CLIPS)
    for name, occluder in occluders.items():
        rows[name] = measure_hidden(occluder)
        print(name, rows[name], flush=True)
    for name, change in list_changes().items():
        rows[f"clasped hands, {name}"] = measure_changed(*change, occluders["clasped hands"])
        print(name, rows[f"clasped hands, {name}"], flush=True)
    for clip in TALKING:
        rows[f"nothing, all of {clip}"] = measure_seen(clip)
        print(clip, rows[f"nothing, all of {clip}"], flush=True)
    if not args.no_result:
        write_result("lipsync_covered", {"rows": rows})


if __name__ == "__main__":
    main()
