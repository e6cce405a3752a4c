"""An image becomes a video, from file to file: stopped at every step, and in the decode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import filmgate as fg
from filmgate.core import run as run_module
from filmgate.core.events import Event, Prepared, Progress, Warned
from filmgate.core.instrumentation import fault_injection
from filmgate.core.instrumentation.fault_injection import Fault
from filmgate.core.job import Job
from filmgate.errors import OutOfMemory
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.images.image_file import ImageFile
from filmgate.media.sinks import VideoOutput
from filmgate.models.families.film import FilmOptions
from filmgate.models.families.wan22.request import Wan22Options
from filmgate.tasks.generate import Generate
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.upscale import Upscale
from tests.models.tiny import weights
from tests.processes import KILLED

pytestmark = pytest.mark.slow
STEPS, FRAMES = 3, 9
NAMES = ("ti2v-5b", "i2v-a14b")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    path = tmp_path_factory.mktemp("image") / "in.png"
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    import torch

    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def make_job(image: Path, out: Path, name: Any = "ti2v-5b", **settings: Any) -> Job:
    from tests.models import tiny_wan22 as tiny

    form: dict[str, Any] = {"prompt": "a red ball rolls", "negative": "dark", "size": "96x64",
                            "steps": STEPS, "guidance": 3}  # fmt: skip
    options = Wan22Options(weights=tiny.folder(name))
    task = Generate(image=ImageFile(image), options=options, **(form | settings))
    return Job(FrameCounter(frames=FRAMES, fps=16), VideoOutput(out, codec="ffv1"), (task,), seed=5)


def run(job: Job) -> list[Event]:
    return list(fg.events(job, worker=False, limits=fg.Limits(threads=1, segment=F(1, 4))))


def read_all(path: Path) -> list[Any]:
    """Return the planes of each frame of a video."""
    with fg.VideoFile(path).open() as source:
        return [frame.image for chunk, _ in source.read(None, 1) for frame in chunk]


def read_bytes(path: Path) -> list[bytes]:
    return [b"".join(array.tobytes() for array in image.arrays) for image in read_all(path)]


@pytest.mark.parametrize("name", NAMES)
def test_the_video_is_that_of_the_library(name: Any, image: Path, tmp_path: Path) -> None:
    import torch
    from PIL import Image

    from filmgate.media.pixels.rgb import to_planes
    from filmgate.tasks.generate import COLOUR, PIXELS
    from tests.models import tiny_wan22 as tiny

    run(make_job(image, tmp_path / "out.mkv", name))
    pipe = tiny.build_pipeline(name)
    pipe.set_progress_bar_config(disable=True)
    frames = pipe(
        image=Image.open(image), prompt="a red ball rolls", negative_prompt="dark", height=64,
        width=96, num_frames=FRAMES, num_inference_steps=STEPS, guidance_scale=3.0,
        output_type="pt", generator=torch.Generator().manual_seed(5),
    ).frames[0]  # fmt: skip
    found = read_all(tmp_path / "out.mkv")
    assert len(found) == FRAMES
    for ours, theirs in zip(found, frames, strict=True):
        for mine, wanted in zip(ours.arrays, to_planes(theirs, PIXELS, COLOUR).arrays, strict=True):
            assert np.abs(mine.astype(int) - wanted.astype(int)).max() <= 1  # of 255, rounded


def test_a_run_stopped_at_every_move_makes_each_once_and_the_same_video(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run after the other ends at its next move; then at each chunk of the decode."""
    name = "i2v-a14b"  # with two experts
    monkeypatch.setattr(run_module, "_PREPARED_S", 0.0)
    run(make_job(image, tmp_path / "complete.mkv", name))
    job, moves = make_job(image, tmp_path / "out.mkv", name), list[tuple[int, str]]()
    stops = ["prepare.move=raise@2,compute.step=raise"] * (STEPS + 3)
    for point in (*stops, "compute.step=raise@2", "encode.before_write=memory@2", ""):
        events = stop_at(job, point, monkeypatch)
        moves += [(event.done, event.what) for event in events if isinstance(event, Prepared)]
    steps = [done for done, what in moves if what == "step"]
    assert steps == [0, 0, *range(1, STEPS + 1)], "text, image, then each step once"
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "complete.mkv").read_bytes()
    assert not (tmp_path / "out.mkv.filmgate").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="it has no fork")
def test_a_run_killed_in_every_step_and_in_the_decode(image: Path, tmp_path: Path) -> None:
    """Real processes and SIGKILL: after each stored step, within steps, among decoded images."""
    words = [sys.executable, "-m", "tests.tasks.generate_kills", str(tmp_path), str(image),
             "ti2v-5b"]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {
        "codes": [*[-9] * 6, 0], "in_decode": found["in_decode"], "steps": [1, 2, 3],
        "repeated": [], "same": True, "left": [],
    }  # fmt: skip
    assert found["in_decode"] >= 2


