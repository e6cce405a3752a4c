"""Costly stages: results taken from the cache change no byte; what a network makes is looked at."""

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
from filmgate.models.families import raft
from filmgate.pipeline.wrapping import dressed
from filmgate.storage.result_cache import opened
from tests import videos
from tests.models import tiny

VIDEO = videos.Video(frames=24)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILMGATE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return videos.make(VIDEO, tmp_path / "in.mp4")


def made(source: Path, task: fg.Task, **limits: object) -> bytes:
    """The result's bytes."""
    sink = fg.VideoOutput(source.with_name("out.mkv"), codec="ffv1", overwrite=True)
    fg.run(task, source, sink, limits=fg.Limits(**limits))  # type: ignore[arg-type]
    return sink.path.read_bytes()


def counts() -> Mapping[str, int]:
    return opened().total()


@pytest.mark.parametrize("model", ["dis", "film"])
def test_kept_results_change_no_byte(source: Path, model: str) -> None:
    task = fg.Interpolate(model=model, weights=tiny.weights(model) if model == "film" else None)
    wanted = made(source, task, guard=False)  # numbers drawn by rule draw what can't be right
    assert counts()["kept"] == 0, "nothing is kept where nobody asked"
    assert made(source, task, cache=True, guard=False) == wanted
    cold = counts()
    assert cold["hits"] == 0
    assert cold["kept"] > VIDEO.frames, "each frame, and the end"
    assert made(source, task, cache=True, guard=False) == wanted
    assert counts()["hits"] == cold["kept"]
    assert counts()["kept"] == cold["kept"]


def test_another_setting_is_another_result(source: Path) -> None:
    made(source, fg.Interpolate(factor=2), cache=True)
    made(source, fg.Interpolate(factor=3), cache=True)
    assert counts()["hits"] == 0


def test_damage_is_made_again(source: Path) -> None:
    wanted = made(source, fg.Interpolate(), cache=True)
    for kept in list(opened().files())[::3]:
        data = bytearray(kept.path.read_bytes())
        data[len(data) // 2] ^= 1
        kept.path.write_bytes(data)
    assert made(source, fg.Interpolate(), cache=True) == wanted
    assert counts()["damaged"] > 0


def test_a_stopped_run_goes_on_from_a_cold_or_a_warm_cache(source: Path) -> None:
    def stopped() -> None:
        job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(),))
        events = fg.events(job, fg.Plan(chunk=4, segment_frames=8, cache=True))
        next(event for event in events if isinstance(event, Committed))
        events.close()

    sink = fg.VideoOutput(source.with_name("out.mkv"), codec="ffv1", overwrite=True)
    job = fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(),))
    list(fg.events(job, fg.Plan(chunk=4, segment_frames=8)))
    wanted = sink.path.read_bytes()
    for _ in "cold", "warm":
        stopped()
        list(fg.events(job, fg.Plan(chunk=4, segment_frames=8, cache=True)))
        assert sink.path.read_bytes() == wanted


def test_a_network_that_goes_black_is_told_with_its_time(source: Path) -> None:
    dark = {name: torch.zeros_like(tensor) for name, tensor in tiny.film_tensors().items()}
    save_file(dark, source.with_name("dark.safetensors"))
    task = fg.Interpolate(model="film", weights=source.with_name("dark.safetensors"))
    with pytest.raises(BadOutput, match=r"interpolate, at 0\.\d+ s of its input: picture \d+ is "
                                         "blank") as told:  # fmt: skip
        made(source, task)
    assert told.value.kind == "black"
    assert not source.with_name("out.mkv").exists()
    assert made(source, task, guard=False), "who wants it all the same gets it"


def test_numbers_that_are_not_finite_never_become_a_picture(source: Path) -> None:
    broken = tiny.film_tensors()
    broken["fuse.output_conv.bias"][0] = torch.nan
    save_file(broken, source.with_name("broken.safetensors"))
    task = fg.Interpolate(model="film", weights=source.with_name("broken.safetensors"))
    with pytest.raises(BadOutput, match=r"behind 0.000 s: .* NaN or infinite; another --dtype"):
        made(source, task, guard=False)


def test_numbers_and_tiles_are_a_persons_own(source: Path) -> None:
    task = fg.Interpolate(model="film", weights=tiny.weights("film"), dtype="bfloat16", tile=64)
    assert made(source, task, guard=False)
    with pytest.raises(BadSetting, match="tile is 65: wanted 64, 128"):
        fg.Interpolate(model="film", tile=65)
    with pytest.raises(BadSetting, match="dtype is float16 and the model dis has no such thing"):
        made(source, fg.Interpolate(dtype="float16"))


def test_of_what_is_costly_within_a_costly_stage_the_whole_is_kept(source: Path) -> None:
    """As a network led by flow: weights of both tell results apart; flow is not kept besides."""
    inner, plain = ModelStage(each(list, name="flow"), settings="a", weights="one"), each(list)
    outer = ModelStage(Chain((inner, plain)), settings="b", weights="two", called="whole")
    assert list(find_model_stages(Chain((plain, outer)))) == [outer, inner]
    spec = StreamSpec(width=8, height=8, rate=None, time_base=Fraction(1, 25), pixels="gray")

    def kept(flow: ModelStage) -> CachedStage:
        line = Chain((replace(outer, stage=Chain((flow, plain))),))
        (stage,) = dressed(line, spec, fg.Plan(cache=True), fg.VideoFile(source))
        assert isinstance(stage, CachedStage)
        within = stage.stage.stage  # type: ignore[attr-defined]
        assert stage.name == "whole"
        assert isinstance(within, Chain)
        assert not isinstance(within.stages[0], CachedStage)
        return stage

    assert kept(inner).key == kept(inner).key
    assert kept(inner).key != kept(replace(inner, weights="three")).key


def test_only_what_can_be_lean_is_another_result_when_it_is(source: Path) -> None:
    spec = StreamSpec(width=8, height=8, rate=None, time_base=Fraction(1, 25), pixels="gray")

    def key(stage: AnyStage, lean: bool) -> str:
        line = Chain((ModelStage(stage, settings="a"),))
        (made,) = dressed(line, spec, fg.Plan(cache=True, low_memory=lean), fg.VideoFile(source))
        assert isinstance(made, CachedStage)
        return made.key

    flow = raft.RaftFlow(raft.opened(tiny.weights("raft_small"), torch.float32, "cpu"))
    assert key(each(list), True) == key(each(list), False)
    assert key(Flow(flow), True) != key(Flow(flow), False)
