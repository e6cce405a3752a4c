"""The adapters: a pure function of frames, made into a stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.prefetch import map_threads
from filmgate.core.stage import Reach, frames_long
from filmgate.errors import BadSetting, StageContractError


def _same(spec: StreamSpec) -> StreamSpec:
    return spec


def _index(first: Position) -> int:
    return first.index


@dataclass(frozen=True, slots=True)
class Window:
    """A frame and its neighbours; one outside the film or beyond a cut is None."""

    frames: tuple[Frame | None, ...]
    centre: Frame
    last: bool  # no frame of the film follows the centre (never known where `after` is 0)


def repeat_edges(window: Window) -> list[Frame]:
    """The window's frames, with the nearest one in place of each that is missing."""
    middle = next(i for i, frame in enumerate(window.frames) if frame is window.centre)
    filled: list[Frame] = [window.centre] * len(window.frames)
    for step, stop in ((-1, -1), (1, len(window.frames))):
        nearest = window.centre
        for i in range(middle, stop, step):
            nearest = filled[i] = window.frames[i] or nearest
    return filled


# --- each -----------------------------------------------------------------------------------------

EachFn = Callable[[Sequence[Frame]], Sequence[Frame]]


@dataclass(frozen=True)
class Each:
    """See `each`. Its state is empty."""

    fn: EachFn
    name: str
    spec: Callable[[StreamSpec], StreamSpec]
    threads: int

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach()

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.spec(spec)

    def start(self, spec: StreamSpec, first: Position) -> tuple[()]:
        return ()

    def step(self, state: tuple[()], frames: Sequence[Frame]) -> tuple[tuple[()], list[Frame]]:
        if self.threads == 1:
            made = list(self.fn(frames))
        else:
            parts = map_threads(self.fn, [[frame] for frame in frames], self.threads)
            made = [frame for part in parts for frame in part]
        if len(made) != len(frames):
            raise StageContractError(
                f"{self.name}: {len(frames)} frames went in and {len(made)} came "
                "out; `each` is one for one, use `windowed`"
            )
        pairs = zip(frames, made, strict=True)
        return (), [replace(new, index=old.index) for old, new in pairs]

    def finish(self, state: tuple[()]) -> tuple[None, list[Frame]]:
        return None, []


def each(
    fn: EachFn,
    *,
    name: str = "",
    output: Callable[[StreamSpec], StreamSpec] = _same,
    threads: int = 1,
) -> Each:
    """A stage of frames that have nothing to do with each other.

    `fn` takes a batch and gives as many. With `threads` > 1 it is called with one frame at a time
    on that many threads, order kept; it must then be safe to call from several.
    """
    return Each(fn, name or _named(fn), output, threads)


# --- windowed -------------------------------------------------------------------------------------

WindowFn = Callable[[Sequence[Window]], Sequence[Sequence[Frame]]]


@dataclass(frozen=True, slots=True)
class Held:
    """What `windowed` remembers: frames still needed, which is the next centre, the next number."""

    frames: tuple[Frame, ...]
    centre: int
    number: int


@dataclass(frozen=True)
class Windowed:
    """See `windowed`."""

    fn: WindowFn
    before: int
    after: int
    name: str
    spec: Callable[[StreamSpec], StreamSpec]
    first: Callable[[Position], int]

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(frames_long(self.before, spec), frames_long(self.after, spec))

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.spec(spec)

    def start(self, spec: StreamSpec, first: Position) -> Held:
        return Held((), 0, self.first(first))

    def step(self, state: Held, frames: Sequence[Frame]) -> tuple[Held, list[Frame]]:
        held = (*state.frames, *frames)
        ready = max(state.centre, len(held) - self.after)
        return self._make(held, state, ready, ended=False)

    def finish(self, state: Held) -> tuple[Held | None, list[Frame]]:
        if state.centre == len(state.frames):
            return None, []
        return self._make(state.frames, state, state.centre + 1, ended=True)

    def _make(
        self, held: tuple[Frame, ...], state: Held, ready: int, ended: bool
    ) -> tuple[Held, list[Frame]]:
        centres = range(state.centre, ready)
        windows = [self._window(held, c, last=ended and c == len(held) - 1) for c in centres]
        results = self.fn(windows) if windows else []
        if len(results) != len(windows):
            raise StageContractError(
                f"{self.name}: {len(windows)} windows went in and {len(results)} "
                "results came out; give a list, empty or not, for each"
            )
        made = [frame for result in results for frame in result]
        made = [replace(frame, index=state.number + i) for i, frame in enumerate(made)]
        drop = max(0, ready - self.before)
        return Held(held[drop:], ready - drop, state.number + len(made)), made

    def _window(self, held: tuple[Frame, ...], centre: int, last: bool) -> Window:
        low = high = centre
        while low > max(0, centre - self.before) and not held[low].extras.get("cut"):
            low -= 1
        top = min(len(held) - 1, centre + self.after)
        while high < top and not held[high + 1].extras.get("cut"):
            high += 1
        around = range(centre - self.before, centre + self.after + 1)
        return Window(
            tuple(held[i] if low <= i <= high else None for i in around), held[centre], last
        )


