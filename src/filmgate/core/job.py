"""What is to be done: a source, tasks, a sink. A definition: no weights, JSON, for any process."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.snapshot import CheckpointStore, Cursor, Snapshot
from filmgate.core.stage import AnyStage


class Source(Protocol):
    """An opened film."""

    @property
    def spec(self) -> StreamSpec:
        """What it looks like; size, pixels and colour as its first frame showed them."""
        ...

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Chunks that end at multiples of `size`, each with the place after it.

        From `cursor` on (None: the beginning). Raises BadInput where the film is damaged.
        """
        ...


class Sink(Protocol):
    """An opened result."""

    def write(self, frames: Sequence[Frame]) -> None:
        """Takes the next frames; they may wait in the encoder."""
        ...

    def commit(self, snapshot: Snapshot) -> None:
        """Everything written so far lies before `snapshot`; its state None: the film has ended."""
        ...


class Result(Sink, Protocol):
    """An opened sink that lasts: what it does not carry over, and where it can be gone on with."""

    @property
    def dropped(self) -> Sequence[str]:
        """What of the source is not carried over, in words."""
        ...

    @property
    def resume(self) -> Snapshot | None:
        """The place to go on from, of what was kept before; None: the beginning."""
        ...


class Task(Protocol):
    """What a user asks for: a frozen dataclass whose fields are the flags."""

    @property
    def stretch(self) -> Fraction | int | None:
        """How many times as long the tracks beside the picture last; None: they no longer fit."""
        ...

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Built stages for the stream `spec`; weights are loaded here. Raises UserError."""
        ...

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        """Numbers and times of the result, from the source's; pictures are not looked at."""
        ...


class SourceFile(Protocol):
    """Where a film comes from: a definition."""

    def open(self, threads: int | None = None) -> AbstractContextManager[Source]:
        """The film, its first frame looked at; `threads` decode it. Raises UserError."""
        ...

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """What is done to the film before any task. Raises UserError."""
        ...


class SinkFile(Protocol):
    """Where a result goes: a definition."""

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """What is done to the result before it is written. Raises UserError."""
        ...

    def open(
        self,
        video: Any,
        spec: StreamSpec,
        *,
        slow: Fraction | None,
        tags: Mapping[str, str],
        threads: int,
        keep: CheckpointStore | None = None,
    ) -> AbstractContextManager[Result]:
        """The result of `film` being written; its other tracks last `slow` times as long.

        None: only those that have no times go along. With `keep`, commits outlive the process, if
        the sink can do that: then its `resume` is where it goes on. Raises UserError.
        """
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A source, the tasks it goes through in one pass (none: identity), a sink, and chance.

    `seed` is the only chance there is: noise = f(seed, purpose, absolute frame).
    """

    source: SourceFile
    sink: SinkFile
    tasks: tuple[Task, ...] = ()
    seed: int = 0
