"""The run loop: decode ahead, compute, encode behind, commit."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from time import monotonic, perf_counter
from typing import Any, Protocol

from filmgate.core.chain import Chain, ChainState
from filmgate.core.events import (
    Committed,
    Done,
    Event,
    Prepared,
    Progress,
    Remarks,
    Replanned,
    Started,
    Warned,
    make_warnings,
)
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.fault_injection import inject_fault
from filmgate.core.instrumentation.memory import make_memory_meter
from filmgate.core.job import Sink, Source
from filmgate.core.plan import Plan, replace_bad_frames
from filmgate.core.prefetch import prefetch
from filmgate.core.snapshot import Cursor, Journal, Snapshot
from filmgate.core.values import count_bytes
from filmgate.errors import BadSetting, FilmgateError, OutOfMemory, StageContractError

_PREPARED_S = 1.0  # between two stored states before the first frame
_STEP_S = 5.0  # a slow chain gets so few frames at a time that a step takes about that long

Chunk = tuple[list[Frame], list[Cursor]]  # with the cursor after each frame


@dataclass(frozen=True, slots=True)
class ChainOutput:
    """Frames from the chain, and the source position they correspond to."""

    frames: list[Frame]
    read: int  # source frames so far
    time: Fraction  # source time so far
    concealed: int = 0  # source frames so far that were damaged and replaced


@dataclass(frozen=True, slots=True)
class JournalPoint:
    """A snapshot between two commits, for the journal."""

    snapshot: Snapshot
    is_prepared: bool = False  # it is before the next frame, and stays until a commit


class FrameWatch(Protocol):
    """Sees the frames of a run, such as to show some. It must be fast, and change nothing."""

    def see(self, inputs: Sequence[Frame], outputs: Sequence[Frame]) -> None:
        """Take note of frames that went into the chain, and of those that came out of it then."""
        ...


Item = ChainOutput | Snapshot | JournalPoint | Prepared | Replanned | Warned


def run(
    source: Source,
    chain: Chain,
    sink: Sink,
    plan: Plan,
    resume: Snapshot | None = None,
    journal: Journal | None = None,
    watch: FrameWatch | None = None,
) -> Generator[Event, None, None]:
    """Run the source through the chain into the sink; yield events.

    Three threads: decode, compute, and the caller's, which encodes. A snapshot travels behind the
    frames before it: when the sink gets it, all of them are written. A `journal` stores frames of a
    slow run between commits, and may have some after `resume`. `watch` is called while computing.
    """
    started, clock, spec = perf_counter(), chain.clock, source.spec
    journal = None if plan.bad_frames else journal  # replacing looks back to the segment's start
    later = journal.restore(resume, plan.segment_frames) if journal else None
    interval_s = journal.interval_s if journal else None
    _check_resume(spec, chain, plan, later or resume)
    if journal and later:
        _write_again(journal, sink)
        resume = later
    resident_bytes, remarks = make_memory_meter(), Remarks()
    here = resume or Snapshot(Cursor(0, 0), None, (), 0)
    read, written, concealed = here.cursor.index, here.written, here.concealed
    yield Started(spec, chain.output(spec), chain.names, plan, read)
    # No variable for the inner generator: it would keep the source open after an error.
    chunks = clock.time_items("decode", _read_chunks(source, resume, plan.chunk))
    with (
        prefetch(chunks, plan.queue_bytes, count_bytes, "decode", clock.level) as decoded,
        prefetch(_compute(decoded, spec, chain, plan, resume, interval_s, watch),
                 plan.queue_bytes, count_bytes, "compute", clock.level) as items,
    ):  # fmt: skip
        for item in items:
            if isinstance(item, Prepared | Replanned | Warned):
                yield item
            elif isinstance(item, Snapshot):
                with clock.busy("encode"):
                    inject_fault("encode.before_commit")
                    sink.commit(item)
                    inject_fault("encode.after_commit")
                if journal:
                    journal.commit(item)
                yield Committed(item)
            elif isinstance(item, JournalPoint):
                if journal and _save_point(journal, item):
                    yield Committed(item.snapshot)
            else:
                yield from remarks.report(item.frames)
                with clock.busy("encode", len(item.frames)):
                    inject_fault("encode.before_write")
                    sink.write(item.frames)
                if journal:
                    journal.write(item.frames, item.read)
                read, written, concealed = item.read, written + len(item.frames), item.concealed
                yield Progress(read, written, item.time, perf_counter() - started, resident_bytes(),
                               dict(clock.seconds))  # fmt: skip
    yield from remarks.finish()
    yield Done(read, written, perf_counter() - started, dict(clock.seconds), concealed)


def iter_frames(
    source: Source, chain: Chain, plan: Plan, resume: Snapshot | None = None
) -> Generator[Frame, None, None]:
    """Yield the result's frames as they are computed, for Python code instead of a sink."""
    chunks = _read_chunks(source, resume, plan.chunk)
    with prefetch(chunks, plan.queue_bytes, count_bytes, "decode") as decoded:
        for item in _compute(decoded, source.spec, chain, plan, resume):
            if isinstance(item, ChainOutput):
                yield from item.frames


