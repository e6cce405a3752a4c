"""THE LOOP: decode ahead, compute, encode behind, commit."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from time import perf_counter
from typing import Any

from filmgate.core.chain import Chain, ChainState
from filmgate.core.events import Committed, Done, Event, Progress, Replanned, Started, Warned
from filmgate.core.frame import Frame, Position, StreamSpec
from filmgate.core.instrumentation.fault_injection import fault
from filmgate.core.instrumentation.memory import resident_meter
from filmgate.core.job import Sink, Source
from filmgate.core.plan import Plan
from filmgate.core.prefetch import prefetch
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.core.values import flatten_image, nbytes
from filmgate.errors import OutOfMemory, StageContractError

Chunk = tuple[list[Frame], Cursor]


@dataclass(frozen=True, slots=True)
class Made:
    """What came out of the chain, how far in the source that is, and how much so far is mended."""

    frames: list[Frame]
    read: int
    time: Fraction
    concealed: int = 0


Item = Made | Snapshot | Replanned | Warned


def run(
    source: Source, chain: Chain, sink: Sink, plan: Plan, resume: Snapshot | None = None
) -> Generator[Event, None, None]:
    """Takes the film through the chain into the sink; says what happens.

    Three threads: decode, compute, and the caller's, which encodes. A snapshot travels behind the
    frames it covers, so when the sink meets it everything before is written.
    """
    began, clock, spec, resident_bytes = perf_counter(), chain.clock, source.spec, resident_meter()
    here = resume or Snapshot(Cursor(0, 0), None, (), 0)
    read, written, mended = here.cursor.index, here.written, here.concealed
    yield Started(spec, chain.output(spec), chain.names, plan, read)
    chunks = clock.each("decode", _read(source, resume.cursor if resume else None, plan.chunk))
    with (
        prefetch(chunks, plan.queue_bytes, nbytes, "decode", clock.level) as decoded,
        prefetch(_compute(decoded, spec, chain, plan, resume), plan.queue_bytes, nbytes,
              "compute", clock.level) as items,
    ):  # fmt: skip
        for item in items:
            if isinstance(item, Replanned | Warned):
                yield item
            elif isinstance(item, Snapshot):
                with clock.busy("encode"):
                    fault("encode.before_commit")
                    sink.commit(item)
                    fault("encode.after_commit")
                yield Committed(item)
            else:
                with clock.busy("encode"):
                    fault("encode.before_write")
                    sink.write(item.frames)
                read, written = item.read, written + len(item.frames)
                mended = item.concealed
                seconds, busy = perf_counter() - began, dict(clock.seconds)
                yield Progress(read, written, item.time, seconds, resident_bytes(), busy)
    yield Done(read, written, perf_counter() - began, dict(clock.seconds), mended)


def frames(
    source: Source, chain: Chain, plan: Plan, resume: Snapshot | None = None
) -> Generator[Frame, None, None]:
    """The result's frames as they are made, for Python code in place of a sink."""
    chunks = source.read(resume.cursor if resume else None, plan.chunk)
    with prefetch(chunks, plan.queue_bytes, nbytes, "decode") as decoded:
        for item in _compute(decoded, source.spec, chain, plan, resume):
            if isinstance(item, Made):
                yield from item.frames


def _read(source: Source, cursor: Cursor | None, size: int) -> Iterator[Chunk]:
    for chunk in source.read(cursor, size):
        fault("decode.chunk")
        yield chunk
        del chunk  # else it lives on here while the next one is decoded


