"""Wrapped model stages: cached results change no byte, and outputs of networks are checked."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.events import Committed
from filmgate.core.frame import StreamSpec
from filmgate.core.stage import AnyStage
from filmgate.core.wrappers.cached import CachedStage
from filmgate.core.wrappers.model_stage import ModelStage, find_model_stages
from filmgate.errors import BadOutput, BadSetting
from filmgate.flow.stage import Flow
from filmgate.models.families.film import FilmOptions
from filmgate.models.families.raft.estimator import RaftEstimator, open_network
from filmgate.pipeline.wrapping import wrap_stages
from filmgate.storage.result_cache import open_cache
from filmgate.tasks.job_config import task_from
from tests import videos
from tests.cases import mark_slow_cases
from tests.models import tiny

VIDEO = videos.Video(frames=8)


@pytest.fixture(autouse=True)
def use_own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return videos.make(VIDEO, tmp_path / "in.mp4")


def make(source: Path, task: fg.Task, **limits: object) -> bytes:
    """Return the bytes of the result."""
    sink = fg.VideoOutput(source.with_name("out.mkv"), codec="ffv1", overwrite=True)
    fg.run(task, source, sink, limits=fg.Limits(**limits))  # type: ignore[arg-type]
    return sink.path.read_bytes()


def read_counts() -> Mapping[str, int]:
    return open_cache().total()


@pytest.mark.parametrize("model", mark_slow_cases(["dis"], ["dis", "film"]))
def test_cached_results_change_no_byte(source: Path, model: str) -> None:
    task = tiny.with_weights(fg.Interpolate(model=model))
    wanted = make(source, task, guard=False)  # weights made by rule draw nonsense
    assert read_counts()["kept"] == 0, "nothing is cached by default"
    assert make(source, task, cache=True, guard=False) == wanted
    cold = read_counts()
    assert cold["hits"] == 0
    assert cold["kept"] > VIDEO.frames, "each frame, and the end"
    assert make(source, task, cache=True, guard=False) == wanted
    assert read_counts()["hits"] == cold["kept"]
    assert read_counts()["kept"] == cold["kept"]


def test_another_setting_has_another_cache_key(source: Path) -> None:
    make(source, fg.Interpolate(factor=2), cache=True)
    make(source, fg.Interpolate(factor=3), cache=True)
    assert read_counts()["hits"] == 0


def test_damaged_results_are_computed_again(source: Path) -> None:
    wanted = make(source, fg.Interpolate(), cache=True)
    for kept in list(open_cache().files())[::3]:
        data = bytearray(kept.path.read_bytes())
        data[len(data) // 2] ^= 1
        kept.path.write_bytes(data)
    assert make(source, fg.Interpolate(), cache=True) == wanted
    assert read_counts()["damaged"] > 0


def test_stopped_run_resumes_with_a_cold_or_a_warm_cache(source: Path) -> None:
    def stop() -> None:
        job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(),))
        events = fg.events(job, fg.Plan(chunk=2, segment_frames=4, cache=True))
        next(event for event in events if isinstance(event, Committed))
        events.close()

    sink = fg.VideoOutput(source.with_name("out.mkv"), codec="ffv1", overwrite=True)
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(),))
    list(fg.events(job, fg.Plan(chunk=2, segment_frames=4)))
    wanted = sink.path.read_bytes()
    for _ in "cold", "warm":
        stop()
        list(fg.events(job, fg.Plan(chunk=2, segment_frames=4, cache=True)))
        assert sink.path.read_bytes() == wanted


def test_black_output_of_a_network_is_an_error_with_its_time(source: Path) -> None:
    dark = {name: torch.zeros_like(tensor) for name, tensor in tiny.film_tensors().items()}
    save_file(dark, source.with_name("dark.safetensors"))
    task = fg.Interpolate(
        model="film", options=FilmOptions(weights=source.with_name("dark.safetensors"))
    )
    with pytest.raises(BadOutput, match=r"interpolate, at 0\.\d+ s of its input: image \d+ is "
                                         "blank") as error:  # fmt: skip
        make(source, task)
    assert error.value.kind == "black"
    assert not source.with_name("out.mkv").exists()
    assert make(source, task, guard=False), "the check can be turned off"


def test_output_that_is_not_finite_never_becomes_an_image(source: Path) -> None:
    broken = tiny.film_tensors()
    broken["fuse.output_conv.bias"][0] = torch.nan
    save_file(broken, source.with_name("broken.safetensors"))
    task = fg.Interpolate(
        model="film", options=FilmOptions(weights=source.with_name("broken.safetensors"))
    )
    with pytest.raises(BadOutput, match=r"after 0.000 s: .* NaN or infinite; try another"):
        make(source, task, guard=False)


def test_dtype_and_tile_can_be_chosen(source: Path) -> None:
    options = FilmOptions(weights=tiny.weights("film"), dtype="bfloat16", tile=64)
    task = fg.Interpolate(model="film", options=options)
    assert make(source, task, guard=False)
    with pytest.raises(BadSetting, match="tile is 65: pass 64, 128"):
        FilmOptions(tile=65)
    with pytest.raises(BadSetting, match="dtype is an option of film and rife, and the model is"):
        task_from({"task": "interpolate", "dtype": "float16"})


def test_stages_within_a_model_stage_are_not_cached_themselves(source: Path) -> None:
    """As in a network guided by flow: the weights of both are part of the key."""
    inner, plain = ModelStage(each(list, name="flow"), settings="a", weights="one"), each(list)
    outer = ModelStage(Chain((inner, plain)), settings="b", weights="two", label="outer")
    assert list(find_model_stages(Chain((plain, outer)))) == [outer, inner]
    spec = StreamSpec(width=8, height=8, rate=None, time_base=Fraction(1, 25), pixels="gray")

    def cache(flow: ModelStage) -> CachedStage:
        chain = Chain((replace(outer, stage=Chain((flow, plain))),))
        (stage,) = wrap_stages(chain, spec, fg.Plan(cache=True), fg.VideoFile(source))
        assert isinstance(stage, CachedStage)
        inside = stage.stage.stage  # type: ignore[attr-defined]
        assert stage.name == "outer"
        assert isinstance(inside, Chain)
        assert not isinstance(inside.stages[0], CachedStage)
        return stage

    assert cache(inner).key == cache(inner).key
    assert cache(inner).key != cache(replace(inner, weights="three")).key


def test_low_memory_changes_the_key_only_of_stages_that_have_such_a_form(source: Path) -> None:
    spec = StreamSpec(width=8, height=8, rate=None, time_base=Fraction(1, 25), pixels="gray")

    def key(stage: AnyStage, low_memory: bool) -> str:
        chain = Chain((ModelStage(stage, settings="a"),))
        (wrapped,) = wrap_stages(
            chain, spec, fg.Plan(cache=True, low_memory=low_memory), fg.VideoFile(source)
        )
        assert isinstance(wrapped, CachedStage)
        return wrapped.key

    flow = RaftEstimator(open_network(tiny.weights("raft_small"), torch.float32, "cpu"))
    assert key(each(list), True) == key(each(list), False)
    assert key(Flow(flow), True) != key(Flow(flow), False)