def _save_point(journal: Journal, point: JournalPoint) -> bool:
    if point.is_prepared:
        inject_fault("prepare.before_save")
    return journal.save(point.snapshot, is_prepared=point.is_prepared)


def _check_resume(spec: StreamSpec, chain: Chain, plan: Plan, resume: Snapshot | None) -> None:
    """Raise BadSetting if the plan, or the snapshot to resume from, is of another chain."""
    state = resume.state if resume else None
    stages = [batch.stage for batch in plan.reduced_batches]
    specs = chain.specs(spec)[:-1]
    if any(stage >= len(specs) for stage in stages) or (
        state is not None and tuple(own.spec for own in state) != specs
    ):
        raise BadSetting(
            f"the stored run is not of {chain.name} for {spec.width} x {spec.height} "
            f"{spec.pixels}: it is damaged, or of another job. Run the same command with "
            "--restart to start again"
        )


def _write_again(journal: Journal, sink: Sink) -> None:
    """Give the frames in a journal to the sink. Raises BadSetting if it cannot take them."""
    try:
        for frames in journal.read_frames():
            sink.write(frames)
    except (FilmgateError, OSError):
        raise
    except Exception as error:
        raise BadSetting(
            f"the frames of the stored run cannot be written ({type(error).__name__}: "
            f"{error!s:.200}): it is damaged. Run the same command with --restart to start again"
        ) from error


def _read_chunks(source: Source, resume: Snapshot | None, size: int) -> Iterator[Chunk]:
    """Yield chunks that end at multiples of `size`."""
    cursor = resume.cursor if resume and resume.cursor.index else None
    for chunk in _join_frames(source.read(cursor, 1), size):
        inject_fault("decode.chunk")
        yield chunk
        del chunk  # or it stays alive here while the next one is decoded


def _join_frames(singles: Iterator[tuple[list[Frame], Cursor]], size: int) -> Iterator[Chunk]:
    frames, cursors = list[Frame](), list[Cursor]()
    for single, after in singles:
        frames += single
        cursors.append(after)
        del single
        if after.index % size == 0:
            yield frames, cursors
            frames, cursors = [], []
    if frames:
        yield frames, cursors


