"""Settings of every definition are checked when it is made, by the types of its fields."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import filmgate as fg
from filmgate.errors import BadSetting
from filmgate.media.settings import check_settings
from filmgate.media.sinks import RecordOutput
from filmgate.media.sources import VideoPipe
from filmgate.models.families.compact import CompactOptions


@dataclass(frozen=True, kw_only=True)
class Everything:
    switch: bool = False
    count: int | None = None
    name: str = ""
    place: Path | None = None
    rate: Fraction | int = 1
    mode: Literal["a", "b"] | None = None
    names: tuple[str, ...] = ()
    other: Any = None

    def __post_init__(self) -> None:
        check_settings(self)


@pytest.mark.parametrize(
    ("field", "given", "stored"),
    [
        ("place", "a/b.mp4", Path("a/b.mp4")),
        ("rate", "60000/1001", Fraction(60000, 1001)),
        ("rate", 0.1, Fraction(1, 10)),
        ("rate", 25, 25),
        ("names", ["x", "y"], ("x", "y")),
        ("count", np.int64(3), 3),
        ("count", None, None),
        ("mode", "b", "b"),
        ("other", [object], [object]),
    ],
)
def test_what_a_value_means_is_stored(field: str, given: Any, stored: Any) -> None:
    found = getattr(Everything(**{field: given}), field)
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        ("switch", 1, "switch is 1, wanted True or False"),
        ("switch", None, "switch is None, wanted True or False"),
        ("count", True, "count is True, wanted an integer"),
        ("count", 2.0, "count is 2.0, wanted an integer"),
        ("name", b"x", "wanted text"),
        ("place", 3, "place is 3, wanted a path"),
        ("rate", "x", "rate is 'x': wanted a number such as"),
        ("rate", float("nan"), "rate is 'nan': wanted a number"),
        ("rate", True, "rate is True, wanted a number such as 2, 2.5 or 60000/1001"),
        ("mode", "c", "mode is 'c', wanted one of a, b"),
        ("mode", ["a"], "wanted one of a, b"),
        ("names", "x", "names is 'x', wanted a tuple, each text"),
        ("names", (1,), "names is 1, wanted text"),
    ],
)
def test_what_has_no_meaning_is_refused(field: str, given: Any, words: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        Everything(**{field: given})
    assert words in str(refusal.value)


@pytest.mark.parametrize(
    ("cls", "given"),
    [
        (fg.Interpolate, {"ends": "x"}),
        (fg.Interpolate, {"device": 1}),
        (fg.Interpolate, {"model": None}),
        (fg.Upscale, {"scale": "2"}),
        (fg.Upscale, {"steady": "yes"}),
        (CompactOptions, {"tile": "64"}),
        (fg.VideoFile, {"path": 3}),
        (fg.VideoFile, {"path": "a.mp4", "start": "x"}),
        (fg.VideoFile, {"path": "a.mp4", "max_frames": "3"}),
        (fg.ImageSequence, {"path": "a", "in_fps": None}),
        (VideoPipe, {"max_pixels": "1"}),
        (fg.VideoOutput, {"path": "a.mp4", "crf": "18"}),
        (fg.VideoOutput, {"path": "a.mp4", "overwrite": 1}),
        (fg.ImageOutput, {"path": "a", "png_level": "x"}),
        (RecordOutput, {"path": 1}),
        (fg.Limits, {"ram": 2}),
        (fg.Limits, {"threads": "4"}),
        (fg.ResumeOptions, {"work": 3}),
        (fg.ResumeOptions, {"restart": None}),
    ],
)  # fmt: skip
def test_every_definition_checks_its_settings(cls: Any, given: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        cls(**given)


def test_a_path_may_be_text() -> None:
    assert fg.VideoFile("a.mp4") == fg.VideoFile(Path("a.mp4"))  # type: ignore[arg-type]
    assert fg.VideoOutput("a.mp4").suffix == ".mp4"  # type: ignore[arg-type]