def windowed(
    fn: WindowFn,
    before: int = 0,
    after: int = 0,
    *,
    name: str = "",
    output: Callable[[StreamSpec], StreamSpec] = _same,
    first: Callable[[Position], int] = _index,
) -> Windowed:
    """A stage of frames and their fixed neighbourhood: flow, interpolation, smoothing.

    `fn` takes a batch of windows and gives a list of frames (none, one or more) for each. `first`
    says which number its first result has when a stream begins at a given frame.
    """
    return Windowed(fn, before, after, name or _named(fn), output, first)


# --- blocks ---------------------------------------------------------------------------------------


class Blendable(Protocol):
    """What `blocks` can blend: an array, a tensor, a number."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...


BlockFn = Callable[[Sequence[Frame]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Clip:
    """What `blocks` remembers: frames held, values made for the first of them, padding in front."""

    frames: tuple[Frame, ...]
    made: tuple[Any, ...]
    lead: int


@dataclass(frozen=True)
class Blocks:
    """See `blocks`."""

    fn: BlockFn
    length: int
    overlap: int
    name: str
    spec: Callable[[StreamSpec], StreamSpec]
    keep: tuple[str, ...]

    @property
    def stride(self) -> int:
        return self.length - self.overlap

    def reach(self, spec: StreamSpec) -> Reach:
        # Blending hands values on from block to block while the overlap exceeds the stride.
        chained = -(-self.overlap // self.stride)
        past = frames_long(self.length - 1 + chained * self.stride, spec)
        return Reach(past, frames_long(self.length - 1, spec))

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.spec(spec)

    def start(self, spec: StreamSpec, first: Position) -> Clip:
        return Clip((), (), first.index % self.stride)

    def step(self, state: Clip, frames: Sequence[Frame]) -> tuple[Clip, list[Frame]]:
        held, made, lead, out = state.frames, state.made, state.lead, list[Frame]()
        if lead and not held and frames:
            held = (frames[0],) * lead
        held = (*held, *frames)
        while len(held) >= self.length:
            values = self._values(held[: self.length], made)
            out += self._results(held[lead : self.stride], values[lead:])
            held, made, lead = held[self.stride :], tuple(values[self.stride :]), 0
        return Clip(held, made, lead), out

    def finish(self, state: Clip) -> tuple[None, list[Frame]]:
        held, made, lead = state.frames, state.made, state.lead
        if len(held) == len(made):
            return None, self._results(held, made)
        padded = held + (held[-1],) * (self.length - len(held))
        return None, self._results(held[lead:], self._values(padded, made)[lead:])

    def _values(self, clip: Sequence[Frame], made: Sequence[Blendable]) -> list[Any]:
        new = list(self.fn(clip))
        if len(new) != self.length:
            raise StageContractError(f"{self.name}: a clip of {self.length} frames went in and "
                              f"{len(new)} results came out; give one for each")  # fmt: skip
        for i, old in enumerate(made):
            new[i] = old + (new[i] - old) * ((i + 1) / (len(made) + 1))
        return new

    def _results(self, frames: Sequence[Frame], values: Sequence[Any]) -> list[Frame]:
        pairs = zip(frames, values, strict=False)
        return [frame.made(value, keep=self.keep) for frame, value in pairs]


def blocks(
    fn: BlockFn,
    length: int,
    overlap: int = 0,
    *,
    name: str = "",
    output: Callable[[StreamSpec], StreamSpec] = _same,
    keep: tuple[str, ...] = (),
) -> Blocks:
    """A stage of a model that works on clips of fixed length, anchored to multiples of the stride.

    `fn` takes exactly `length` frames and gives an image (tensor or array) for each; where clips
    overlap, images are blended linearly. The last clip is padded with its last frame and cut back.
    """
    if not 0 <= overlap < length:
        raise BadSetting(f"overlap is {overlap} and length {length}: wanted 0 <= overlap < length")
    return Blocks(fn, length, overlap, name or _named(fn), output, keep)


# --- until next -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class UntilNext:
    """Lets every frame last until the next one's time, and the last as long as it says itself.

    For functions that leave frames out or place them anew. A last frame that lasts 0 is no picture
    but says where the film ends. Its state is the frame that waits.
    """

    name: str = "until next"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(Fraction(0), frames_long(1, spec))

    def output(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def start(self, spec: StreamSpec, first: Position) -> tuple[Frame, ...]:
        return ()

    def step(
        self, state: tuple[Frame, ...], frames: Sequence[Frame]
    ) -> tuple[tuple[Frame, ...], list[Frame]]:
        waiting = (*state, *frames)
        pairs = pairwise(waiting)
        return waiting[-1:], [replace(a, duration=b.time - a.time) for a, b in pairs]

    def finish(self, state: tuple[Frame, ...]) -> tuple[None, list[Frame]]:
        return None, [frame for frame in state if frame.duration]


def _named(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__)).strip("_")