@dataclass
class _Pace:
    """Splits chunks where a batch was reduced, and those of a slow run that can be stored between.

    Frames give the same results however they arrive.
    """

    plan: Plan
    is_stored: bool
    frame_s: float = _STEP_S  # the time of a frame, at most: at first they go one by one

    def split(
        self, frames: list[Frame], cursors: list[Cursor]
    ) -> Iterator[tuple[list[Frame], Cursor]]:
        """Yield parts of a chunk, with the cursor after each."""
        while frames:
            first, count = frames[0].index, len(frames)
            if self.is_stored:
                count = min(count, max(1, int(_STEP_S / max(self.frame_s, 1e-6))))
            cuts = (reduced.index - first for reduced in self.plan.reduced_batches)
            count = min(count, *(cut for cut in cuts if cut > 0), count)
            yield frames[:count], cursors[count - 1]
            frames, cursors = frames[count:], cursors[count:]

    @contextmanager
    def measure(self, count: int) -> Iterator[None]:
        """Measure a step of `count` frames."""
        start = monotonic()
        yield
        self.frame_s = max((monotonic() - start) / count, self.frame_s / 2)  # most fill a batch


def _compute(
    chunks: Iterator[Chunk],
    spec: StreamSpec,
    chain: Chain,
    plan: Plan,
    resume: Snapshot | None,
    interval_s: float | None = None,
    watch: FrameWatch | None = None,
) -> Generator[Item, None, None]:
    """Yield the chain's output, a snapshot whenever one is due, and messages.

    Between snapshots there is a JournalPoint every `interval_s` (None: never).
    """
    stored_s = monotonic()
    here = resume or Snapshot(Cursor(0, 0), None, (), 0)
    cursor, state, due, segment, time = here.cursor, here.state, here.due, here.segment, Fraction(0)
    concealed, moves = here.concealed, here.moves
    row, stored = False, state is not None  # the frame before was concealed; nothing came out yet
    pace, prepared = _Pace(plan, is_stored=interval_s is not None), False
    for inputs, cursors in replace_bad_frames(chunks, plan):
        if here.moves or (here.state is None and here.segment):
            raise _refuse_more_frames(inputs[0].index)
        inject_fault("compute.step")
        state = state or chain.start(spec, inputs[0].position)
        if not prepared:
            chain, state = yield from _prepare(chain, replace(here, state=state), stored)
            prepared, stored_s = True, monotonic()
        for frames, cursor in pace.split(inputs, cursors):
            yield from make_warnings(frames, row)
            row = "concealed" in frames[-1].extras
            concealed += sum("concealed" in frame.extras for frame in frames)
            index, time, move = frames[0].index, frames[-1].end, _make_step(state, frames)
            chain = _apply_reduced_batches(chain, plan, index)
            with pace.measure(len(frames)):
                chain, (state, outputs) = yield from _run_move(chain, index, move, due, stored)
            due, stored = _advance(due, outputs, chain), stored and not outputs
            if watch is not None:
                watch.see(frames, outputs)
            yield ChainOutput(outputs, cursor.index, time, concealed)
            if cursor.index % plan.segment_frames == 0:
                segment, stored_s = segment + 1, monotonic()
                yield Snapshot(cursor, state, due, segment, concealed)
            elif interval_s is not None and monotonic() - stored_s >= interval_s:
                stored_s = monotonic()
                yield JournalPoint(Snapshot(cursor, state, due, segment, concealed))
    if state and not prepared:
        chain, state = yield from _prepare(chain, here, stored)
    while state:  # moves at the end count as frames, so that each has its own index
        index = cursor.index + moves
        chain = _apply_reduced_batches(chain, plan, index)
        move = _make_finish(state)
        chain, (state, outputs) = yield from _run_move(chain, index, move, due, stored)
        due, stored, moves = _advance(due, outputs, chain), stored and not outputs, moves + 1
        if watch is not None:
            watch.see((), outputs)
        yield ChainOutput(outputs, cursor.index, time, concealed)
        if state and interval_s is not None and monotonic() - stored_s >= interval_s:
            stored_s = monotonic()
            yield JournalPoint(Snapshot(cursor, state, due, segment, concealed, moves))
    yield Snapshot(cursor, None, due, segment + 1, concealed)


