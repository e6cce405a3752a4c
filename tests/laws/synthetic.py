"""Stages the size of a sentence, one of every kind, and films to try them on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F
from typing import Any

import numpy as np
from hypothesis import strategies as st

from filmgate.core.adapters import UntilNext, Window, blocks, each, repeat_edges, windowed
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage, Reach
from filmgate.core.wrappers.cached import Memory, cached
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.models.diffusion.noise import noise
from filmgate.testing.laws import SampleVideo

SPEC = StreamSpec(width=3, height=2, rate=None, time_base=F(1, 600), pixels="rgb", dtype="float64")


def film_of(durations: Sequence[int], seed: int, cuts: frozenset[int] = frozenset()) -> SampleVideo:
    """Tiny pictures that last `durations` sixhundredths of a second."""
    chance, frames, time = np.random.default_rng(seed), [], F(0)
    for i, ticks in enumerate(durations):
        extras = {"cut": True} if i in cuts and i else {}
        image = np.round(chance.random((2, 3)), 6)
        frames.append(Frame(i, time, F(ticks, 600), image, extras))
        time += F(ticks, 600)
    return SampleVideo(SPEC, tuple(frames))


@st.composite
def videos(draw: st.DrawFn, least: int = 0, most: int = 40) -> SampleVideo:
    """A film of a few frames, of constant or variable rate, with cuts here and there."""
    n = draw(st.integers(least, most))
    steady = draw(st.booleans())
    ticks = [25] * n if steady else draw(st.lists(st.integers(1, 90), min_size=n, max_size=n))
    cuts = draw(st.frozensets(st.integers(1, max(1, n - 1)), max_size=4))
    return film_of(ticks, draw(st.integers(0, 2**31)), cuts)


def picture(frame: Frame) -> Any:
    return frame.image


def brighten(frames: Sequence[Frame]) -> list[Frame]:
    return [frame.made(picture(frame) * 0.5 + frame.index, keep=("cut",)) for frame in frames]


def grain(frames: Sequence[Frame]) -> list[Frame]:
    return [f.made(picture(f) + noise(7, "grain", f.index, (2, 3)), keep=("cut",)) for f in frames]


def feel_batch(frames: Sequence[Frame]) -> list[Frame]:
    """What a network does: another batch size moves the last bits."""
    return [frame.made(picture(frame) + 1e-7 * len(frames), keep=("cut",)) for frame in frames]


def feel_windows(windows: Sequence[Window]) -> list[list[Frame]]:
    return [[w.centre.made(picture(w.centre) + 1e-7 * len(windows))] for w in windows]


def double(windows: Sequence[Window]) -> list[list[Frame]]:
    made = []
    for window in windows:
        a, b = repeat_edges(window)
        half, middle = window.centre.duration / 2, (picture(a) + picture(b)) / 2
        first = replace(window.centre, duration=half)
        made.append([first, a.made(middle, time=a.time + half, duration=half)])
    return made


def attach_change(windows: Sequence[Window]) -> list[list[Frame]]:
    pairs = [(w.centre, repeat_edges(w)[1]) for w in windows]
    return [[a.learnt(**{"test.change": picture(b) - picture(a)})] for a, b in pairs]


def smooth(windows: Sequence[Window]) -> list[list[Frame]]:
    def one(window: Window) -> Frame:
        around = repeat_edges(window)
        weighted: Any = sum((k + 1) * picture(f) for k, f in enumerate(around))
        return window.centre.made(weighted, keep=("cut", "test.change"))

    return [[one(window)] for window in windows]


def ends_marked(windows: Sequence[Window]) -> list[list[Frame]]:
    """Adds 1 for a neighbour that is missing and 10 on the last frame."""
    return [
        [w.centre.made(picture(w.centre) + w.frames.count(None) + 10 * w.last, keep=("cut",))]
        for w in windows
    ]


def keep_some(windows: Sequence[Window]) -> list[list[Frame]]:
    return [[w.centre] if w.centre.index % 3 == 0 or w.last else [] for w in windows]


def clip_mean(frames: Sequence[Frame]) -> list[Any]:
    mean = sum(picture(frame) for frame in frames) / len(frames)
    return [picture(frame) * 0.5 + mean + 0.01 * i for i, frame in enumerate(frames)]


@dataclass(frozen=True)
class Recurrent:
    """A running mean: a stage that writes the verbs itself, and remembers all of the past."""

    name: str = "recurrent"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(past=None)

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> dict[str, Any]:
        return {"mean": np.zeros((2, 3)), "seen": 0}

    def step(
        self, state: dict[str, Any], frames: Sequence[Frame]
    ) -> tuple[dict[str, Any], list[Frame]]:
        mean, out = state["mean"], []
        for frame in frames:
            mean = 0.5 * mean + picture(frame) + frame.extras.get("test.change", 0.0)
            out.append(frame.made(mean, keep=("cut",)))
        return {"mean": mean, "seen": state["seen"] + len(frames)}, out

    def finish(self, state: dict[str, Any]) -> tuple[None, list[Frame]]:
        return None, []


# One for the whole run: laws are tried on results found as well as on results made.
SHELF = Memory()
KEY = {"source": "made here", "range": "all", "settings": "", "weights": "", "code": ""}

STAGES: dict[str, Callable[[], AnyStage]] = {
    "each": lambda: each(brighten),
    "each on two threads": lambda: each(brighten, threads=2),
    "each with noise": lambda: each(grain),
    "each, feels its batch": lambda: each(feel_batch),
    "windowed, feels its batch": lambda: windowed(feel_windows, 1, 1),
    "windowed, doubles": lambda: windowed(double, 0, 1, first=lambda at: 2 * at.index),
    "windowed, attaches": lambda: windowed(attach_change, 0, 1),
    "windowed, smooths": lambda: windowed(smooth, 2, 2),
    "windowed, looks back": lambda: windowed(ends_marked, 3, 0),
    "windowed, knows its ends": lambda: windowed(ends_marked, 1, 2),
    "blocks": lambda: blocks(clip_mean, 4, keep=("cut",)),
    "blocks, overlapping": lambda: blocks(clip_mean, 5, 2, keep=("cut",)),
    "blocks, mostly overlapping": lambda: blocks(clip_mean, 5, 4),
    "until next": UntilNext,
    "recurrent": Recurrent,
    "cached, recurrent": lambda: cached(Recurrent(), SHELF, KEY, every=4),
    "cached, feels its batch": lambda: cached(each(feel_batch), SHELF, KEY, every=4),
    "guarded, smooths": lambda: check_outputs(windowed(smooth, 2, 2), checks=["finite", "black"]),
    "guarded, cached": lambda: check_outputs(cached(Recurrent(), SHELF, KEY), checks=["finite"]),
    "cached, doubles": lambda: cached(
        windowed(double, 0, 1, first=lambda at: 2 * at.index), SHELF, KEY, every=4
    ),
}

# Contiguous only together: frames are left out, then the rest last until the next.
PAIRS: dict[str, Callable[[], tuple[AnyStage, ...]]] = {
    "leaves out, until next": lambda: (windowed(keep_some, 0, 1), UntilNext()),
}
