"""The profile: what phases took, what they copied, and that nothing else changes."""

import json
from collections.abc import Iterator, Sequence
from fractions import Fraction as F
from pathlib import Path
from threading import Thread
from time import sleep

import pytest
import torch

from filmgate.backends.profile import Profile
from filmgate.backends.trace import Trace
from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.events import Event, Phase, Profiled, Progress, Started
from filmgate.core.frame import Frame
from filmgate.core.instrumentation.phases import carry, phase
from filmgate.core.plan import Plan
from filmgate.core.run import run
from filmgate.core.stage import StageWrapper
from filmgate.errors import Paused
from filmgate.planning.costs import Costs, LinearCost, StageCost
from filmgate.testing.fake_cuda import fake_cuda
from tests.core.in_memory import MemorySink, MemorySource
from tests.laws.synthetic import make_video

VIDEO = make_video([25] * 8, 0)


def blur(frames: Sequence[Frame]) -> Sequence[Frame]:
    for _ in frames:
        with phase("look", 1), phase("closer"):
            pass
    return frames


def describe(frame: Frame) -> tuple[int, F, F, int]:
    """Return what two frames have in common if they are equal; images are not copied."""
    return frame.index, frame.time, frame.duration, id(frame.image)


def run_chain(chain: Chain, profile: Profile | None = None) -> tuple[list[Frame], list[object]]:
    """Return the frames that a run writes, and its events."""
    if profile:
        chain = Chain(chain.stages, chain.batches, profile.make_clock())
    sink = MemorySink()
    events: list[object] = list(run(MemorySource(VIDEO), chain, sink, Plan(chunk=2)))
    return sink.frames, events


def report(profile: Profile, *stages: str, read: int = 8) -> dict[str, Phase]:
    """Return the phases by the names of those around them and their own."""
    started = Started(VIDEO.spec, VIDEO.spec, stages)
    measured = profile.make_event(started, read)
    return {"/".join(one.name): one for one in measured.phases}


def test_a_stopped_run_reports_what_was_measured_so_far() -> None:
    first = Started(VIDEO.spec, VIDEO.spec, ("blur",))

    def stop(profile: Profile) -> Iterator[Event]:
        yield first
        with profile.activate(), phase("decode"):
            pass
        yield Progress(6, 4, F(0), 1.0, 0)
        with profile.activate(), phase("blur", 2):
            raise Paused("the time is up")

    with Profile() as profile:
        found, stopped = list[Event](), stop(profile)
        with pytest.raises(Paused):
            found.extend(profile.report(stopped))
    kinds = [type(event).__name__ for event in found]
    assert kinds == ["Started", "Profiled", "Progress", "Profiled"]
    last = found[-1]
    assert isinstance(last, Profiled)
    assert (last.final, last.read) == (False, 6)
    assert [one.name for one in last.phases] == [("decode",), ("blur",)]


def test_a_phase_that_is_under_way_counts_until_now() -> None:
    with Profile() as profile, profile.activate(), phase("blur"):
        sleep(0.02)
        started = Started(VIDEO.spec, VIDEO.spec, ("blur",))
        (so_far,) = profile.make_event(started, 3, final=False).phases
        (ended,) = profile.make_event(started, 3).phases
    assert (so_far.calls, ended.calls, ended.seconds) == (0, 0, 0)
    assert so_far.seconds >= 0.02


def test_phases_are_counted_inside_of_those_around_them_and_frames_stay_the_same() -> None:
    inner = Chain((each(blur, name="inner"),))
    chain = Chain((each(blur), StageWrapper(inner)), (2, 1))
    plain, before = run_chain(chain)
    with Profile() as profile:
        frames, after = run_chain(chain, profile)
        found = report(profile, *chain.names)
    assert list(map(describe, frames)) == list(map(describe, plain))
    assert [type(event) for event in after] == [type(event) for event in before]
    assert list(found) == [
        "decode", "blur", "blur/look", "blur/look/closer", "inner", "inner/inner",
        "inner/inner/look", "inner/inner/look/closer", "encode",
    ]  # fmt: skip
    assert (found["blur"].frames, found["blur/look"].calls, found["blur/look"].frames) == (8, 8, 8)
    assert (found["decode"].frames, found["encode"].frames) == (8, 8)
    assert found["inner/inner"].frames == 8
    for one in found.values():
        assert 0 <= one.cpu_seconds <= one.seconds + 0.05
        assert one.host_bytes > 1 << 20
        around = found.get("/".join(one.name[:-1]))
        assert around is None or one.seconds <= around.seconds


