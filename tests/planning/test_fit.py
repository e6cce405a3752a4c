"""Fit: stages are measured, and a budget is kept or refused with the reasons."""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filmgate as fg
from filmgate.core.adapters import blocks, each, windowed
from filmgate.core.chain import Chain
from filmgate.core.events import Replanned
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.instrumentation.memory import Peak
from filmgate.core.model_cache import ModelCache
from filmgate.core.plan import Plan
from filmgate.core.run import run
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.errors import BadSetting, DoesNotFit, OutOfMemory, Unsupported
from filmgate.media.sources import VideoPipe
from filmgate.planning import measure
from filmgate.planning.costs import (
    Costs,
    LinearCost,
    predict_device_bytes,
    predict_host_bytes,
    predict_seconds,
)
from filmgate.planning.encoder_memory import TABLE, iter_cheaper_presets, predict_encoder_memory
from filmgate.planning.fit import Fit, fit
from filmgate.planning.limits import Budget, Limits
from filmgate.planning.measure import bounce_frames, measure_stage
from filmgate.planning.optimizer import choose_plan, find_smallest_plan
from tests import videos
from tests.core.in_memory import MemorySink, MemorySource
from tests.house.tree import ROOT
from tests.laws.synthetic import make_video

MB = 10**6
SPEC = StreamSpec(width=8, height=8, rate=Fraction(25), time_base=Fraction(1, 25), pixels="grey")
IMAGE = np.zeros(MB, np.uint8)
FRAMES = [Frame(i, Fraction(i, 25), Fraction(1, 25), IMAGE + i) for i in range(4)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return videos.make(videos.Video(frames=20), tmp_path / "in.mp4")


def job_of(source: Path, **output: Any) -> fg.Job:
    sink = fg.VideoOutput(source.with_name("out.mp4"), **output)
    return fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))


def use_memory(frames: Sequence[Frame]) -> list[Frame]:
    """Touch 20 MB, and 10 MB more for each frame; return images of 1 MB."""
    scratch = np.ones((20 + 10 * len(frames)) * MB, np.uint8)
    return [frame.with_image(np.full(MB, scratch[0])) for frame in frames]


@dataclass(frozen=True)
class LargeStage(StageWrapper):
    """A stage that holds 60 MB in a step, or 1 MB in its form for low memory."""

    held: int = 60 * MB

    def low_memory(self) -> "LargeStage":
        return replace(self, held=MB)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        assert np.ones(self.held, np.uint8)[-1]
        return super().step(state, frames)


