"""Two tasks in one pass: rate and size change, and nothing is written between them."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import filmgate as fg
from filmgate.core.adapters import each
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.stage import AnyStage
from filmgate.media.pixels.planes import Planes
from filmgate.quality.verify import check
from tests import videos
from tests.cases import mark_slow_cases

VIDEO = videos.Video(frames=10, sounds=("aac",))


@dataclass(frozen=True)
class Enlarge:
    """A task of the user: each pixel becomes four."""

    time_scale: Fraction = Fraction(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        return (each(enlarge, name="enlarge", output=double_size),)

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        return iter(shown)


def enlarge(frames: Sequence[Frame]) -> list[Frame]:
    outputs = []
    for frame in frames:
        assert isinstance(frame.image, Planes)
        arrays = tuple(np.kron(a, np.ones((2, 2), a.dtype)) for a in frame.image.arrays)
        outputs.append(frame.with_image(frame.image.with_arrays(arrays), keep=tuple(frame.extras)))
    return outputs


def double_size(spec: StreamSpec) -> StreamSpec:
    return replace(spec, width=2 * spec.width, height=2 * spec.height)


CHAINS: dict[str, tuple[fg.Task, fg.Task]] = {
    "rate, then size": (fg.Interpolate(factor=2), Enlarge()),
    "size, then rate": (Enlarge(), fg.Interpolate(factor=2)),
    "rate, then rate": (fg.Interpolate(factor=2), fg.Interpolate(slow=2, sound="drop")),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return videos.make(VIDEO, tmp_path / "in.mp4")


@pytest.mark.parametrize("name", mark_slow_cases(["rate, then size"], list(CHAINS)))
def test_one_pass_gives_the_frames_of_two_passes(name: str, source: Path) -> None:
    first, second = CHAINS[name]
    between = fg.VideoOutput(source.with_name("between.mkv"), codec="ffv1")
    fg.run(first, source, between)
    expected = list(fg.frames(second, between.path))
    frames = list(fg.frames((first, second), source))
    assert len(frames) == len(expected) > VIDEO.frames
    for one, other in zip(frames, expected, strict=True):
        assert isinstance(one.image, Planes)
        assert isinstance(other.image, Planes)
        assert (one.index, one.time, one.duration) == (other.index, other.time, other.duration)
        assert one.image.size == other.image.size
        assert all(map(np.array_equal, one.image.arrays, other.image.arrays))


@pytest.mark.parametrize("name", mark_slow_cases(["size, then rate"], list(CHAINS)))
def test_nothing_is_written_between_two_tasks(name: str, source: Path) -> None:
    opened = OpenedFiles(source.parent)
    sys.addaudithook(opened)
    sink = fg.VideoOutput(source.with_name("out.mkv"), codec="ffv1")
    done = fg.run(
        CHAINS[name], source, sink, resume_options=fg.ResumeOptions(work=source.with_name("work"))
    )
    opened.end()
    assert done.written > done.read
    places = {path.relative_to(source.parent).parts[0] for path in opened.paths}
    assert places <= {"in.mp4", "out.mkv", "work"} | {p for p in places if p.startswith(".out")}
    assert sorted(path.name for path in source.parent.iterdir()) == ["in.mp4", "out.mkv"]


def test_check_knows_both_tasks(source: Path) -> None:
    sink = fg.VideoOutput(source.with_name("out.mp4"), preset="ultrafast")
    fg.run((fg.Interpolate(factor=2), fg.Interpolate(fps=40)), source, sink)
    report = check(sink.path, source)
    assert report.ok, report.findings


class OpenedFiles:
    """The files below a folder that Python opens, until `end`: an audit hook cannot be removed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.paths, self.ended = str(folder), set[Path](), False

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        if event == "open" and not self.ended and str(args[0]).startswith(self.folder + "/"):
            self.paths.add(Path(str(args[0])))

    def end(self) -> None:
        self.ended = True