def test_without_a_profile_a_phase_is_one_shared_object_that_does_nothing() -> None:
    assert phase("a", 1) is phase("b")
    assert carry(run_chain) is run_chain


def test_a_phase_that_raises_is_counted_and_closed() -> None:
    with Profile() as profile, profile.activate():
        for name in ("load", "load"):
            with pytest.raises(ValueError, match="on purpose"), phase(name), phase("weights"):
                raise ValueError("on purpose")
        with phase("plan"):
            pass
        found = report(profile)
    assert {name: one.calls for name, one in found.items()} == {
        "plan": 1, "load": 2, "load/weights": 2,
    }  # fmt: skip


def test_bytes_to_and_from_a_device_belong_to_the_phases_that_are_open() -> None:
    values = torch.arange(6, dtype=torch.float32)
    with fake_cuda(), Profile() as profile, profile.activate():
        with phase("load"):
            there = values.to("cuda")  # 24 bytes
            with phase("half"):
                half = values.to("cuda", torch.float16)  # 12
                half.copy_(values)  # 12
                there.to(torch.float16).to("cuda")  # it is there
                values.double()
            torch.as_tensor([1, 2], device="cuda")  # 16
        with phase("plan"):
            assert half.cpu().tolist() == values.tolist()  # 12
            assert bool((there >= 0).all())  # 1
            assert there.sum().item() == 15  # 4
            assert float(there[1]) == 1  # 4
            values.copy_(there)  # 24
        found = report(profile)
    copied = {name: (one.to_device_bytes, one.from_device_bytes) for name, one in found.items()}
    assert copied == {"plan": (0, 45), "load": (64, 0), "load/half": (24, 0)}


def test_copies_of_another_thread_belong_to_the_phase_that_started_it() -> None:
    values = torch.ones(5)

    def copy() -> None:
        with fake_cuda():
            values.to("cuda")

    with fake_cuda(), Profile() as profile, profile.activate():
        with phase("load"):
            threads = [Thread(target=target) for target in (copy, carry(copy), carry(copy))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        found = report(profile)
    assert found["load"].to_device_bytes == 2 * 20


def test_the_spans_of_a_trace_are_in_the_track_of_their_part(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with Profile() as profile:
        with profile.activate(), phase("load"):
            pass  # before the trace is open
        with Trace(path, start=profile.started) as trace:
            profile.send_spans(trace.add_span)
            run_chain(Chain((each(blur),)), profile)
    entries = [entry for entry in json.loads(path.read_text()) if entry]
    tracks = {e["tid"]: e["args"]["name"] for e in entries if e["name"] == "thread_name"}
    assert sorted(tracks.values()) == ["blur", "decode", "encode", "load"]
    spans = [entry for entry in entries if entry["ph"] == "X"]
    assert {tracks[e["tid"]] for e in spans if e["name"] in ("look", "closer")} == {"blur"}
    assert all(entry["ts"] >= 0 for entry in spans)
    assert len([entry for entry in spans if entry["name"] == "look"]) == 8


def test_what_the_plan_predicts_is_next_to_what_was_measured() -> None:
    stage = StageCost(name="blur", host=LinearCost(), seconds=LinearCost(0.1, 0.4))
    costs = Costs(program=0, input_bytes=1, result_bytes=1, stages=(stage,), decode_s=0.5)
    with Profile() as profile:
        profile.predict(costs, Plan(batches=(1,)))
        run_chain(Chain((each(blur),)), profile)
        found = report(profile, "blur")
    predicted = {name: one.predicted_s for name, one in found.items()}
    assert predicted == {
        "decode": 4.0, "blur": 4.0, "encode": 0.0,
        "blur/look": None, "blur/look/closer": None,
    }  # fmt: skip
