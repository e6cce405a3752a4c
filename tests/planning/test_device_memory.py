"""Memory on a GPU is predicted without the weights of any task."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.frame import ColorTags, Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.models.contracts import DescribesOutput, MemoryPrediction
from filmgate.planning.device_memory import predict_memory
from filmgate.tasks import interpolate, upscale
from tests import videos
from tests.models import tiny

HEAVY = "diffvsr"
SPEC = StreamSpec(width=64, height=48, rate=Fraction(25), time_base=Fraction(1, 12800),
                  pixels="yuv420p", frames=7, colour=ColorTags(range="tv"))  # fmt: skip
ROW = MemoryPrediction("ours", "float16", None, {"all": 10**9})


@dataclass(frozen=True)
class Predicted:
    """A task whose memory is known."""

    time_scale: Fraction = Fraction(1)

    def predict_memory(self, spec: StreamSpec) -> tuple[MemoryPrediction, ...]:
        return (ROW,)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        raise AssertionError("it is built")

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        return iter(frames)


@dataclass(frozen=True)
class Halved:
    """A task that only its stages describe."""

    time_scale: Fraction = Fraction(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(list, output=lambda spec: replace(spec, width=spec.width // 2)),)

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        return iter(frames)


def test_no_weights_are_loaded_for_a_prediction(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=4), tmp_path / "in.mp4")
    sink = fg.VideoOutput(tmp_path / "out.mp4")
    missing = fg.Interpolate(model="film", factor=3)  # its weights are not on this machine
    job = fg.Job(fg.VideoFile(source), sink, (missing, fg.Upscale(), Halved(), Predicted()))
    found = predict_memory(job)
    assert found is not None
    spec, rows = found
    assert (spec.width, spec.height, spec.rate) == (64, 96, Fraction(75))
    assert rows == (ROW,)
    assert predict_memory(replace(job, tasks=(missing,))) is None


MODELS = ModelCache()  # each network is made once, not for each spec
SAMPLES = [task for task in (*interpolate.samples(), *upscale.samples()) if task.model != HEAVY]


@pytest.mark.parametrize("task", SAMPLES, ids=lambda task: f"{type(task).__name__} {task.model}")
@pytest.mark.parametrize(
    "spec",
    [SPEC, replace(SPEC, width=640, height=400), replace(SPEC, rate=None, frames=None),
     replace(SPEC, pixels="yuv444p10le", dtype="uint16", colour=ColorTags(matrix="bt709"))],
)  # fmt: skip
def test_a_task_describes_what_its_stages_make(
    task: fg.Interpolate | fg.Upscale, spec: StreamSpec
) -> None:
    assert isinstance(task, DescribesOutput)
    made = Chain(tiny.with_weights(task).stages(spec, MODELS)).output(spec)
    assert task.describe_output(spec) == made