def test_in_a_worker_process_the_steps_and_the_video_are_the_same(
    image: Path, tmp_path: Path
) -> None:
    """Law 9: weights are loaded, steps made and frames decoded in another process."""
    name, limits = "i2v-a14b", fg.Limits(threads=1, segment=F(1, 4))  # with two experts
    here = run(make_job(image, tmp_path / "here.mkv", name))
    there = list(fg.events(make_job(image, tmp_path / "there.mkv", name), worker=True,
                           limits=limits))  # fmt: skip
    moves = [
        [(event.done, event.what) for event in events if isinstance(event, Prepared)]
        for events in (here, there)
    ]
    assert moves[0] == moves[1]
    assert len(moves[0]) >= STEPS
    assert not [event for event in there if isinstance(event, fg.Died)]
    assert (tmp_path / "here.mkv").read_bytes() == (tmp_path / "there.mkv").read_bytes()


def stop_at(job: Job, point: str, monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """Run until the fault; return the events."""
    faults = fault_injection.parse_faults(point)
    monkeypatch.setattr(fault_injection, "_read_faults", lambda: faults)
    events: list[Event] = []
    with suppress(Fault, OutOfMemory, MemoryError):
        for event in fg.events(job, worker=False, limits=fg.Limits(threads=1, segment=F(1, 4))):
            events.append(event)  # noqa: PERF402 - those before an error count
    return events


def test_a_decode_that_runs_out_of_memory_loses_no_step(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from filmgate.models.families.wan22.decoder import StreamDecoder

    def fail(*_: object) -> Any:
        raise MemoryError("the decoder is too large")

    job = make_job(image, tmp_path / "out.mkv")
    with monkeypatch.context() as patched:
        patched.setattr(StreamDecoder, "stream", fail)
        with pytest.raises(OutOfMemory):
            run(job)
    assert (tmp_path / "out.mkv.filmgate" / "prepared.journal").exists()
    events = run(job)
    assert not [event for event in events if isinstance(event, Prepared)], "no step is made again"
    run(make_job(image, tmp_path / "complete.mkv"))
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "complete.mkv").read_bytes()


def test_generated_interpolated_and_upscaled_in_one_pass(image: Path, tmp_path: Path) -> None:
    """The same frames as in three passes; nothing but the result is written."""
    job = make_job(image, tmp_path / "all.mkv")
    options = FilmOptions(weights=weights("film"))
    following = (Interpolate(model="film", options=options), Upscale(model="compact", scale=2))
    together = Job(job.source, job.sink, (*job.tasks, *following), seed=5)
    written: set[str] = set()
    unchecked = fg.Limits(threads=1, guard=False)  # frames of a small network are nearly black
    for event in fg.events(together, worker=False, limits=unchecked):
        if isinstance(event, Progress):
            written |= {path.name for path in tmp_path.rglob("*") if path.suffix == ".png"}
    assert not written
    run(make_job(image, tmp_path / "1.mkv"))
    task: Any
    for n, task in enumerate(following, 1):
        one = fg.VideoFile(tmp_path / f"{n}.mkv")
        sink = VideoOutput(tmp_path / f"{n + 1}.mkv", codec="ffv1")
        list(fg.events(Job(one, sink, (task,)), worker=False, limits=unchecked))
    frames = read_bytes(tmp_path / "all.mkv")
    assert len(frames) == 2 * FRAMES
    assert frames == read_bytes(tmp_path / "3.mkv")


def test_a_killed_process_resumes_at_the_command_line(image: Path, tmp_path: Path) -> None:
    """SIGKILL between two steps, as the system does it when memory is short."""
    from tests.models import tiny_wan22 as tiny

    words = ["generate", str(image), str(tmp_path / "out.mkv"), "--prompt", "a ball",
             "--weights", str(tiny.folder("ti2v-5b")), "--size", "96x64", "--frames", "7",
             "--steps", "2", "--codec", "ffv1", "--json"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "FILMGATE_IN_PROCESS": "yes"}

    def start(fault: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "filmgate.cli.main", *words], capture_output=True, text=True,
            env=env | {"FILMGATE_FAULT": fault}, check=False,
        )  # fmt: skip

    killed = start("encode.before_write=kill@1")
    assert killed.returncode == KILLED, killed.stderr
    assert (tmp_path / "out.mkv.filmgate" / "prepared.journal").exists()
    resumed = start("")
    assert resumed.returncode == 0, resumed.stderr
    assert '"event": "Prepared"' not in resumed.stdout
    assert len(read_all(tmp_path / "out.mkv")) == 9, "7 are rounded up"
    assert "frames is 7" in resumed.stdout


@pytest.mark.parametrize("name", NAMES)
def test_windows_longer_than_the_trained_one(
    name: Any, image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins with frames of the one before, which come once; a stopped run is the same."""
    monkeypatch.setattr(run_module, "_PREPARED_S", 0.0)
    from tests.models import tiny_wan22 as tiny

    small = replace(tiny.shrink(name), window=9)
    monkeypatch.setattr(Wan22Options, "find_variant", lambda _: small)

    def make(out: str) -> Job:
        job = make_job(image, tmp_path / out, name)
        return replace(job, source=FrameCounter(frames=13, fps=16))

    events = run(make("complete.mkv"))
    notices = [event.message for event in events if isinstance(event, Warned)]
    assert any("2 windows" in notice for notice in notices)
    assert len(read_all(tmp_path / "complete.mkv")) == 13
    stop_at(make("out.mkv"), f"prepare.move=raise@{STEPS + 5}", monkeypatch)
    stop_at(make("out.mkv"), "", monkeypatch)
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "complete.mkv").read_bytes()