def _prepare(
    chain: Chain, here: Snapshot, stored: bool
) -> Generator[Item, None, tuple[Chain, ChainState]]:
    """Let the stages do what they do before their next frame, which `here` is before.

    Each move is reported. The states are stored when enough time has passed, and the last one.
    `stored`: the state of `here` comes from a stored run.
    """
    state, index, stored_s = here.state, here.cursor.index + here.moves, monotonic()
    assert state is not None
    started_s = stored_s
    while chain.prepares:
        inject_fault("prepare.move")
        move = partial(_make_preparation, state)
        chain, (made, _) = yield from _run_move(chain, index, move, here.due, stored)
        if made is None:
            break
        if made.notice:
            yield Warned(made.notice)
        is_new, state = made.state is not state, made.state
        yield Prepared(made.stage, made.done, made.total, made.what, monotonic() - started_s,
                       made.next_s, made.preview)  # fmt: skip
        if is_new and (made.done == made.total or monotonic() - stored_s >= _PREPARED_S):
            yield JournalPoint(replace(here, state=state), is_prepared=True)
            stored_s = monotonic()
    return chain, state


def _make_preparation(state: ChainState, chain: Chain) -> tuple[Any, list[Frame]]:
    return chain.prepare(state), []


def _refuse_more_frames(index: int) -> BadSetting:
    return BadSetting(
        f"the stored run ended before frame {index}, and the source has more: it is damaged, or of "
        "another video. Run the same command with --restart to start again"
    )


Move = Callable[[Chain], tuple[Any, list[Frame]]]


def _make_step(state: ChainState, frames: list[Frame]) -> Move:
    return lambda chain: chain.step(state, frames)


def _make_finish(state: ChainState) -> Move:
    return lambda chain: chain.finish(state)


def _explain_failure(move: Move, due: tuple[Position, ...]) -> Move:
    """Return a first move of a resumed run: a state that the stages cannot take is reported."""

    def run_move(chain: Chain) -> tuple[Any, list[Frame]]:
        try:
            state, outputs = move(chain)
            _advance(due, outputs, chain)
            return state, outputs
        except Exception as error:
            if isinstance(error, FilmgateError) and not isinstance(error, StageContractError):
                raise
            raise BadSetting(
                f"cannot resume: {chain.name} fails with the stored state ({type(error).__name__}: "
                f"{error!s:.200}). If the run was damaged or copied from elsewhere, run the same "
                "command with --restart to start again"
            ) from error

    return run_move


def _apply_reduced_batches(chain: Chain, plan: Plan, index: int) -> Chain:
    """Return the chain with the batches that out-of-memory left at this frame in an earlier run."""
    batches = list(chain.batches)
    for reduced in plan.reduced_batches:
        if reduced.index <= index:
            batches[reduced.stage] = min(batches[reduced.stage], reduced.batch)
    return chain if tuple(batches) == chain.batches else replace(chain, batches=tuple(batches))


def _run_move(
    chain: Chain, index: int, move: Move, due: tuple[Position, ...], stored: bool
) -> Generator[Replanned, None, tuple[Chain, tuple[Any, list[Frame]]]]:
    """Run a move, halving the batch of the stage that runs out of memory until it fits.

    `stored`: it is the first one of a resumed run, see `_explain_failure`.
    """
    move = _explain_failure(move, due) if stored else move
    while True:
        try:
            return chain, move(chain)
        except OutOfMemory as error:
            stage, why = error.stage, error.why
        # Outside of the handler, whose traceback keeps the failed tensors alive.
        chain = chain.halve_batch(stage)
        yield Replanned(index, chain.names[stage], chain.batches[stage], why)


def _advance(due: tuple[Position, ...], outputs: list[Frame], chain: Chain) -> tuple[Position, ...]:
    """Return where the next frame must be. Raises StageContractError at a gap in time or index."""
    for frame in outputs:
        if due and frame.position != due[0]:
            raise StageContractError(
                f"{chain.name} returned frame {frame.index} at {frame.time} s: expected frame "
                f"{due[0].index} at {due[0].time} s. Output frames must follow without a gap"
            )
        due = (Position(frame.index + 1, frame.end),)
    return due
