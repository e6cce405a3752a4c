"""`make gpu` without a GPU: every part runs, and nothing that goes wrong loses the rest."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from filmgate.models import registry
from filmgate.models.registry import list_families
from filmgate.testing.fake_cuda import fake_cuda
from tests.gpu import __main__ as gpu
from tests.gpu import correctness, runs, tracing
from tests.gpu.shared import NETWORKS, ROOT, Part, Report, Setup, Skipped, explain_missing

pytestmark = pytest.mark.usefixtures("one_thread")

# The slow tests run the others.
QUICK = ("machine", "conversion", "family compact", "speed compact x2", "streams and copies")


@pytest.fixture(autouse=True)
def own_families(monkeypatch: pytest.MonkeyPatch) -> None:
    """Families that a part registers are not there for other tests."""
    monkeypatch.setattr(registry, "_registered", {})


def run_part(name: str, folder: Path) -> list[Mapping[str, Any]]:
    """Return the checks of a part, run in this process."""
    checks = list[Mapping[str, Any]]()
    (part,) = (one for one in gpu.list_parts() if one.name == name)
    part.run(Setup(folder, dry=True), Report(checks.append))
    return checks


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.filterwarnings("ignore")  # the profiler's
def test_a_part_runs_dry(name: str, tmp_path: Path) -> None:
    checks = run_part(name, tmp_path)
    assert checks
    assert [check for check in checks if check["status"] == "failed"] == []
    if name != "machine":
        assert {check["status"] for check in checks} & {"passed", "measured"}
    json.dumps(checks)


def run_module(name: str, *words: str) -> list[str]:
    """Run a module that exits with 0, and return the lines that it printed."""
    command = [sys.executable, "-m", name, *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "not passed: none" in result.stdout
    return result.stdout.splitlines()


@pytest.mark.slow
def test_a_dry_run_starts_a_process_for_each_part_and_keeps_no_result(tmp_path: Path) -> None:
    lines = run_module("tests.gpu", "--dry", "--only", "conversion", "--results", str(tmp_path))
    assert [line.split()[:2] for line in lines if line[:1] not in (" ", "")][:2] == [
        ["passed", "machine"], ["passed", "conversion"]
    ]  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="forks, to import torch once")
@pytest.mark.timeout(600)
def test_every_other_part_runs_dry() -> None:
    """Other than the quick test's, and than RAFT's, which is rehearsed below with more."""
    parts = {part.name: part for part in gpu.list_parts()}
    names = parts.keys() - {*QUICK, "family raft"}
    lines = run_module("tests.gpu.forked", *names)
    ended = {line[9:].partition("  ")[0]: line.split()[0] for line in lines if line[:1] > " "}
    skipped = {name for name in names if parts[name].skip}
    assert {name for name in names if ended[name] == "skipped"} == skipped
    assert {name for name in names if ended[name] == "passed"} == names - skipped
    assert "family dis" in skipped
    assert not {"family film", "family rife"} & skipped


def test_there_is_a_part_for_every_family() -> None:
    parts = {part.name: part for part in gpu.list_parts()}
    assert {f"family {name}" for name in list_families()} <= parts.keys()
    assert "runs on the CPU" in parts["family dis"].skip
    assert len(parts) == len(gpu.list_parts())


class Rehearsal(Setup):
    """What a GPU would run, with the pretended device, and in complete runs on the CPU."""

    @property
    def device(self) -> str:
        return "cpu"

    def make_plan(self, **settings: Any) -> Any:
        return Setup(self.folder, dry=True).make_plan(**settings)

    @property
    def frames(self) -> int:
        return 3  # those of the child that restores a state

    def use_cuda(self) -> AbstractContextManager[None]:
        return fake_cuda()


def rehearse(part: Callable[[Setup, Report], None], folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return the checks of a part by name; none failed."""
    checks = list[Mapping[str, Any]]()
    part(Rehearsal(folder), Report(checks.append))
    assert [check for check in checks if check["status"] == "failed"] == []
    return {check["check"]: check for check in checks}


@pytest.mark.slow
def test_laws_and_states_of_the_device_are_rehearsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = correctness.restore_in_child

    def restore_dry(sample: Any, _: object, half: int, place: Path, setup: Setup) -> Any:
        return restore(sample, ("cuda", "cpu"), half, place, Setup(tmp_path, dry=True))

    monkeypatch.setattr(correctness, "restore_in_child", restore_dry)
    checks = rehearse(partial(correctness.check_family, "raft"), tmp_path)
    laws = {name.rpartition(" ")[2] for name in checks if ": law " in name}
    assert laws == {"cut", "sleep", "retry", "batch"}
    assert {check["status"] for check in checks.values()} == {"passed"}


