"""Building a pipeline: networks are loaded once for planning and running, and only if needed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

import filmgate as fg
from filmgate.pipeline.build import build
from filmgate.planning.fit import fit, plan_within
from tests import videos
from tests.models import tiny

LIMITS = fg.Limits(guard=False)  # the output of the tiny network is nonsense


@pytest.fixture
def job(tmp_path: Path) -> fg.Job:
    source = videos.make(videos.Video(frames=4), tmp_path / "in.mp4")
    sink = fg.VideoOutput(tmp_path / "out.mkv", codec="ffv1", overwrite=True)
    task = tiny.with_weights(fg.Interpolate(model="film"))
    return fg.Job(fg.VideoFile(source), sink, (task,))


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of weights that were opened, in order."""
    paths: list[Path] = []

    def load(path: Path, device: str) -> Any:
        paths.append(path)
        return load_file(path, device=device)

    monkeypatch.setattr("filmgate.weights.state_dict.load_file", load)
    return paths


def test_weights_are_opened_once_for_planning_and_running(job: fg.Job, opened: list[Path]) -> None:
    events = list(fg.events(job, limits=fg.Limits(ram="16GB", guard=False)))
    assert isinstance(events[-1], fg.Done)
    assert len(opened) == 1


@pytest.mark.slow
def test_fit_leaves_its_networks_to_the_run_and_to_the_next_job(
    job: fg.Job, opened: list[Path]
) -> None:
    models = fg.ModelCache()
    plan = fit(job, LIMITS, models=models).plan
    for _ in range(2):
        list(fg.events(job, plan, models=models))
    assert len(opened) == 1


def test_limits_without_a_budget_open_no_weights(job: fg.Job, opened: list[Path]) -> None:
    limits = fg.Limits(batch=4, guard=False)
    assert plan_within(job, limits) is None
    assert opened == []
    events = list(fg.events(job, limits=limits))
    (started,) = [event for event in events if isinstance(event, fg.Started)]
    assert started.plan.batches == (4,) * len(started.stages)
    assert len(opened) == 1


def test_pipelines_share_networks_whatever_the_size_of_their_video(
    job: fg.Job, opened: list[Path], tmp_path: Path
) -> None:
    other = videos.make(videos.Video(size=(48, 64), frames=2), tmp_path / "other.mp4")
    models = fg.ModelCache()
    for source in (job.source, fg.VideoFile(other)):
        with source.open() as video:
            build(fg.Job(source, job.sink, job.tasks), video.spec, models)
    assert len(opened) == 1


def test_applied_plan_sets_batches_and_checks(job: fg.Job) -> None:
    with job.source.open() as video:
        pipeline = build(job, video.spec)
        assert pipeline.output == pipeline.chain.output(video.spec)
        plan = fg.Plan(batches=(2,) * len(pipeline.chain.stages), guard=False)
        plain, checked = pipeline.apply(plan), pipeline.apply(replace(plan, guard=True))
    assert plain.batches == checked.batches == plan.batches
    assert plain.names == checked.names == pipeline.chain.names
    assert plain.stages != checked.stages
