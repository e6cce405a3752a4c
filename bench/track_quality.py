"""How well are people followed who cross, leave and return? MOTA, IDF1 and HOTA with known truth.

Six people are cut out of a real clip and walk over its empty room, larger or smaller, in front of
and behind each other. Boxes are the true ones, the true ones with one in five missing, or those of
a detector; what is hidden behind someone counts too. The constants of `opencv_hog` were chosen on
the same clip, so expect less of it on others.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from _common import find_clips, write_result

import filmgate as fg
from filmgate.media.records.record_file import RecordFile
from filmgate.media.sinks import RecordOutput
from filmgate.quality.metrics.tracking import compare_tracks
from filmgate.tasks.track import Track

Image = npt.NDArray[np.uint8]
Walk = Callable[[int], tuple[float, float] | None]  # the middle of the feet, in parts of the image

STANDING = (90, 330, 600, 800, 1060, 1300)  # frames of the clip, one person in each
EMPTY = 0
FRAMES, RATE = 200, 25
MISSING = 0.2  # of the true boxes, in the second row
VISIBLE = 0.25  # of a box that must be in the image for it to count


Cutout = tuple[Image, npt.NDArray[np.bool_]]  # pixels (H, W, 3), mask (H, W)


@dataclass(frozen=True)
class Person:
    """Someone who walks: how they look, where in each frame, and how large."""

    cutout: Cutout
    walk: Walk
    size: float


def cut_out(clip: Path) -> tuple[Image, list[Cutout]]:
    """Return the empty room and its people, by their difference to it."""
    wanted, kept = {EMPTY, *STANDING}, dict[int, Image]()
    with av.open(clip) as container:
        for n, frame in enumerate(container.decode(video=0)):
            if n in wanted:
                kept[n] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
            if len(kept) == len(wanted):
                break
    people = []
    for n in STANDING:
        apart = np.abs(kept[n].astype(int) - kept[EMPTY]).max(2) > 45
        closed = cv2.morphologyEx(
            apart.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)
        )
        _, labels, stats, _ = cv2.connectedComponentsWithStats(closed)
        tall = stats[:, cv2.CC_STAT_HEIGHT] > 1.5 * stats[:, cv2.CC_STAT_WIDTH]  # the floor is not
        person = int((stats[:, cv2.CC_STAT_AREA] * tall).argmax())
        x, y, width, height = stats[person, :4]
        part = slice(y, y + height), slice(x, x + width)
        people.append((kept[n][part], labels[part] == person))
    return kept[EMPTY], people


def make_scenes(people: Sequence[Cutout]) -> dict[str, list[Person]]:
    """Return the scenes by name."""

    def across(start: float, speed: float, feet: float, first: int = 0) -> Walk:
        return lambda n: (start + speed * (n - first), feet) if n >= first else None

    def away(start: float, feet: float, gone: range) -> Walk:
        return lambda n: None if n in gone else (start + 0.001 * n, feet)

    one, two, three, four, five, six = people
    return {
        "two cross": [Person(one, across(0.1, 0.004, 0.9), 0.8),
                      Person(two, across(0.9, -0.004, 0.97), 0.85)],
        "one leaves for a second, one for four": [
            Person(three, away(0.3, 0.95, range(60, 85)), 0.8),
            Person(four, away(0.7, 0.95, range(60, 160)), 0.8)],
        "six, in front of each other": [
            Person(one, across(0.05, 0.005, 0.8), 0.6),
            Person(two, across(0.95, -0.005, 0.85), 0.65),
            Person(three, across(0.0, 0.003, 0.88, 20), 0.7),
            Person(four, across(0.5, 0.0, 0.92), 0.75),
            Person(five, across(1.0, -0.006, 0.95, 40), 0.8),
            Person(six, across(0.2, 0.002, 0.99), 0.85)],
    }  # fmt: skip


def draw(room: Image, people: Sequence[Person], n: int) -> tuple[Image, dict[int, tuple[Any, ...]]]:
    """Return frame n and the true box of each person in it, by number from 1."""
    image, boxes = room.copy(), dict[int, tuple[Any, ...]]()
    for number, person in enumerate(people, 1):
        place = person.walk(n)
        if place is None:
            continue
        looks, shape = person.cutout
        height, width = (round(person.size * side) for side in shape.shape)
        pixels = cv2.resize(looks, (width, height), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(shape.astype(np.uint8), (width, height)) > 0
        left = round(place[0] * room.shape[1] - width / 2)
        top = round(place[1] * room.shape[0] - height)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, room.shape[1]), min(top + height, room.shape[0])
        if x1 <= x0 or y1 <= y0:
            continue
        part = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
        image[y0:y1, x0:x1][mask[part]] = pixels[part][mask[part]]
        if (x1 - x0) * (y1 - y0) >= VISIBLE * width * height:
            boxes[number] = (x0, y0, x1 - x0, y1 - y0)
    return image, boxes


def write_scene(room: Image, people: Sequence[Person], folder: Path) -> None:
    """Write in.mp4, truth.jsonl, and boxes.jsonl with all true boxes, fewer.jsonl with less."""
    random = np.random.default_rng(1)
    with av.open(folder / "in.mp4", "w") as output:
        stream: Any = output.add_stream("libx264", rate=RATE, options={"crf": "12"})
        stream.height, stream.width = room.shape[:2]
        stream.pix_fmt = "yuv420p"
        texts = {name: (folder / f"{name}.jsonl").open("w") for name in ("truth", "boxes", "fewer")}
        for n in range(FRAMES):
            image, boxes = draw(room, people, n)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            for number, box in boxes.items():
                line = {"frame": n, "box": box, "score": 0.9}
                texts["truth"].write(json.dumps(line | {"id": number}) + "\n")
                texts["boxes"].write(json.dumps(line) + "\n")
                if random.random() >= MISSING:
                    texts["fewer"].write(json.dumps(line) + "\n")
        output.mux(stream.encode())
        for text in texts.values():
            text.close()


def list_ways(folder: Path) -> Iterator[tuple[str, Track]]:
    """Yield each way of following people in the scene of a folder."""
    boxes, fewer = (RecordFile(folder / f"{name}.jsonl") for name in ("boxes", "fewer"))
    yield "true boxes, bytetrack", Track(boxes=boxes)
    yield "true boxes, phalp", Track(boxes=boxes, tracker="phalp")
    yield "one in five missing, bytetrack", Track(boxes=fewer)
    yield "one in five missing, phalp", Track(boxes=fewer, tracker="phalp")
    yield "opencv_hog, bytetrack (the default)", Track()
    blazepose = Track(detector="blazepose")
    try:
        blazepose.check_weights()
    except fg.FilmgateError:
        return
    yield "blazepose, bytetrack", blazepose


def measure(folder: Path, task: Track) -> dict[str, float | None]:
    """Follow the people of a scene and compare with the truth."""
    result = folder / "out.jsonl"
    job = fg.Job(fg.VideoFile(folder / "in.mp4"), RecordOutput(result, overwrite=True), (task,))
    list(fg.events(job))
    scores = compare_tracks(folder / "truth.jsonl", result)
    return {"MOTA": scores.mota, "IDF1": scores.idf1, "HOTA": scores.hota,
            "switches": scores.switches}  # fmt: skip


def main() -> None:
    """Measure every way in every scene; a folder keeps the videos to look at."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a folder for the scenes' videos")
    options = parser.parse_args()
    clips = find_clips("intel_person")
    if not clips:
        print("not measured: the clip intel_person.mp4 is not here")
        return
    room, people = cut_out(clips[0])
    rows: dict[str, Mapping[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name, scene in make_scenes(people).items():
            folder = (options.keep or Path(temporary)) / name.replace(" ", "_").replace(",", "")
            folder.mkdir(parents=True, exist_ok=True)
            write_scene(room, scene, folder)
            for way, task in list_ways(folder):
                rows[f"{name}: {way}"] = measure(folder, task)
                print(f"{name}: {way}", rows[f"{name}: {way}"], flush=True)
    write_result("track_quality", {"question": __doc__.splitlines()[0], "ways": rows})


if __name__ == "__main__":
    main()
