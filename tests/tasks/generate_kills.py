"""`python -m tests.tasks.generate_kills FOLDER IMAGE NAME`: a generating run killed many times.

Each process is a fork of this one, which has the libraries loaded, and is killed (SIGKILL) when it
has made so many records: of a step that starts or ends, a state that is stored, an image that is
decoded. The next one resumes. Prints what happened as JSON. Not on Windows, which has no fork.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction as F
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.processes import KILL

STEPS, FRAMES = 3, 13
# Records after which processes are killed, one after the other: at least one move is stored, later
# some images. The last process is not killed.
AT = (4, 5, 4, 4, 6, 9, 0)


@dataclass
class Log:
    """Records of all processes, in one file; the process is killed at the record number `at`."""

    path: Path
    at: int = 0
    count: int = 0

    def add(self, *record: Any) -> None:
        """Write a record, which survives the process."""
        with self.path.open("a") as file:
            file.write(json.dumps([os.getpid(), *record]) + "\n")
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), KILL)

    def wrap(self, function: Any, before: Callable[..., Any], after: Callable[..., Any]) -> Any:
        """Return the function with a record before each call and after it; () is none."""

        def call(*args: Any, **settings: Any) -> Any:
            if record := before(*args):
                self.add(*record)
            made = function(*args, **settings)
            if record := after(made, *args):
                self.add(*record)
            return made

        return call


def generate(image: Path, out: Path, name: Any, log: Log) -> None:
    """Generate a video in this process."""
    import filmgate as fg
    from filmgate.core import run as run_module
    from filmgate.core.job import Job
    from filmgate.media.frame_counter import FrameCounter
    from filmgate.media.images.image_file import ImageFile
    from filmgate.media.sinks import VideoOutput
    from filmgate.models.families.wan22.request import Wan22Options
    from filmgate.models.families.wan22.sampler import Sampler
    from filmgate.models.families.wan22.stage import Generator
    from filmgate.tasks.generate import Generate
    from tests.models import tiny_wan22 as tiny

    def describe_stored(_: object, __: object, point: Any) -> Any:
        generator = point.snapshot.state[0].state.state  # in that of its checks
        done = generator.sampler.step if generator.sampler else STEPS * len(generator.finished)
        return ("stored", done) if point.is_prepared else ()

    wraps: list[tuple[Any, str, Any, Any]] = [
        (run_module, "_save_point", lambda *_: (), describe_stored),
        (Sampler, "step", lambda _, state, *__: ("start", state.step),
         lambda made, *_: ("end", made.step)),
        (Generator, "_decode_image", lambda *_: (), lambda _, __, ___, at: ("image", at)),
    ]  # fmt: skip
    options = Wan22Options(weights=tiny.folder(name))
    task = Generate(image=ImageFile(image), prompt="a red ball rolls", negative="dark",
                    size="64x64", steps=STEPS, guidance=3, options=options)  # fmt: skip
    sink = VideoOutput(out, codec="ffv1")
    job = Job(FrameCounter(frames=FRAMES, fps=16), sink, (task,), seed=5)
    with ExitStack() as patches:
        patches.enter_context(patch.object(run_module, "_PREPARED_S", 0.0))
        for owner, function, before, after in wraps:
            wrapped = log.wrap(getattr(owner, function), before, after)
            patches.enter_context(patch.object(owner, function, wrapped))
        list(fg.events(job, worker=False, limits=fg.Limits(threads=1, segment=F(1, 4))))


def run_fork(work: Callable[[], None]) -> int:
    """Return how a fork of this process ended: 0, 1 or minus the signal."""
    if sys.platform == "win32":
        raise RuntimeError("Windows cannot fork")
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    gc.freeze()  # a codec's threads do not exist in a fork: one that is collected here hangs
    code = 1
    try:
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - no fork may return
        traceback.print_exc()
    os._exit(code)


def main(folder: Path, image: Path, name: str) -> dict[str, Any]:
    """Return how often the run was killed, what was repeated, and whether the video is the same."""
    import torch

    torch.set_num_threads(1)  # a fork of a process with threads may hang
    complete, out, path = folder / "complete.mkv", folder / "out.mkv", folder / "log"
    generate(image, complete, name, Log(folder / "complete.log"))
    codes = [run_fork(partial(generate, image, out, name, Log(path, at))) for at in AT]
    records = [json.loads(line) for line in path.read_text().splitlines()]
    stored, repeated = 0, list[int]()
    for _, what, number in records:
        stored = max(stored, number) if what == "stored" else stored
        repeated += [number] if what == "start" and number < stored else []
    return {
        "codes": codes,
        "in_decode": len({process for process, what, _ in records if what == "image"}) - 1,
        "steps": sorted({number for _, what, number in records if what == "end"}),
        "repeated": repeated,
        "same": out.exists() and out.read_bytes() == complete.read_bytes(),
        "left": [one.name for one in folder.iterdir() if one.name.startswith("out.mkv.")],
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])))