def test_a_cap_on_the_memory_of_a_gpu_is_rehearsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The allocator is pretended: it reserves what the largest batch so far takes, up to a cap."""
    largest, cap = [0], [1.0]
    make_network = runs.make_network

    def make_counted(device: str) -> Any:
        network = make_network(device)

        def count(_: object, inputs: tuple[torch.Tensor]) -> None:
            if len(inputs[0]) * 100e6 > cap[0] * 80e9:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            largest[0] = max(largest[0], len(inputs[0]))

        network.register_forward_pre_hook(count)
        return network

    monkeypatch.setattr(runs, "make_network", make_counted)
    make_source, run_job = runs.make_source, runs.run_job  # a smaller video, and no measuring
    monkeypatch.setattr(runs, "make_source", lambda setup, frames, *_: make_source(setup, frames))
    monkeypatch.setattr(runs, "run_job", lambda *paths, plan=None, limits=None: run_job(
        *paths, plan=plan or Setup(tmp_path, dry=True).make_plan()))  # fmt: skip
    answers: dict[str, Callable[..., Any]] = {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda: largest.__setitem__(0, 0),
        "max_memory_reserved": lambda: largest[0] * 100_000_000,
        "get_device_properties": lambda _: SimpleNamespace(total_memory=80_000_000_000),
        "set_per_process_memory_fraction": lambda share: cap.__setitem__(0, share),
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    checks = rehearse(runs.check_out_of_memory, tmp_path)
    assert checks["without a cap"]["reserved_mb"] == {1: 100, 2: 200, 4: 400}
    assert checks["a cap: the batch halves"]["cap_mb"] == 300
    assert checks["a cap: the batch halves"]["batches"] == [4, 2]
    assert checks["--vram: the plan keeps it"]["status"] == "passed"
    assert cap == [1.0]


# --- what goes wrong ------------------------------------------------------------------------------


@dataclass
class Scripted(gpu.Run):
    """A run whose parts are these programs."""

    programs: Mapping[str, str] = field(default_factory=dict)

    def make_command(self, part: Part, place: Path) -> list[str]:
        return [sys.executable, "-S", "-c", self.programs[part.name]]


CHECK = f'print({gpu.MARK!r} + \'{{"check": "one", "status": "passed"}}\', flush=True)\n'


def run_program(
    folder: Path, program: str, limit_s: float = 30, **settings: Any
) -> tuple[dict[str, Any], Scripted]:
    """Return what is known about a part that is this program, and the run."""
    run = Scripted(folder, True, 60, folder, {"parts": {}}, programs={"a part": program})
    part = Part("a part", lambda *_: None, (), limit_s, **settings)
    run.run_one(part)
    entry: dict[str, Any] = run.found["parts"]["a part"]
    return entry, run


def test_a_part_that_crashes_keeps_its_checks(tmp_path: Path) -> None:
    entry, run = run_program(tmp_path, CHECK + "raise SystemExit('illegal memory access')")
    assert entry["status"] == "crashed"
    assert entry["reason"] == "exit code 1: illegal memory access"
    assert [check["check"] for check in entry["checks"]] == ["one"]
    assert run.summarise() == 1


def test_a_part_that_hangs_is_killed_and_keeps_its_checks(tmp_path: Path) -> None:
    entry, run = run_program(tmp_path, CHECK + "import time; time.sleep(60)", limit_s=0.05)
    assert (entry["status"], entry["reason"]) == ("killed", "it took more than 0 s")
    assert len(entry["checks"]) == 1
    assert run.summarise() == 1


def test_a_failed_check_fails_its_part(tmp_path: Path) -> None:
    entry, run = run_program(tmp_path, CHECK + CHECK.replace("passed", "failed"))
    assert entry["status"] == "failed"
    assert run.summarise() == 1


def test_a_part_without_its_packages_is_skipped(tmp_path: Path) -> None:
    run = Scripted(tmp_path, True, 60, tmp_path, {"parts": {}})
    run.run_one(Part("a part", lambda *_: None, (*NETWORKS, "no_such_package")))
    assert run.found["parts"]["a part"] == {
        "status": "skipped", "checks": [], "reason": "not installed: no_such_package"
    }  # fmt: skip
    assert run.summarise() == 0


def test_parts_that_no_time_is_left_for_are_skipped(tmp_path: Path) -> None:
    run = Scripted(tmp_path, True, gpu.LAST_S - 1, tmp_path, {"parts": {}})
    run.run_one(Part("a part", lambda *_: None, ()))
    assert run.found["parts"]["a part"]["reason"] == "no time is left of 7 s"


def test_without_any_package_it_says_so() -> None:
    command = [sys.executable, "-S", "-m", "tests.gpu"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "nothing runs: not installed: numpy\n")
    assert explain_missing(("av", "cv2")) == ""


@pytest.mark.parametrize(
    ("program", "code", "text"),
    [
        ("raise SystemExit('CUDA does not start')", 1, "not passed: machine"),
        (CHECK, 0, "skipped: there is no CUDA device here"),
    ],
)
def test_without_a_gpu_nothing_else_runs(
    program: str, code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Scripted(tmp_path, False, 60, tmp_path / "new", programs={"machine": program})
    assert run.run_parts("") == code
    assert text in capsys.readouterr().out
    assert run.found["parts"].keys() == {"machine"}
    assert not (tmp_path / "new").exists()


def test_results_are_written_once_a_gpu_is_found(tmp_path: Path) -> None:
    run = gpu.Run(tmp_path, False, 60, tmp_path / "new")
    machine = {"status": "passed", "checks": [{"check": "a CUDA device", "status": "skipped"}]}
    run.found = {"parts": {"machine": machine}}
    assert run.find_gpu() == ""
    run.write()
    assert list(tmp_path.iterdir()) == []
    machine["checks"] = [{"check": "a CUDA device", "status": "measured", "gpu": "A GPU (40 GB)"}]
    assert run.find_gpu() == "A GPU (40 GB)"
    (path,) = (tmp_path / "new").iterdir()
    assert path.name.startswith("a-gpu-40-gb-")
    assert json.loads(path.read_text()) == run.found


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Skipped("no choice"), "skipped"),
        (ModuleNotFoundError("x", name="diffusers.models"), "skipped"),
        (ModuleNotFoundError("x", name="filmgate.models"), "failed"),
        (AssertionError("law 1"), "failed"),
        (None, "passed"),
    ],
)
def test_what_a_check_raises_is_its_status(error: Exception | None, status: str) -> None:
    checks = list[Mapping[str, Any]]()
    with Report(checks.append).check("a check") as found:
        found["figure"] = 1
        if error:
            raise error
    assert (checks[0]["status"], checks[0]["figure"]) == (status, 1)


# --- comparisons ----------------------------------------------------------------------------------


def test_frames_that_differ_by_more_than_is_allowed_fail(tmp_path: Path) -> None:
    from dataclasses import replace

    frames = correctness.make_video(Setup(tmp_path, dry=True)).frames
    other = [frame.with_image(frame.image.with_arrays(tuple(a ^ 2 for a in frame.image.arrays)))
             for frame in frames]  # fmt: skip
    allowed, figures = correctness.TOLERANCES["float32"], dict[str, Any]()
    correctness.compare_frames(frames, frames, allowed, figures)
    assert figures["codes"] == 0
    with pytest.raises(AssertionError, match="differs by 2 codes"):
        correctness.compare_frames(other, frames, allowed, figures)
    still, moved = (
        [replace(frames[0], extras={"flow_prev": torch.full((2, 4, 4), x)})] for x in (0, 1.5)
    )
    with pytest.raises(AssertionError, match=r"flow differs by 1\.5"):
        correctness.compare_frames(moved, still, allowed, figures)


def test_a_trace_becomes_seconds_of_kernels_and_copies() -> None:
    def event(kind: str, start: float, end: float, stream: int, name: str = "k") -> dict[str, Any]:
        return {"cat": kind, "ts": start * 1e6, "dur": (end - start) * 1e6, "name": name,
                "args": {"stream": stream}}  # fmt: skip

    pageable = "Memcpy HtoD (Pageable -> Device)"
    found = tracing.analyse_trace(
        [event("kernel", 0, 2, 7), event("kernel", 1, 3, 7), event("kernel", 5, 6, 7),
         event("gpu_memcpy", 2, 4, 13, pageable), event("gpu_memcpy", 5.5, 5.75, 13, pageable),
         {"cat": "cpu_op", "ts": 0, "dur": 9}, {"cat": "kernel", "ts": 0}]
    )  # fmt: skip
    assert found == {"kernels_s": 4, "copies_s": 2.25, "copies_hidden_s": 1.25,
                     "copies_by_kind_s": {pageable: 2.25},
                     "streams": {"kernel": 1, "gpu_memcpy": 1}}  # fmt: skip
