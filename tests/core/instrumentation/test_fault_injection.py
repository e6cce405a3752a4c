"""Faults on purpose: every point is known and stands somewhere, and a fake device fails as told."""

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
from tests.core.reel import shelved
from tests.house.tree import ROOT, code
from tests.laws.synthetic import brighten, film_of, picture

VIDEO = film_of([25] * 16, seed=3)


def chain_on(device: FakeDevice, batch: int = 4) -> Chain:
    return Chain((device.on(each(brighten)),), (batch,))


def test_the_points_are_the_ones_in_the_source_and_the_papers_list_them() -> None:
    found = [
        node.args[0].value
        for tree in code("src").values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "fault"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(map(str, found)) == sorted(fault_injection.POINTS)
    listed = re.findall(r"^\| `(\w+\.\w+)`", Path(ROOT / "docs/worker.md").read_text(), re.M)
    assert tuple(listed) == fault_injection.POINTS


def test_a_point_does_nothing_unless_asked() -> None:
    for point in fault_injection.POINTS:
        fault_injection.fault(point)


@pytest.mark.parametrize("text", ["nowhere=kill", "encode.before_commit", "compute.step=kill@x"])
def test_what_cannot_be_asked_for_is_refused(text: str) -> None:
    with pytest.raises(BadSetting, match=r"wanted NAME=KIND"):
        fault_injection.asked(text)


@pytest.mark.parametrize(("kind", "error"), [("raise", Fault), ("memory", MemoryError)])
def test_a_point_strikes_at_the_time_it_was_asked_to(
    kind: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = fault_injection.asked(f"compute.step={kind}@3")
    monkeypatch.setattr(fault_injection, "_asked", lambda: asked)
    fault_injection.fault("compute.step")
    fault_injection.fault("encode.before_write")
    fault_injection.fault("compute.step")
    with pytest.raises(error, match=r"compute\.step"):
        fault_injection.fault("compute.step")
    fault_injection.fault("compute.step")


def test_a_device_out_of_memory_costs_one_batch() -> None:
    plain, _ = shelved(VIDEO, Chain((each(brighten),), (4,)), Plan(segment_frames=8))
    device = FakeDevice(out_of_memory_at=frozenset({2}))
    shelf, events = shelved(VIDEO, chain_on(device), Plan(segment_frames=8))
    assert [e.batch for e in events if isinstance(e, Replanned)] == [2]
    assert all(
        np.array_equal(picture(a), picture(b))
        for a, b in zip(shelf.frames, plain.frames, strict=True)
    )


def test_a_device_with_a_budget_takes_as_many_frames_as_fit() -> None:
    device = FakeDevice(budget_bytes=200)  # a picture is 48 bytes, its times a few more
    _, events = shelved(VIDEO, chain_on(device), Plan(segment_frames=8))
    assert [e.batch for e in events if isinstance(e, Replanned)] == [2]
    assert isinstance(events[-1], Done)
    with pytest.raises(OutOfMemory, match="no smaller batch"):
        shelved(VIDEO, chain_on(FakeDevice(budget_bytes=10)), Plan())


def test_a_device_that_is_lost_stays_lost() -> None:
    device = FakeDevice(lost_after=2)
    for _ in range(2):
        with pytest.raises(Fault, match="lost since step 2"):
            shelved(VIDEO, chain_on(device), Plan())
    assert device.steps == 4


def test_a_device_spoils_the_pictures_of_one_step() -> None:
    shelf, _ = shelved(VIDEO, chain_on(FakeDevice(nan_at=2)), Plan())
    spoilt = [f.index for f in shelf.frames if np.isnan(np.asarray(f.image)).any()]
    assert spoilt == [4, 5, 6, 7]
    assert all(frame.duration == Fraction(25, 600) for frame in shelf.frames)
