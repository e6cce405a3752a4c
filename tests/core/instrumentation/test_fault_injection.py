"""Injected faults: every point is in the source and the docs, and fails when listed."""

import ast
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from filmgate.core.adapters import each
from filmgate.core.chain import Chain
from filmgate.core.events import Done, Replanned
from filmgate.core.instrumentation import fault_injection
from filmgate.core.instrumentation.fault_injection import Fault
from filmgate.core.plan import Plan
from filmgate.errors import BadSetting, OutOfMemory
from filmgate.testing.fake_device import FakeDevice
from tests.core.in_memory import run_in_memory
from tests.house.tree import ROOT, parse_file
from tests.laws.synthetic import brighten, get_image, make_video

VIDEO = make_video([25] * 16, seed=3)


def make_chain(device: FakeDevice, batch: int = 4) -> Chain:
    return Chain((device.on(each(brighten)),), (batch,))


def test_the_points_match_the_source_and_the_docs() -> None:
    names = [
        node.args[0].value
        for path in (ROOT / "src").rglob("*.py")
        if "inject_fault(" in path.read_text()
        for node in ast.walk(parse_file(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "inject_fault"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(map(str, names)) == sorted(fault_injection.POINTS)
    documented = re.findall(r"^\| `(\w+\.\w+)`", Path(ROOT / "docs/worker.md").read_text(), re.M)
    assert tuple(documented) == fault_injection.POINTS


def test_a_point_does_nothing_unless_listed() -> None:
    for point in fault_injection.POINTS:
        fault_injection.inject_fault(point)


@pytest.mark.parametrize("text", ["nowhere=kill", "encode.before_commit", "compute.step=kill@x"])
def test_an_invalid_fault_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match=r"wanted NAME=KIND"):
        fault_injection.parse_faults(text)


@pytest.mark.parametrize(("kind", "error"), [("raise", Fault), ("memory", MemoryError)])
def test_a_point_fails_at_the_listed_pass(
    kind: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = fault_injection.parse_faults(f"compute.step={kind}@3")
    monkeypatch.setattr(fault_injection, "_read_faults", lambda: faults)
    fault_injection.inject_fault("compute.step")
    fault_injection.inject_fault("encode.before_write")
    fault_injection.inject_fault("compute.step")
    with pytest.raises(error, match=r"compute\.step"):
        fault_injection.inject_fault("compute.step")
    fault_injection.inject_fault("compute.step")


def test_out_of_memory_on_a_device_repeats_one_batch() -> None:
    plain, _ = run_in_memory(VIDEO, Chain((each(brighten),), (4,)), Plan(segment_frames=8))
    device = FakeDevice(out_of_memory_at=frozenset({2}))
    sink, events = run_in_memory(VIDEO, make_chain(device), Plan(segment_frames=8))
    assert [e.batch for e in events if isinstance(e, Replanned)] == [2]
    assert all(
        np.array_equal(get_image(a), get_image(b))
        for a, b in zip(sink.frames, plain.frames, strict=True)
    )


def test_a_device_with_a_budget_gets_as_many_frames_as_fit() -> None:
    device = FakeDevice(budget_bytes=200)  # an image is 48 bytes, its times a few more
    _, events = run_in_memory(VIDEO, make_chain(device), Plan(segment_frames=8))
    assert [e.batch for e in events if isinstance(e, Replanned)] == [2]
    assert isinstance(events[-1], Done)
    with pytest.raises(OutOfMemory, match="no smaller batch"):
        run_in_memory(VIDEO, make_chain(FakeDevice(budget_bytes=10)), Plan())


def test_a_device_that_is_lost_stays_lost() -> None:
    device = FakeDevice(lost_after=2)
    for _ in range(2):
        with pytest.raises(Fault, match="lost since step 2"):
            run_in_memory(VIDEO, make_chain(device), Plan())
    assert device.steps == 4


def test_a_device_returns_nan_images_at_one_step() -> None:
    sink, _ = run_in_memory(VIDEO, make_chain(FakeDevice(nan_at=2)), Plan())
    nan_frames = [f.index for f in sink.frames if np.isnan(np.asarray(f.image)).any()]
    assert nan_frames == [4, 5, 6, 7]
    assert all(frame.duration == Fraction(25, 600) for frame in sink.frames)