def _compute(
    chunks: Iterator[Chunk], spec: StreamSpec, chain: Chain, plan: Plan, resume: Snapshot | None
) -> Generator[Item, None, None]:
    """Frames through the chain, and a snapshot whenever one is due."""
    here = resume or Snapshot(Cursor(0, 0), None, (), 0)
    cursor, state, due, segment, time = here.cursor, here.state, here.due, here.segment, Fraction(0)
    whole, mended = True, here.concealed  # the frame before is not mended; how many are
    for given, cursor in _shown(chunks, plan):
        for frame in given:
            yield from _told(frame, whole)
            whole = "concealed" not in frame.extras
            mended += not whole
        fault("compute.step")
        state = state or chain.start(spec, given[0].position)
        index, time = given[0].index, given[-1].end
        chain = _as_told(chain, plan, index)
        chain, (state, made) = yield from _fitted(chain, index, _step(state, given))
        due = _follow(due, made, chain)
        yield Made(made, cursor.index, time, mended)
        if cursor.index % plan.segment_frames == 0:
            segment += 1
            yield Snapshot(cursor, state, due, segment, mended)
    index = cursor.index
    while state:  # moves at the end count on, so that each has a number of its own
        chain = _as_told(chain, plan, index)
        chain, (state, made) = yield from _fitted(chain, index, _finish(state))
        due, index = _follow(due, made, chain), index + 1
        yield Made(made, cursor.index, time, mended)
    yield Snapshot(cursor, None, due, segment + 1, mended)


def _shown(chunks: Iterator[Chunk], plan: Plan) -> Iterator[Chunk]:
    """The chunks, with a stand-in for each frame that the plan calls bad.

    That is the last good picture since the segment began, so that it is the same whether the run
    was stopped between; without one a flat picture of the frame's own mean.
    """
    last: Frame | None = None
    for given, cursor in chunks:
        frames = []
        for frame in given:
            last = None if frame.index % plan.segment_frames == 0 else last
            if any(begin <= frame.index < end for begin, end in plan.bad):
                why = f"the frame at {float(frame.time):.3f} s ended the worker: it is stood in for"
                image = last.image if last else flatten_image(frame.image)
                frame = frame.made(image).learnt(concealed=why)
            else:
                last = frame
            frames.append(frame)
        yield frames, cursor


def _told(frame: Frame, whole: bool) -> Iterator[Warned]:
    """What the source says of this frame; of many mended ones in a row the first speaks."""
    if "noted" in frame.extras:
        yield Warned(str(frame.extras["noted"]))
    if "concealed" in frame.extras and whole:
        yield Warned(str(frame.extras["concealed"]))


Move = Callable[[Chain], tuple[Any, list[Frame]]]


def _step(state: ChainState, given: list[Frame]) -> Move:
    return lambda chain: chain.step(state, given)


def _finish(state: ChainState) -> Move:
    return lambda chain: chain.finish(state)


def _as_told(chain: Chain, plan: Plan, index: int) -> Chain:
    """With the batches that out-of-memory had left at this frame, when it was made before."""
    batches = list(chain.batches)
    for shrunk in plan.shrunk:
        if shrunk.index <= index:
            batches[shrunk.stage] = min(batches[shrunk.stage], shrunk.batch)
    return chain if tuple(batches) == chain.batches else replace(chain, batches=tuple(batches))


def _fitted(
    chain: Chain, index: int, move: Move
) -> Generator[Replanned, None, tuple[Chain, tuple[Any, list[Frame]]]]:
    """The move, with a smaller batch each time it does not fit."""
    while True:
        try:
            return chain, move(chain)
        except OutOfMemory as error:
            stage, why = error.stage, error.why
        # Out of the handler, whose traceback keeps the failed tensors alive.
        chain = chain.smaller(stage)
        yield Replanned(index, chain.names[stage], chain.batches[stage], why)


def _follow(due: tuple[Position, ...], made: list[Frame], chain: Chain) -> tuple[Position, ...]:
    """Return where the next frame must be. Raises StageContractError at a gap in time or index."""
    for frame in made:
        if due and frame.position != due[0]:
            raise StageContractError(
                f"{chain.name} gave frame {frame.index} at {frame.time} s where "
                f"{due[0].index} at {due[0].time} s was due"
            )
        due = (Position(frame.index + 1, frame.end),)
    return due
