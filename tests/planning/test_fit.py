"""Fit: what a stage takes is found by trying it, and a budget is kept or refused with words."""

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
from filmgate.core.plan import Plan
from filmgate.core.run import run
from filmgate.core.stage import AnyStage, StageWrapper
from filmgate.core.wrappers.model_stage import ModelStage
from filmgate.errors import BadSetting, DoesNotFit, OutOfMemory, Unsupported
from filmgate.planning import encoder_memory
from filmgate.planning import measure as probes
from filmgate.planning.costs import Costs, LinearCost, device_bytes, host_bytes, seconds_each
from filmgate.planning.fit import Fit, fit
from filmgate.planning.limits import Budget, Limits
from filmgate.planning.measure import probe, to_and_fro
from filmgate.planning.optimizer import choose, smallest
from tests import videos
from tests.core.reel import Reel, WeightsStore
from tests.house.tree import ROOT
from tests.laws.synthetic import film_of

MB = 10**6
SPEC = StreamSpec(width=8, height=8, rate=Fraction(25), time_base=Fraction(1, 25), pixels="grey")
PICTURE = np.zeros(MB, np.uint8)
FRAMES = [Frame(i, Fraction(i, 25), Fraction(1, 25), PICTURE + i) for i in range(4)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return videos.make(videos.Video(frames=20), tmp_path / "in.mp4")


def job_of(source: Path, **output: Any) -> fg.Job:
    sink = fg.VideoOutput(source.with_name("out.mp4"), **output)
    return fg.Job(fg.VideoFile(source), sink, (fg.Interpolate(factor=2),))


def scratchy(frames: Sequence[Frame]) -> list[Frame]:
    """Touches 20 MB, and 10 more for each frame; makes pictures of 1 MB."""
    scratch = np.ones((20 + 10 * len(frames)) * MB, np.uint8)
    return [frame.made(np.full(MB, scratch[0])) for frame in frames]


@dataclass(frozen=True)
class Greedy(StageWrapper):
    """A stage that holds 200 MB while it works, or little."""

    held: int = 200 * MB

    def low_memory(self) -> "Greedy":
        return replace(self, held=MB)

    def step(self, state: Any, frames: Sequence[Frame]) -> tuple[Any, list[Frame]]:
        assert np.ones(self.held, np.uint8)[-1]
        return super().step(state, frames)


@dataclass(frozen=True)
class Greed:
    """A task of one such stage."""

    stretch: Fraction = Fraction(1)

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        return (ModelStage(Greedy(each(list, name="greedy")), settings=""),)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        yield from shown


def test_a_stage_that_can_do_with_less_memory_does_where_the_budget_wants_it(source: Path) -> None:
    job = replace(job_of(source), tasks=(Greed(),))
    wide = fit(job, budget=Budget(10**12))
    assert not wide.plan.low_memory
    assert wide.choice.reasons["low_memory"] == "what is fastest fits"
    tight = fit(job, budget=Budget(sum(wide.host.values()) - 100 * MB))
    assert tight.plan.low_memory
    assert tight.choice.reasons["low_memory"] == "made so to fit the budget"
    assert sum(tight.host.values()) < sum(wide.host.values()) - 150 * MB


def test_two_batches_tell_what_a_stage_takes_and_what_each_frame_adds() -> None:
    cost, made, more, _ = probe(each(scratchy), SPEC, FRAMES)
    assert cost.host.fixed == pytest.approx(20 * MB, abs=3 * MB)
    assert cost.host.per_item == pytest.approx(11 * MB, abs=2 * MB)
    assert cost.made_bytes == MB
    assert cost.state_bytes < 1000
    assert (more, len(made)) == (Fraction(1), 4)


def test_pictures_that_are_handed_on_are_not_new_and_those_held_are_remembered() -> None:
    passing = windowed(lambda windows: [[w.centre] for w in windows], 1, 2, name="passing")
    cost, made, _, _ = probe(passing, SPEC, FRAMES)
    assert cost.made_bytes == 0
    assert cost.state_bytes == pytest.approx(6 * MB, abs=4 * MB)  # frames short of a batch, too
    assert {id(frame.image) for frame in made} <= {id(frame.image) for frame in FRAMES}


def test_a_stage_that_waits_for_a_clip_is_tried_until_one_is_there() -> None:
    clips = blocks(lambda frames: [frame.image for frame in frames], 12, 4, name="clips")
    cost, made, more, _ = probe(clips, replace(SPEC, rate=None), FRAMES)
    assert cost.recompute == Fraction(12, 8)
    assert more == 1
    assert len(made) == 4


def test_a_stage_that_does_not_fit_with_one_frame_says_so_and_with_four_it_is_tried_with_one() -> (
    None
):
    def hungry(most: int) -> Any:
        def fn(frames: Sequence[Frame]) -> Sequence[Frame]:
            if len(frames) > most:
                raise MemoryError("full")
            return frames

        return each(fn)

    with pytest.raises(OutOfMemory, match="full"):
        probe(hungry(0), SPEC, FRAMES)
    assert probe(hungry(1), SPEC, FRAMES)[0].host.at(1) < MB


def test_frames_to_and_fro_are_one_film_without_a_cut() -> None:
    marked = [frame.learnt(cut=True, noted="x") for frame in FRAMES]
    shown = list(islice(to_and_fro(marked, SPEC), 8))
    assert [int(frame.image[0]) for frame in shown] == [0, 1, 2, 3, 2, 1, 0, 1]  # type: ignore[index]
    assert [frame.index for frame in shown] == list(range(8))
    assert all(b.time == a.end for a, b in pairwise(shown))
    assert all(frame.extras == {"noted": "x"} for frame in shown)


def test_a_fit_says_all_that_a_person_wants_to_know_first(source: Path) -> None:
    found = fit(job_of(source), Limits(threads=1, batch=2))
    assert isinstance(found, Fit)
    assert found.plan.decode_threads == 1
    assert found.plan.batches == (2, 2, 2)
    assert [stage.name for stage in found.costs.stages] == ["cuts", "interpolate", "until next"]
    assert [stage.fed for stage in found.costs.stages] == [1, 1, 2]
    assert found.costs.output_ratio == 2
    assert found.seconds
    assert found.disk_bytes
    assert sum(found.host.values()) <= found.budget.host
    assert fg.run(job_of(source).tasks, source, job_of(source).sink, plan=found.plan).written == 40


def test_a_budget_that_is_too_small_is_refused_with_one_that_would_do(source: Path) -> None:
    with pytest.raises(
        DoesNotFit, match=r"give --ram \d+MB; or --preset ultrafast, .* \d+MB"
    ) as caught:
        fit(job_of(source), budget=Budget(MB))
    assert caught.value.exit_code == 2
    assert fit(job_of(source), budget=Budget(int(1.05 * caught.value.needed_bytes)))
    with pytest.raises(DoesNotFit, match="leave chunk to us"):
        fit(job_of(source), Limits(chunk=8), Budget(MB))


def test_a_film_of_variable_rate_and_one_of_a_single_frame_are_tried_too(tmp_path: Path) -> None:
    uneven = videos.make(videos.VIDEOS["uneven"], tmp_path / "in.mp4")
    assert fit(job_of(uneven)).costs.output_ratio == 2
    single = videos.make(videos.Video(frames=1), tmp_path / "one.mp4")
    assert fit(job_of(single)).plan.chunk >= 1


def test_a_pipe_is_refused_with_words() -> None:
    with pytest.raises(Unsupported, match="a pipe can be read only once"):
        fit(fg.Job(fg.VideoFile(Path("-")), fg.VideoOutput(Path("out.mp4"))))


def test_limits_are_read_as_a_person_writes_them() -> None:
    limits = Limits(ram="2GB", batch=4, threads=3)
    assert limits.budget.host == 2 * 10**9
    assert limits.fixed(SPEC, 2) == {
        "batches": (4, 4), "decode_threads": 3, "encode_threads": 3, "opencv_threads": 3
    }  # fmt: skip
    assert Limits(segment=Fraction(2)).fixed(SPEC, 1) == {"segment_frames": 48}
    assert Limits(chunk=3).fixed(SPEC, 1) == {"chunk": 3, "segment_frames": 96}
    assert Limits().fixed(SPEC, 2) == {}
    assert Limits().budget.host > MB
    with pytest.raises(BadSetting, match="batch is 3: wanted a power of two"):
        Limits(batch=3)
    with pytest.raises(BadSetting, match="threads is 0"):
        Limits(threads=0)


# --- a device that is counted ---------------------------------------------------------------------


@dataclass
class Device:
    """Counts bytes as an allocator would, and has so many."""

    room: int = 1 << 60
    peak: int = 0

    def net(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        held = 500 * MB + len(frames) * 70 * MB
        if held > self.room:
            raise MemoryError(f"{held} of {self.room}")
        self.peak = max(self.peak, held)
        return frames

    @contextmanager
    def rising(self) -> Iterator[Peak]:
        self.peak, seen = 0, Peak()
        yield seen
        seen.bytes = self.peak


def test_a_sweep_of_budgets_never_goes_above(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    monkeypatch.setattr(probes, "_rising_on_device", device.rising)
    stage = each(device.net)
    cost = replace(probe(stage, SPEC, FRAMES)[0], seconds=LinearCost(1.0, 0.01))  # it pays to batch
    assert (cost.device.fixed, cost.device.per_item) == (500 * MB, 70 * MB)
    costs = Costs(program=MB, given_bytes=1000, result_bytes=1000, stages=(cost,))
    seen = set[int]()
    for budget in range(500 * MB, 3000 * MB, 90 * MB):
        choice = choose(costs, 10**10, budget, {})
        if choice is None:
            assert budget < 570 * MB
            continue
        device.room, device.peak = budget, 0
        chain = Chain((stage,), choice.plan.batches)
        events = list(run(Reel(film_of([25] * 70, 0)), chain, WeightsStore(), choice.plan))
        assert not any(isinstance(event, Replanned) for event in events)
        assert device.peak <= device_bytes(costs, choice.plan) <= budget
        seen.update(choice.plan.batches)
    assert seen == {1, 2, 4, 8, 16, 32}


def test_a_device_that_is_too_small_is_refused_with_words(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def rising() -> Iterator[Peak]:
        yield Peak(700 * MB)

    monkeypatch.setattr(probes, "_rising_on_device", rising)
    with pytest.raises(DoesNotFit, match="700MB on the device and --vram is 600MB") as caught:
        fit(job_of(source), budget=Budget(10**11, 600 * MB))
    assert caught.value.needed_bytes == 700 * MB


# --- encoders -------------------------------------------------------------------------------------


def test_the_table_of_encoders_is_what_was_measured() -> None:
    found = json.loads((ROOT / "bench" / "results" / "codec_memory.json").read_text())
    rows = {name: (row["fixed_mb"], row["per_sample"]) for name, row in found["codecs"].items()}
    assert set(rows) == set(encoder_memory.TABLE)
    for name, row in encoder_memory.TABLE.items():
        assert row == pytest.approx(rows[name], abs=0.6), name


@pytest.mark.parametrize(
    ("name", "size", "pixels", "threads"),
    [
        ("8 threads", (1280, 720), "yuv420p", 8),
        ("10 bits", (1280, 720), "yuv420p10le", 2),
        ("444", (1280, 720), "yuv444p", 2),
        ("1080p", (1920, 1080), "yuv420p", 2),
        ("240p", (320, 240), "yuv420p", 2),
        ("2160p", (3840, 2160), "yuv420p", 2),
    ],
)
def test_what_the_table_does_not_hold_follows_from_it(
    name: str, size: tuple[int, int], pixels: str, threads: int
) -> None:
    found = json.loads((ROOT / "bench" / "results" / "codec_memory.json").read_text())
    spec = replace(SPEC, width=size[0], height=size[1], pixels=pixels)
    said = encoder_memory.held(fg.VideoOutput(Path("o.mp4")), spec).at(threads)
    assert 1.0 <= said / (found["h264_medium_mb"][name] * MB) < 1.12


def test_an_encoder_that_nobody_measured_weighs_as_the_largest_of_its_kind() -> None:
    spec = replace(SPEC, width=1280, height=720, pixels="yuv420p")
    placebo = encoder_memory.held(fg.VideoOutput(Path("o.mp4"), preset="placebo"), spec)
    assert placebo == encoder_memory.held(fg.VideoOutput(Path("o.mp4"), preset="veryslow"), spec)
    names = [name for name, _ in encoder_memory.cheaper(fg.VideoOutput(Path("o.mp4")), spec)]
    assert names == ["fast", "ultrafast"]
    assert not list(encoder_memory.cheaper(fg.VideoOutput(Path("o.mkv"), codec="ffv1"), spec))
    assert not list(encoder_memory.cheaper(fg.VideoOutput(Path("o.mp4"), preset="ultrafast"), spec))


def test_the_least_that_is_named_counts_every_part() -> None:
    costs = Costs(program=MB, given_bytes=1000, result_bytes=2000)
    parts = host_bytes(costs, smallest(costs, {}))
    assert all(parts.values())
    assert list(parts) == ["program", "decoder", "queue in", "stages", "queue out", "encoder"]
    assert Plan(batches=()).batches == ()


@pytest.mark.slow
def test_time_and_disk_follow_the_number_of_frames_and_memory_does_not(tmp_path: Path) -> None:
    source = videos.make(videos.Video(frames=170), tmp_path / "in.mp4")
    found = {}
    for count in (25, 49, 81, 161):
        job = replace(job_of(source), source=fg.VideoFile(source, frames=count))
        found[count] = fit(job, budget=Budget(2000 * MB))
        assert found[count].costs.frames == count
        assert found[count].made.frames == 2 * count
        each = seconds_each(found[count].costs, found[count].plan)
        assert found[count].seconds == pytest.approx(count * max(each.values()))
    disk = [one.disk_bytes or 0 for one in found.values()]
    assert disk[0] > 0
    assert [after / disk[0] for after in disk] == pytest.approx(
        [1, 49 / 25, 81 / 25, 161 / 25], 0.2
    )
    peaks = [sum(one.host.values()) for one in found.values()]
    assert max(peaks) < 1.2 * min(peaks)
