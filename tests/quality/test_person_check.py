"""What is measured in results of lipsync and animate; each fault is found, and only where it is."""

import json
from collections.abc import Sequence
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from filmgate.cli.main import main
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.errors import BadSetting
from filmgate.models.families.latentsync import faces
from filmgate.quality.person_check import (
    MOST_STEP,
    Luma,
    Motion,
    Mouths,
    _judge_ending,
    _judge_flicker,
    _judge_jerk,
    _judge_seams,
    check_person,
    measure_edge,
)
from filmgate.tasks.lipsync import LipSync
from tests.videos import Video, make


def save(path: Path, frames: int, task: dict[str, Any], **own: Any) -> Path:
    """Write a video with audio, and the tag of a result of a task."""
    form = {"input": {}, "tasks": [task], "output": {}, "seed": 0}
    return make(Video(frames=frames, sounds=("aac",), metadata={"filmgate": json.dumps(form)},
                      suffix=".mkv", **own), path)  # fmt: skip


@pytest.mark.parametrize(
    ("task", "frames", "found"),
    [
        ({}, 8, "none"),
        pytest.param(
            {}, 60, "turns back 2 times: a moment is shown up to 3 times", marks=pytest.mark.slow
        ),
        pytest.param({"turn": "1/2"}, 60, "turns back 4 times", marks=pytest.mark.slow),
        ({"begin": "1/2"}, 16, "turns back once"),
    ],
)
def test_repetition_is_that_of_the_way_through_the_take(
    tmp_path: Path, task: Any, frames: int, found: str
) -> None:
    source = make(Video(frames=24), tmp_path / "in.mp4")
    result = save(tmp_path / "out.mkv", frames, {"task": "lipsync", **task})
    turns, ending, edges, mouths = check_person(result, source)
    assert found in turns.found
    assert turns.ok == ("none" in found or "once" in found)
    assert [one.name for one in (ending, edges, mouths)] == ["ending", "mask edges", "wide mouths"]
    assert mouths.ok


def make_face(soft: float, level: float = 60) -> tuple[Luma, Luma]:
    """Return an image with a brighter disc, its edge as soft as `soft` pixels, and one without."""
    y, x = np.mgrid[:120, :160].astype(np.float32)
    source: Luma = 100 + 20 * np.sin(x / 12) + 10 * np.cos(y / 15)
    disc = cv2.circle(np.zeros((120, 160), np.float32), (80, 60), 35, 1.0, -1)
    mask: Any = cv2.GaussianBlur(disc, (0, 0), soft) if soft else disc
    return source + level * mask, source


def test_a_hard_edge_is_found_and_a_soft_one_is_not() -> None:
    assert measure_edge(*make_face(0)) > 4 * MOST_STEP  # type: ignore[operator]
    assert measure_edge(*make_face(14, 25)) < MOST_STEP  # type: ignore[operator]
    assert measure_edge(*make_face(0, 25)) > MOST_STEP  # type: ignore[operator]
    assert measure_edge(*make_face(0, 2)) is None
    with pytest.raises(BadSetting, match="160, 120"):
        measure_edge(make_face(0)[0], make_face(0)[1][:50])


def move(places: list[float], levels: list[float] | None = None) -> Motion:
    """Return the motion of a pattern that is at these places, and as bright as this."""
    motion, columns = Motion(), np.arange(80)
    for n, place in enumerate(places):
        row = 120 + 60 * np.sin((columns - place) / 6) + (levels[n] if levels else 0)
        motion.add(np.repeat(row[None], 40, 0).astype(np.float32))
    return motion


def test_a_movement_at_the_end_is_found_unless_it_is_near_rest() -> None:
    still = move([0.4 * n for n in range(60)] + [24 + 0.05 * n for n in range(10)])
    fast = move([0.4 * n for n in range(60)] + [24 + 2.0 * n for n in range(10)])
    away = [1.0] * 70
    assert _judge_ending(still, away).ok
    assert not _judge_ending(fast, away).ok
    assert _judge_ending(fast, [*away[:-1], 0.1]).ok


def test_jerks_seams_and_flicker_of_an_animation_are_found() -> None:
    even = move([0.7 * n for n in range(64)])
    chance = np.random.default_rng(1).normal(0, 0.5, 64)
    shaken = move([0.7 * n + float(chance[n]) for n in range(64)])
    assert _judge_jerk(even, even).ok
    assert not _judge_jerk(shaken, even).ok
    stepped = move([0.3 * n + 1.5 * (n // 4) for n in range(64)])
    assert not _judge_seams(stepped).ok
    assert _judge_seams(even).ok
    flickering = move([0.0] * 64, [3.0 * (n % 2) for n in range(64)])
    assert not _judge_flicker(flickering).ok
    assert _judge_flicker(even).ok


def make_points(chin: float) -> list[tuple[float, float, float]]:
    """Points of a face mesh as in a crop of 75 x 100, and its chin at a height of that."""
    points = [(0.0, 0.0, 0.0)] * 468
    places = ((faces._LEFT_BROW, (17, 20)), (faces._RIGHT_BROW, (58, 20)),
              (faces._NOSE, (37.5, 40)), ((faces._CHIN,), (37.5, chin)))  # fmt: skip
    for numbers, (x, y) in places:
        for number in numbers:
            points[number] = (2 * x, 2 * y, 0.0)
    return points


def test_wide_mouths_are_counted_where_the_chin_is_below_what_is_generated() -> None:
    """A stage in place of the face mesh: the chin is at 80, 90 ... % of the crop, then no face."""
    heights = [80.0, 90.0, 96.0, 93.0, 99.0]

    def find(frames: Sequence[Frame]) -> list[Frame]:
        (frame,), found = frames, []
        for side, height in ((9, heights[frame.index : frame.index + 1]), (5, heights[-1:])):
            found += [{"kind": "face", "box": (0, 0, side, side), "points": make_points(one)}
                      for one in height if frame.index < len(heights)]  # fmt: skip
        return [frame.with_extras(records=tuple(found))]

    mouths = Mouths(LipSync(), each(find, name="faces"))
    spec = StreamSpec(width=9, height=9, rate=F(25), time_base=F(1, 25), pixels="gray")
    for n in range(7):
        mouths.add(Frame(n, F(n, 25), F(1, 25), None), spec)
    finding = mouths.judge()
    assert "below what is generated in 2 of 5 frames" in finding.found
    assert not finding.ok
    assert "chosen by hand" in str(Mouths.open(LipSync(box="0,0,20,20")))


def test_an_animation_is_compared_with_its_driver(tmp_path: Path) -> None:
    driver = make(Video(frames=20), tmp_path / "drive.mp4")
    result = save(tmp_path / "out.mkv", 20, {"task": "animate"})
    findings = check_person(result, driver)
    assert [one.name for one in findings] == ["smoothness", "seams", "flicker", "looks over time"]
    assert "1.00 times" in findings[0].found
    short = save(tmp_path / "short.mkv", 5, {"task": "animate"})
    with pytest.raises(BadSetting, match="has 5 frames, wanted at least 10"):
        check_person(short, driver)


def test_what_is_no_result_of_theirs_is_refused(tmp_path: Path, capfd: Any) -> None:
    video = make(Video(frames=4), tmp_path / "in.mp4")
    with pytest.raises(BadSetting, match="no result of lipsync or animate"):
        check_person(video, video)
    assert main(["check", str(video), "--person"]) == 2
    assert "pass --against" in capfd.readouterr().err
