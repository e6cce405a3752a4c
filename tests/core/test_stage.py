"""What is no stage or no task is refused with what it lacks."""

import gc
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filmgate as fg
from filmgate.core.adapters import blocks, each, windowed
from filmgate.core.chain import Chain
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.stage import StageWrapper, require_stage
from filmgate.errors import BadSetting, FilmgateError, StageContractError
from filmgate.testing import check_stage, make_sample_video
from tests import videos


def keep(frames: Sequence[Frame]) -> list[Frame]:
    return list(frames)


def make(adapter: Any, *settings: Any) -> Any:
    """Return a stage of a function of any type."""
    return adapter(*settings)


class OnlyStep:
    name = "only"

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def step(self, state: Any, frames: Any) -> Any:
        return state, frames


@dataclass(frozen=True)
class OtherArguments(StageWrapper):
    def step(self, frames: Any) -> Any:  # type: ignore[override]
        return frames


@dataclass(frozen=True)
class NoMethod(StageWrapper):
    finish: Any = None


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (OnlyStep(), "OnlyStep is no stage: it has no reach and no start and no finish, wanted"),
        (
            OtherArguments(each(keep)),
            r"OtherArguments.step takes \(frames.*called with 2 arguments",
        ),
        (NoMethod(each(keep)), "NoMethod.finish is None, wanted a method"),
        (OnlyStep, r"OnlyStep is a class, wanted a stage: pass OnlyStep\(...\)"),
        (keep, r"keep is a function, wanted a stage: pass each\(keep\)"),
        (None, "NoneType is no stage: it has no name"),
    ],
)
def test_a_stage_that_lacks_a_member_is_refused_everywhere(stage: Any, words: str) -> None:
    for use in (require_stage, check_stage, lambda stage: Chain((stage,))):
        with pytest.raises(StageContractError, match=words):
            use(stage)


@dataclass(frozen=True)
class Copy:
    """A task that returns what it is given as its stages."""

    returned: Any = ()
    time_scale = 1

    def stages(self, spec: StreamSpec, models: object = None) -> Any:
        return self.returned

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        return iter(frames)


class NoTimeline:
    time_scale = 1

    def stages(self, spec: StreamSpec, models: object = None) -> Any:
        return ()


@dataclass(frozen=True)
class NoModels(Copy):
    def stages(self, spec: StreamSpec) -> Any:  # type: ignore[override]
        return ()


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            NoTimeline(),
            "NoTimeline is no task: it has no timeline, wanted time_scale, stages, time",
        ),
        (NoModels(), r"NoModels.stages takes \(spec.*called with 2 arguments"),
        (Copy, r"Copy is a class, wanted a task: pass Copy\(...\)"),
        (keep, "keep is a function, wanted a task"),
        (each(keep), "Each is no task: it has no time_scale and no stages and no timeline"),
        ("interpolate", "str is no task"),
        (Copy(each(keep)), r"Copy.stages returned Each, wanted a tuple of stages"),
        (Copy((keep,)), r"pass each\(keep\)"),
    ],
)
def test_a_task_that_lacks_a_member_is_refused_by_every_call(
    task: Any, words: str, tmp_path: Path
) -> None:
    video = videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    with pytest.raises(FilmgateError, match=words):
        fg.run(task, video, tmp_path / "out.mp4")
    with pytest.raises(FilmgateError, match=words):
        list(fg.frames(task, video))
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (make(each, lambda frames: [f.image for f in frames]), "Planes in place of a Frame"),
        (make(each, lambda frames: frames[0]), "returned Frame, wanted a list"),
        (make(each, lambda frames: None), "returned NoneType, wanted a list"),
        (make(windowed, lambda windows: [w.centre for w in windows]), "Frame, wanted a list"),
        (make(windowed, lambda windows: [[w.centre.image] for w in windows]), "in place of a"),
        (make(blocks, lambda frames: None, 4), "returned NoneType, wanted a list"),
    ],
)
def test_the_error_for_a_function_without_frames_says_what_to_return(
    stage: Any, words: str
) -> None:
    with pytest.raises(StageContractError, match=words):
        check_stage(stage, make_sample_video(pixels="yuv420p"))


@pytest.mark.parametrize(
    ("adapter", "settings"),
    [
        (each, (None,)),
        (each, (keep, {"threads": 0})),
        (windowed, (keep, -1)),
        (windowed, (3,)),
        (blocks, ("", 4)),
        (blocks, (keep, 4, 4)),
    ],
)
def test_settings_of_adapters_are_checked_when_they_are_made(
    adapter: Any, settings: tuple[Any, ...]
) -> None:
    words = settings[-1] if isinstance(settings[-1], dict) else {}
    with pytest.raises(BadSetting):
        adapter(*settings[: len(settings) - bool(words)], **words)


def test_reprs_are_one_short_line() -> None:
    video = make_sample_video(pixels="yuv420p")
    assert repr(video.frames[10]) == "Frame(10: 0.4 s + 0.04 s, Planes(32x24 yuv420p), cut)"
    assert repr(video.spec) == "StreamSpec(32x24 yuv420p uint8, 25 fps)"
    assert repr(video.spec.colour) == "ColorTags(matrix='bt709', range='tv')"
    tensors = make_sample_video(13)
    assert repr(tensors.frames[0]) == "Frame(0: 0 s + 0.04 s, Tensor(3, 24, 32) float32)"
    varying = StreamSpec(width=4, height=2, rate=None, time_base=video.spec.time_base,
                         pixels="gray", device="cuda", frames=9)  # fmt: skip
    assert repr(varying) == "StreamSpec(4x2 gray uint8, variable rate, about 9 frames, cuda)"


def test_a_class_of_a_stage_is_freed_with_all_that_it_holds() -> None:
    def build() -> weakref.ref[Any]:
        held = np.zeros(3)

        class Local(StageWrapper):
            def step(self, state: Any, frames: Any) -> Any:
                return held, frames

        require_stage(Local(each(keep)))
        return weakref.ref(held)

    held = build()
    gc.collect()
    assert held() is None