@dataclass(frozen=True)
class LargeTask:
    """A task with one such stage."""

    time_scale: Fraction = Fraction(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (ModelStage(LargeStage(each(list, name="large")), settings=""),)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        yield from shown


def test_low_memory_form_is_used_if_the_budget_needs_it(source: Path) -> None:
    job = replace(job_of(source), tasks=(LargeTask(),))
    wide = fit(job, budget=Budget(10**12))
    assert not wide.plan.low_memory
    assert wide.choice.reasons["low_memory"] == "the fastest form fits"
    tight = fit(job, budget=Budget(sum(wide.host.values()) - 30 * MB))
    assert tight.plan.low_memory
    assert tight.choice.reasons["low_memory"] == "turned on to fit the budget"
    assert sum(tight.host.values()) < sum(wide.host.values()) - 45 * MB


def test_two_batches_give_the_fixed_cost_of_a_stage_and_the_cost_per_frame() -> None:
    cost, outputs, ratio, _ = measure_stage(each(use_memory), SPEC, FRAMES)
    assert cost.host.fixed == pytest.approx(20 * MB, abs=3 * MB)
    assert cost.host.per_item == pytest.approx(11 * MB, abs=2 * MB)
    assert cost.new_bytes_per_frame == MB
    assert cost.state_bytes < 1000
    assert (ratio, len(outputs)) == (Fraction(1), 4)


def test_images_that_are_passed_on_are_not_new_and_held_ones_are_state() -> None:
    passing = windowed(lambda windows: [[w.centre] for w in windows], 1, 2, name="passing")
    cost, outputs, _, _ = measure_stage(passing, SPEC, FRAMES)
    assert cost.new_bytes_per_frame == 0
    assert cost.state_bytes == pytest.approx(6 * MB, abs=4 * MB)  # frames short of a batch, too
    assert {id(frame.image) for frame in outputs} <= {id(frame.image) for frame in FRAMES}


def test_stage_that_waits_for_a_clip_is_measured_until_one_is_complete() -> None:
    clips = blocks(lambda frames: [frame.image for frame in frames], 12, 4, name="clips")
    cost, outputs, ratio, _ = measure_stage(clips, replace(SPEC, rate=None), FRAMES)
    assert cost.recompute == Fraction(12, 8)
    assert ratio == 1
    assert len(outputs) == 4


def test_stage_that_fits_only_one_frame_is_measured_with_one_and_none_is_an_error() -> None:
    def limited(most: int) -> Any:
        def fn(frames: Sequence[Frame]) -> Sequence[Frame]:
            if len(frames) > most:
                raise MemoryError("full")
            return frames

        return each(fn)

    with pytest.raises(OutOfMemory, match="full"):
        measure_stage(limited(0), SPEC, FRAMES)
    assert measure_stage(limited(1), SPEC, FRAMES)[0].host.at(1) < MB


def test_bounced_frames_are_one_video_without_shot_boundaries() -> None:
    marked = [frame.with_extras(cut=True, notice="x") for frame in FRAMES]
    shown = list(islice(bounce_frames(marked, SPEC), 8))
    assert [int(frame.image[0]) for frame in shown] == [0, 1, 2, 3, 2, 1, 0, 1]  # type: ignore[index]
    assert [frame.index for frame in shown] == list(range(8))
    assert all(b.time == a.end for a, b in pairwise(shown))
    assert all(frame.extras == {"notice": "x"} for frame in shown)


def test_fit_predicts_memory_time_and_disk(source: Path) -> None:
    result = fit(job_of(source), Limits(threads=1, batch=2))
    assert isinstance(result, Fit)
    assert result.plan.decode_threads == 1
    assert result.plan.batches == (2, 2, 2)
    assert [stage.name for stage in result.costs.stages] == ["shots", "interpolate", "durations"]
    assert [stage.frames_in for stage in result.costs.stages] == [1, 1, 2]
    assert result.costs.output_ratio == 2
    assert result.seconds
    assert result.disk_bytes
    assert sum(result.host.values()) <= result.budget.host
    assert fg.run(job_of(source).tasks, source, job_of(source).sink, plan=result.plan).written == 40


def test_too_small_budget_is_refused_with_one_that_is_enough(source: Path) -> None:
    with pytest.raises(
        DoesNotFit,
        match=r"pass --ram \d+MB; or pass --preset fast, .* \d+MB; .* --preset ultrafast, .* \d+MB",
    ) as caught:
        fit(job_of(source), budget=Budget(MB))
    assert caught.value.exit_code == 2
    assert fit(job_of(source), budget=Budget(caught.value.needed_bytes))
    with pytest.raises(DoesNotFit, match="omit --chunk"):
        fit(job_of(source), Limits(chunk=8), Budget(MB))


def test_variable_rate_and_a_single_frame_can_be_measured(tmp_path: Path) -> None:
    uneven = videos.make(videos.VIDEOS["uneven"], tmp_path / "in.mp4")
    assert fit(job_of(uneven)).costs.output_ratio == 2
    single = videos.make(videos.Video(frames=1), tmp_path / "one.mp4")
    assert fit(job_of(single)).plan.chunk >= 1


def test_pipe_cannot_be_measured() -> None:
    with pytest.raises(Unsupported, match=r"cannot measure a pipe: .* Pass a file, or omit --ram"):
        fit(fg.Job(VideoPipe(), fg.VideoOutput(Path("out.mp4"))))


def test_limits_become_fields_of_the_plan() -> None:
    limits = Limits(ram="2GB", batch=4, threads=3)
    assert limits.budget.host == 2 * 10**9
    assert limits.plan_fields(SPEC, 2) == {
        "batches": (4, 4), "decode_threads": 3, "encode_threads": 3, "opencv_threads": 3
    }  # fmt: skip
    assert Limits(segment=Fraction(2)).plan_fields(SPEC, 1) == {"segment_frames": 48}
    assert Limits(chunk=3).plan_fields(SPEC, 1) == {"chunk": 3, "segment_frames": 96}
    assert Limits().plan_fields(SPEC, 2) == {}
    assert Limits().budget.host > MB
    with pytest.raises(BadSetting, match="batch is 3: pass a power of two"):
        Limits(batch=3)
    with pytest.raises(BadSetting, match="threads is 0"):
        Limits(threads=0)


# --- a device with a fake allocator ---------------------------------------------------------------


@dataclass
class Device:
    """Counts bytes like an allocator, and has `room` of them."""

    room: int = 1 << 60
    peak: int = 0

    def net(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        held = 500 * MB + len(frames) * 70 * MB
        if held > self.room:
            raise MemoryError(f"{held} of {self.room}")
        self.peak = max(self.peak, held)
        return frames

    @contextmanager
    def measure(self) -> Iterator[Peak]:
        self.peak, seen = 0, Peak()
        yield seen
        seen.bytes = self.peak


def test_no_run_exceeds_its_device_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    monkeypatch.setattr(measure, "_measure_device_peak", device.measure)
    stage = each(device.net)
    cost = measure_stage(stage, SPEC, FRAMES)[0]
    cost = replace(cost, seconds=LinearCost(1.0, 0.01))  # batches save time
    assert (cost.device.fixed, cost.device.per_item) == (500 * MB, 70 * MB)
    costs = Costs(program=MB, input_bytes=1000, result_bytes=1000, stages=(cost,))
    seen = set[int]()
    for budget in range(500 * MB, 3000 * MB, 90 * MB):
        choice = choose_plan(costs, 10**10, budget, {})
        if choice is None:
            assert budget < 570 * MB
            continue
        device.room, device.peak = budget, 0
        chain = Chain((stage,), choice.plan.batches)
        events = list(run(MemorySource(make_video([25] * 70, 0)), chain, MemorySink(), choice.plan))
        assert not any(isinstance(event, Replanned) for event in events)
        assert device.peak <= predict_device_bytes(costs, choice.plan) <= budget
        seen.update(choice.plan.batches)
    assert seen == {1, 2, 4, 8, 16, 32}


def test_too_small_device_is_refused_with_one_that_is_enough(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def peak() -> Iterator[Peak]:
        yield Peak(700 * MB)

    monkeypatch.setattr(measure, "_measure_device_peak", peak)
    with pytest.raises(DoesNotFit, match="700MB on the device, and --vram is 600MB") as caught:
        fit(job_of(source), budget=Budget(10**11, 600 * MB))
    assert fit(job_of(source), budget=Budget(10**11, caught.value.needed_bytes))


# --- encoders -------------------------------------------------------------------------------------


def test_table_of_encoders_has_the_measured_values() -> None:
    result = json.loads((ROOT / "bench" / "results" / "codec_memory.json").read_text())
    rows = {name: (row["fixed_mb"], row["per_sample"]) for name, row in result["codecs"].items()}
    assert set(rows) == set(TABLE)
    for name, row in TABLE.items():
        assert row == pytest.approx(rows[name], abs=0.6), name


@pytest.mark.parametrize(
    ("name", "size", "pixels", "threads"),
    [
        ("1 thread", (1280, 720), "yuv420p", 1),
        ("4 threads", (1280, 720), "yuv420p", 4),
        ("8 threads", (1280, 720), "yuv420p", 8),
        ("10 bits", (1280, 720), "yuv420p10le", 2),
        ("444", (1280, 720), "yuv444p", 2),
        ("1080p", (1920, 1080), "yuv420p", 2),
        ("240p", (320, 240), "yuv420p", 2),
        ("2160p", (3840, 2160), "yuv420p", 2),
    ],
)
def test_memory_of_other_sizes_and_formats_follows_from_the_table(
    name: str, size: tuple[int, int], pixels: str, threads: int
) -> None:
    result = json.loads((ROOT / "bench" / "results" / "codec_memory.json").read_text())
    spec = replace(SPEC, width=size[0], height=size[1], pixels=pixels)
    said = predict_encoder_memory(fg.VideoOutput(Path("o.mp4")), spec).at(threads)
    assert 1.0 <= said / (result["h264_medium_mb"][name] * MB) < 1.12


def test_unknown_preset_costs_as_much_as_the_largest_of_its_codec() -> None:
    spec = replace(SPEC, width=1280, height=720, pixels="yuv420p")
    default = fg.VideoOutput(Path("o.mp4"))
    placebo = predict_encoder_memory(replace(default, preset="placebo"), spec)
    assert placebo == predict_encoder_memory(replace(default, preset="veryslow"), spec)
    names = [name for name, _ in iter_cheaper_presets(default, spec)]
    assert names == ["fast", "ultrafast"]
    for output in (
        replace(default, preset="ultrafast"),
        fg.VideoOutput(Path("o.mkv"), codec="ffv1"),
    ):
        assert not list(iter_cheaper_presets(output, spec))


def test_smallest_plan_counts_every_part() -> None:
    costs = Costs(program=MB, input_bytes=1000, result_bytes=2000)
    parts = predict_host_bytes(costs, find_smallest_plan(costs, {}))
    parts_of_a_worker = predict_host_bytes(replace(costs, parent=MB), find_smallest_plan(costs, {}))
    assert parts.pop("snapshot") == 0  # no stage has a state
    assert all(parts.values())
    assert list(parts) == ["program", "decoder", "queue in", "stages", "queue out", "encoder"]
    assert parts_of_a_worker.keys() - parts.keys() == {"snapshot", "parent"}
    assert parts_of_a_worker["parent"] > MB
    assert Plan(batches=()).batches == ()


@pytest.mark.slow
def test_time_and_disk_grow_with_the_number_of_frames_and_memory_does_not(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=170), tmp_path / "in.mp4")
    result = {}
    for count in (25, 49, 81, 161):
        job = replace(job_of(source), source=fg.VideoFile(source, max_frames=count))
        result[count] = fit(job, budget=Budget(2000 * MB))
        assert result[count].costs.frames == count
        assert result[count].result_spec.frames == 2 * count
        each = predict_seconds(result[count].costs, result[count].plan)
        assert result[count].seconds == pytest.approx(count * max(each.values()))
    disk = [one.disk_bytes or 0 for one in result.values()]
    assert disk[0] > 0
    assert [after / disk[0] for after in disk] == pytest.approx(
        [1, 49 / 25, 81 / 25, 161 / 25], 0.2
    )
    peaks = [sum(one.host.values()) for one in result.values()]
    assert max(peaks) < 1.2 * min(peaks)
