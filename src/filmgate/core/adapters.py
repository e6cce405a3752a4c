"""Adapters that make a stage from a pure function of frames: each, windowed, blocks."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol

from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.prefetch import map_threads
from filmgate.core.stage import Reach, frames_to_seconds
from filmgate.errors import BadSetting, StageContractError


def _keep_spec(spec: StreamSpec) -> StreamSpec:
    return spec


def _get_index(first: Position) -> int:
    return first.index


def _get_name(fn: Callable[..., Any]) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__)).strip("_")


def _require_function(fn: object, adapter: str) -> None:
    if not callable(fn):
        raise BadSetting(f"{adapter} got {fn!r:.60}, wanted a function: pass one of frames")


def _list_outputs(outputs: object, name: str) -> list[Any]:
    """Return what a user's function returned as a list. Raises StageContractError."""
    if isinstance(outputs, Frame) or not isinstance(outputs, Iterable):
        raise StageContractError(
            f"{name} returned {type(outputs).__name__}, wanted a list: the function gets several "
            "frames and returns a list for them"
        )
    return list(outputs)


def _require_frames(outputs: Sequence[object], name: str) -> None:
    for output in outputs:
        if not isinstance(output, Frame):
            raise StageContractError(
                f"{name} returned {type(output).__name__} in place of a Frame: return "
                "frame.with_image(image)"
            )


@dataclass(frozen=True, slots=True)
class Window:
    """A frame and its neighbours; None outside the video and beyond a shot boundary."""

    frames: tuple[Frame | None, ...]
    centre: Frame
    last: bool  # the centre is the video's last frame (never known if `after` is 0)


def repeat_edges(window: Window) -> list[Frame]:
    """Return the window's frames with the nearest frame in place of each missing one."""
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
    """The stage made by `each`. Its state is empty."""

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
            outputs = _list_outputs(self.fn(frames), self.name)
        else:
            parts = map_threads(self.fn, [[frame] for frame in frames], self.threads)
            outputs = [frame for part in parts for frame in part]
        _require_frames(outputs, self.name)
        if len(outputs) != len(frames):
            raise StageContractError(
                f"{self.name} returned {len(outputs)} frames for {len(frames)}: a function for "
                "`each` must return one frame per input. Use `windowed` for any other number"
            )
        pairs = zip(frames, outputs, strict=True)
        return (), [replace(new, index=old.index) for old, new in pairs]

    def finish(self, state: tuple[()]) -> tuple[None, list[Frame]]:
        return None, []


def each(
    fn: EachFn,
    *,
    name: str = "",
    output: Callable[[StreamSpec], StreamSpec] = _keep_spec,
    threads: int = 1,
) -> Each:
    """Return a stage that applies `fn` to frames that do not depend on each other.

    `fn` takes a batch of frames and returns as many. With `threads` > 1 it is called with one
    frame at a time on that many threads, so it must be thread-safe; the order is kept.
    """
    _require_function(fn, "each")
    if threads < 1:
        raise BadSetting(f"threads is {threads}: pass 1 or more")
    return Each(fn, name or _get_name(fn), output, threads)


# --- windowed -------------------------------------------------------------------------------------

WindowFn = Callable[[Sequence[Window]], Sequence[Sequence[Frame]]]


@dataclass(frozen=True, slots=True)
class WindowState:
    """The state of `windowed`: frames still needed, the next centre, the next output index."""

    frames: tuple[Frame, ...]
    centre: int  # position in `frames`
    number: int


@dataclass(frozen=True)
class Windowed:
    """The stage made by `windowed`."""

    fn: WindowFn
    before: int
    after: int
    name: str
    spec: Callable[[StreamSpec], StreamSpec]
    first_index: Callable[[Position], int]

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(frames_to_seconds(self.before, spec), frames_to_seconds(self.after, spec))

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.spec(spec)

    def start(self, spec: StreamSpec, first: Position) -> WindowState:
        return WindowState((), 0, self.first_index(first))

    def step(self, state: WindowState, frames: Sequence[Frame]) -> tuple[WindowState, list[Frame]]:
        buffer = (*state.frames, *frames)
        ready = max(state.centre, len(buffer) - self.after)
        return self._process(buffer, state, ready, ended=False)

    def finish(self, state: WindowState) -> tuple[WindowState | None, list[Frame]]:
        if state.centre == len(state.frames):
            return None, []
        return self._process(state.frames, state, state.centre + 1, ended=True)

    def _process(
        self, buffer: tuple[Frame, ...], state: WindowState, ready: int, ended: bool
    ) -> tuple[WindowState, list[Frame]]:
        """Apply `fn` to the windows with centres from `state.centre` to `ready` in `buffer`."""
        centres = range(state.centre, ready)
        final = len(buffer) - 1 if ended else None
        windows = [self._make_window(buffer, i, last=i == final) for i in centres]
        results = _list_outputs(self.fn(windows), self.name) if windows else []
        if len(results) != len(windows):
            raise StageContractError(
                f"{self.name} returned {len(results)} results for {len(windows)} windows: return "
                "one list of frames, possibly empty, per window"
            )
        parts = [_list_outputs(result, self.name) for result in results]
        outputs = [frame for part in parts for frame in part]
        _require_frames(outputs, self.name)
        outputs = [replace(frame, index=state.number + i) for i, frame in enumerate(outputs)]
        drop = max(0, ready - self.before)
        return WindowState(buffer[drop:], ready - drop, state.number + len(outputs)), outputs

    def _make_window(self, buffer: tuple[Frame, ...], centre: int, last: bool) -> Window:
        low = high = centre
        while low > max(0, centre - self.before) and not buffer[low].extras.get("cut"):
            low -= 1
        top = min(len(buffer) - 1, centre + self.after)
        while high < top and not buffer[high + 1].extras.get("cut"):
            high += 1
        places = range(centre - self.before, centre + self.after + 1)
        return Window(
            tuple(buffer[i] if low <= i <= high else None for i in places), buffer[centre], last
        )


