"""A generating run stopped at every point, by an error each: with networks that only count.

Slow tests kill real processes, with small networks: generate_kills.py.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction as F
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest

import filmgate as fg
from filmgate.core import run as run_module
from filmgate.core.events import Committed, Event, Prepared, Warned
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.instrumentation import fault_injection
from filmgate.core.instrumentation.fault_injection import Fault
from filmgate.core.job import Job
from filmgate.errors import OutOfMemory
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.pixels.rgb import convert_to_planes
from filmgate.media.sinks import VideoOutput
from filmgate.tasks.generate import COLOUR, PIXELS
from tests.cases import mark_slow_cases
from tests.models.families.wan22.test_stage import STEPS, CountingNetworks, make_stage

FRAMES, FPS = 13, 16
MOVES = ["embed", "encode", *["step"] * STEPS]
# Each point with the number of the pass at which it fails.
STOPS = [
    *(f"prepare.move=raise@{k}" for k in range(1, len(MOVES) + 2)),
    *(f"prepare.before_save=raise@{k}" for k in range(1, len(MOVES) + 1)),
    *(f"{point}=raise@{k}" for point in ("compute.step", "encode.before_write")
      for k in (2, 5, 8, FRAMES)),
    *(f"{point}=raise@{k}" for point in ("encode.before_commit", "commit.snapshot",
      "commit.listed", "encode.after_commit") for k in (1, 2)),
    "join.complete=raise", "encode.before_write=memory@3",
]  # fmt: skip
QUICK = ("prepare.move=raise@4", "prepare.before_save=raise@3", "encode.before_write=raise@8")


class Networks(CountingNetworks):
    """Networks that take as long as real ones: each move is stored before the next one ends."""

    saved = Semaphore(1)  # for the first move, before which nothing is stored
    ended = False  # it could not be stored
    fits = 1

    def embed(self, *given: Any) -> Any:
        self.wait()
        return super().embed(*given)

    def encode(self, *given: Any) -> Any:
        self.wait()
        return super().encode(*given)

    def open_experts(self, *given: Any) -> Any:
        self.wait()
        return super().open_experts(*given)

    def wait(self) -> None:
        if not self.saved.acquire(timeout=20) or self.ended:
            raise AssertionError("the move before was not stored")


class Storing:
    """`_save_point`, which lets the networks make their next move."""

    def __init__(self) -> None:
        self.save = run_module._save_point

    def __call__(self, *given: Any) -> bool:
        Networks.ended = True
        try:
            is_stored = self.save(*given)
            Networks.ended = False
        finally:
            Networks.saved.release()
        return is_stored


def run(folder: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Event], list[str]]:
    """Run the job until the fault; return the events, and the calls of networks."""
    calls, faults = list[str](), fault_injection.parse_faults(fault)

    @dataclass(frozen=True)
    class Counted:
        """The task: its stage is that of `generate`."""

        time_scale: F = F(1)

        def stages(self, spec: StreamSpec, models: Any = None) -> tuple[Any, ...]:
            networks = Networks(fits=Networks.fits, calls=calls)
            stage = make_stage(FRAMES, networks, most_bands=2)
            return stage, convert_to_planes(PIXELS, COLOUR)

        def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
            return iter(frames)

    sink = VideoOutput(folder / "out.mkv", codec="ffv1")
    job = Job(FrameCounter(frames=FRAMES, fps=FPS), sink, (Counted(),), seed=5)
    events, plan = list[Event](), fg.Plan(chunk=1, segment_frames=4)
    with monkeypatch.context() as patched, suppress(Fault, OutOfMemory, MemoryError):
        patched.setattr(fault_injection, "_read_faults", lambda: faults)
        patched.setattr(run_module, "_PREPARED_S", 0.0)
        patched.setattr(run_module, "_save_point", Storing())
        patched.setattr(Networks, "saved", Semaphore(1))
        patched.setattr(Networks, "ended", False)
        for event in fg.events(job, plan, worker=False):
            events.append(event)
    return events, calls


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("complete")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(folder, "", monkeypatch)
    return (folder / "out.mkv").read_bytes()


@pytest.mark.parametrize("fault", mark_slow_cases(QUICK, STOPS))
def test_a_run_that_stops_anywhere_resumes_after_its_last_move(
    fault: str, complete: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same video. No move is made twice, but for one that had not been stored."""
    before, first = run(tmp_path, fault, monkeypatch)
    assert not (tmp_path / "out.mkv").exists(), "the fault ended the run"
    after, second = run(tmp_path, "", monkeypatch)
    assert (tmp_path / "out.mkv").read_bytes() == complete
    assert not (tmp_path / "out.mkv.filmgate").exists()
    made = [call.split()[0] for call in (*first, *second) if call.split()[0] in MOVES]
    if fault.startswith("prepare.before_save"):
        lost = int(fault[-1]) - 1
        assert made == [*MOVES[: lost + 1], *MOVES[lost:]]
    else:
        assert made == MOVES
    out = max((event.snapshot.cursor.index for event in before if isinstance(event, Committed)),
              default=0)  # fmt: skip
    if fault.startswith(("compute.step", "encode.before_write")):
        notices = [event.message for event in after if isinstance(event, Warned)]
        said = f"{out} frames are out: the decode starts again from the first latent frame"
        assert notices == ([said] if out else [])


def test_a_decode_that_runs_out_of_memory_leaves_all_steps(
    complete: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last step no number of bands fits; later there is more memory."""
    monkeypatch.setattr(Networks, "fits", 99)
    _, first = run(tmp_path, "", monkeypatch)
    assert [call for call in first if "release" not in call][-3:] == ["step", "decode 1",
                                                                      "decode 2"]  # fmt: skip
    assert not (tmp_path / "out.mkv").exists()
    monkeypatch.setattr(Networks, "fits", 1)
    events, second = run(tmp_path, "", monkeypatch)
    assert second == ["decode 1"]
    assert not [event for event in events if isinstance(event, Prepared)]
    assert (tmp_path / "out.mkv").read_bytes() == complete
