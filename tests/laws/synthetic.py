"""Small stages of every kind, and random videos to check them on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction as F
from typing import Any

import numpy as np
from hypothesis import strategies as st

from filmgate.core.adapters import UntilNext, Window, blocks, each, repeat_edges, windowed
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.stage import AnyStage, Reach
from filmgate.core.wrappers.cached import MemoryStore, cached
from filmgate.core.wrappers.output_checks import check_outputs
from filmgate.models.diffusion.noise import draw_noise
from filmgate.testing import SampleVideo

SPEC = StreamSpec(width=3, height=2, rate=None, time_base=F(1, 600), pixels="rgb", dtype="float64")


def make_video(
    durations: Sequence[int], seed: int, cuts: frozenset[int] = frozenset()
) -> SampleVideo:
    """Return tiny images with these durations, in 1/600 s."""
    chance, frames, time = np.random.default_rng(seed), [], F(0)
    for i, ticks in enumerate(durations):
        extras = {"cut": True} if i in cuts and i else {}
        image = np.round(chance.random((2, 3)), 6)
        frames.append(Frame(i, time, F(ticks, 600), image, extras))
        time += F(ticks, 600)
    return SampleVideo(SPEC, tuple(frames))


@st.composite
def videos(draw: st.DrawFn, least: int = 0, most: int = 40) -> SampleVideo:
    """Draw a video of a few frames, of constant or variable rate, with some shot boundaries."""
    n = draw(st.integers(least, most))
    steady = draw(st.booleans())
    ticks = [25] * n if steady else draw(st.lists(st.integers(1, 90), min_size=n, max_size=n))
    cuts = draw(st.frozensets(st.integers(1, max(1, n - 1)), max_size=4))
    return make_video(ticks, draw(st.integers(0, 2**31)), cuts)


def get_image(frame: Frame) -> Any:
    return frame.image


def brighten(frames: Sequence[Frame]) -> list[Frame]:
    return [
        frame.with_image(get_image(frame) * 0.5 + frame.index, keep=("cut",)) for frame in frames
    ]


def add_noise(frames: Sequence[Frame]) -> list[Frame]:
    return [
        f.with_image(get_image(f) + draw_noise(7, "grain", f.index, (2, 3)), keep=("cut",))
        for f in frames
    ]


def add_batch_size(frames: Sequence[Frame]) -> list[Frame]:
    """Change the last bits with the batch size, as networks do."""
    return [
        frame.with_image(get_image(frame) + 1e-7 * len(frames), keep=("cut",)) for frame in frames
    ]


def add_window_count(windows: Sequence[Window]) -> list[list[Frame]]:
    return [[w.centre.with_image(get_image(w.centre) + 1e-7 * len(windows))] for w in windows]


def double_rate(windows: Sequence[Window]) -> list[list[Frame]]:
    frames = []
    for window in windows:
        a, b = repeat_edges(window)
        half, middle = window.centre.duration / 2, (get_image(a) + get_image(b)) / 2
        first = replace(window.centre, duration=half)
        frames.append([first, a.with_image(middle, time=a.time + half, duration=half)])
    return frames


def attach_change(windows: Sequence[Window]) -> list[list[Frame]]:
    pairs = [(w.centre, repeat_edges(w)[1]) for w in windows]
    return [[a.with_extras(**{"test.change": get_image(b) - get_image(a)})] for a, b in pairs]


def smooth(windows: Sequence[Window]) -> list[list[Frame]]:
    def one(window: Window) -> Frame:
        around = repeat_edges(window)
        weighted: Any = sum((k + 1) * get_image(f) for k, f in enumerate(around))
        return window.centre.with_image(weighted, keep=("cut", "test.change"))

    return [[one(window)] for window in windows]


def mark_ends(windows: Sequence[Window]) -> list[list[Frame]]:
    """Add 1 for each missing neighbour and 10 on the last frame."""
    return [
        [
            w.centre.with_image(
                get_image(w.centre) + w.frames.count(None) + 10 * w.last, keep=("cut",)
            )
        ]
        for w in windows
    ]


def keep_some(windows: Sequence[Window]) -> list[list[Frame]]:
    return [[w.centre] if w.centre.index % 3 == 0 or w.last else [] for w in windows]


def add_clip_mean(frames: Sequence[Frame]) -> list[Any]:
    mean = sum(get_image(frame) for frame in frames) / len(frames)
    return [get_image(frame) * 0.5 + mean + 0.01 * i for i, frame in enumerate(frames)]


@dataclass(frozen=True)
class Recurrent:
    """A running mean: a stage without an adapter whose state depends on all of the past."""

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
            mean = 0.5 * mean + get_image(frame) + frame.extras.get("test.change", 0.0)
            out.append(frame.with_image(mean, keep=("cut",)))
        return {"mean": mean, "seen": state["seen"] + len(frames)}, out

    def finish(self, state: dict[str, Any]) -> tuple[None, list[Frame]]:
        return None, []


# Shared by all tests, so that laws are checked on stored results as well as on computed ones.
STORE = MemoryStore()
KEY = {"source": "synthetic", "range": "all", "settings": "", "weights": "", "code": ""}

STAGES: dict[str, Callable[[], AnyStage]] = {
    "each": lambda: each(brighten),
    "each on two threads": lambda: each(brighten, threads=2),
    "each with noise": lambda: each(add_noise),
    "each, depends on its batch": lambda: each(add_batch_size),
    "windowed, depends on its batch": lambda: windowed(add_window_count, 1, 1),
    "windowed, doubles": lambda: windowed(double_rate, 0, 1, first_index=lambda at: 2 * at.index),
    "windowed, attaches": lambda: windowed(attach_change, 0, 1),
    "windowed, smooths": lambda: windowed(smooth, 2, 2),
    "windowed, looks back": lambda: windowed(mark_ends, 3, 0),
    "windowed, marks its ends": lambda: windowed(mark_ends, 1, 2),
    "blocks": lambda: blocks(add_clip_mean, 4, keep=("cut",)),
    "blocks, overlapping": lambda: blocks(add_clip_mean, 5, 2, keep=("cut",)),
    "blocks, mostly overlapping": lambda: blocks(add_clip_mean, 5, 4),
    "durations": UntilNext,
    "recurrent": Recurrent,
    "cached, recurrent": lambda: cached(Recurrent(), STORE, KEY, every=4),
    "cached, depends on its batch": lambda: cached(each(add_batch_size), STORE, KEY, every=4),
    "checked, smooths": lambda: check_outputs(windowed(smooth, 2, 2), checks=["finite", "black"]),
    "checked, cached": lambda: check_outputs(cached(Recurrent(), STORE, KEY), checks=["finite"]),
    "cached, doubles": lambda: cached(
        windowed(double_rate, 0, 1, first_index=lambda at: 2 * at.index), STORE, KEY, every=4
    ),
}

# Contiguous only together: the first drops frames, the second extends the rest.
PAIRS: dict[str, Callable[[], tuple[AnyStage, ...]]] = {
    "drops frames, until next": lambda: (windowed(keep_some, 0, 1), UntilNext()),
}