def windowed(
    fn: WindowFn,
    before: int = 0,
    after: int = 0,
    *,
    name: str = "",
    output: Callable[[StreamSpec], StreamSpec] = _keep_spec,
    first_index: Callable[[Position], int] = _get_index,
) -> Windowed:
    """Return a stage that applies `fn` to frames and a fixed number of neighbours.

    `fn` takes a batch of windows and returns a list of frames (none, one or more) for each.
    `first_index` returns the index of the first output, given the position of the first input.
    """
    _require_function(fn, "windowed")
    if before < 0 or after < 0:
        raise BadSetting(f"before is {before} and after is {after}: pass 0 or more frames")
    return Windowed(fn, before, after, name or _get_name(fn), output, first_index)


# --- blocks ---------------------------------------------------------------------------------------


class Blendable(Protocol):
    """An image that `blocks` can blend: an array, a tensor, a number."""

    def __add__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...


BlockFn = Callable[[Sequence[Frame]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class BlockState:
    """The state of `blocks`: buffered frames, images for the first of them, padding in front."""

    frames: tuple[Frame, ...]
    images: tuple[Any, ...]
    lead: int


@dataclass(frozen=True)
class Blocks:
    """The stage made by `blocks`."""

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
        # Blending passes images on from block to block while the overlap exceeds the stride.
        chained = -(-self.overlap // self.stride)
        past = frames_to_seconds(self.length - 1 + chained * self.stride, spec)
        return Reach(past, frames_to_seconds(self.length - 1, spec))

    def output(self, spec: StreamSpec) -> StreamSpec:
        return self.spec(spec)

    def start(self, spec: StreamSpec, first: Position) -> BlockState:
        return BlockState((), (), first.index % self.stride)

    def step(self, state: BlockState, frames: Sequence[Frame]) -> tuple[BlockState, list[Frame]]:
        buffer, images, lead, outputs = state.frames, state.images, state.lead, list[Frame]()
        if lead and not buffer and frames:
            buffer = (frames[0],) * lead
        buffer = (*buffer, *frames)
        while len(buffer) >= self.length:
            blended = self._process(buffer[: self.length], images)
            outputs += self._make_frames(buffer[lead : self.stride], blended[lead:])
            buffer, images, lead = buffer[self.stride :], tuple(blended[self.stride :]), 0
        return BlockState(buffer, images, lead), outputs

    def finish(self, state: BlockState) -> tuple[None, list[Frame]]:
        buffer, images, lead = state.frames, state.images, state.lead
        if len(buffer) == len(images):
            return None, self._make_frames(buffer, images)
        padded = buffer + (buffer[-1],) * (self.length - len(buffer))
        return None, self._make_frames(buffer[lead:], self._process(padded, images)[lead:])

    def _process(self, clip: Sequence[Frame], earlier: Sequence[Blendable]) -> list[Any]:
        """Apply `fn` to a clip and blend its first images with those of the clip before."""
        images = _list_outputs(self.fn(clip), self.name)
        if len(images) != self.length:
            raise StageContractError(f"{self.name} returned {len(images)} images for a clip of "
                                     f"{self.length} frames: return one per frame")  # fmt: skip
        for i, old in enumerate(earlier):
            images[i] = old + (images[i] - old) * ((i + 1) / (len(earlier) + 1))
        return images

    def _make_frames(self, frames: Sequence[Frame], images: Sequence[Any]) -> list[Frame]:
        pairs = zip(frames, images, strict=False)
        return [frame.with_image(image, keep=self.keep) for frame, image in pairs]


def blocks(
    fn: BlockFn,
    length: int,
    overlap: int = 0,
    *,
    name: str = "",
    output: Callable[[StreamSpec], StreamSpec] = _keep_spec,
    keep: tuple[str, ...] = (),
) -> Blocks:
    """Return a stage for a model that takes clips of fixed length, on multiples of the stride.

    `fn` takes exactly `length` frames and returns an image (tensor or array) for each; images in
    the overlap of two clips are blended linearly. The last clip is padded with its last frame.
    """
    _require_function(fn, "blocks")
    if not 0 <= overlap < length:
        raise BadSetting(f"overlap is {overlap} and length {length}: wanted 0 <= overlap < length")
    return Blocks(fn, length, overlap, name or _get_name(fn), output, keep)


# --- until next -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class UntilNext:
    """A stage that extends each frame to the next one's time; the last keeps its duration.

    For use after functions that drop or move frames. A last frame of duration 0 is not shown and
    only marks the end. The state is the frame that waits for the next.
    """

    name: str = "durations"

    def reach(self, spec: StreamSpec) -> Reach:
        return Reach(Fraction(0), frames_to_seconds(1, spec))

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
