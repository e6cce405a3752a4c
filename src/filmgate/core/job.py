"""A job: a source, tasks and a sink. Only definitions: no weights, JSON, valid in any process."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.snapshot import CheckpointStore, Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.core.stage import AnyStage


class Source(Protocol):
    """An open source of frames."""

    @property
    def spec(self) -> StreamSpec:
        """The stream's format; size, pixel format and colour are those of the first frame."""
        ...

    @property
    def metadata(self) -> SourceMetadata:
        """What an output takes over from it besides the frames."""
        ...

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """Yield chunks that end at multiples of `size`, each with the cursor after it.

        Starts at `cursor` (None: the beginning). Raises BadInput if the video is damaged.
        """
        ...


class Sink(Protocol):
    """An open destination of frames."""

    def write(self, frames: Sequence[Frame]) -> None:
        """Accept the next frames; they may wait in the encoder."""
        ...

    def commit(self, snapshot: Snapshot) -> None:
        """Note that all frames so far are before `snapshot`; its state is None at the end."""
        ...


class FileSink(Sink, Protocol):
    """An open sink that writes files, and may resume from earlier ones."""

    @property
    def dropped(self) -> Sequence[str]:
        """What is not carried over from the source, as messages."""
        ...

    @property
    def resume(self) -> Snapshot | None:
        """The snapshot to resume from, of earlier commits; None: start at the beginning."""
        ...


class Task(Protocol):
    """What a user asks for: a frozen dataclass whose fields are the flags."""

    @property
    def time_scale(self) -> Fraction | int | None:
        """The factor by which other streams (audio, subtitles) are slowed; None: drop them."""
        ...

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[AnyStage, ...]:
        """Build the stages for the stream `spec`; loads weights. Raises UserError.

        Networks are taken from `models` and loaded into it (default: loaded for this call alone).
        """
        ...

    def timeline(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield the result's frames by index and time, given the source's; images are unused."""
        ...


class SourceFile(Protocol):
    """The definition of a source: where a video comes from."""

    def open(self, threads: int | None = None) -> AbstractContextManager[Source]:
        """Open the source and decode its first frame, on `threads` threads. Raises UserError."""
        ...

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages before any task. Raises UserError."""
        ...


class SinkFile(Protocol):
    """The definition of a sink: where a result goes."""

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages between the last task and writing. Raises UserError."""
        ...

    def open(
        self,
        source: SourceMetadata,
        spec: StreamSpec,
        *,
        time_scale: Fraction | None,
        tags: Mapping[str, str],
        threads: int,
        checkpoints: CheckpointStore | None = None,
        run_name: str = "",
    ) -> AbstractContextManager[FileSink]:
        """Open the output for frames of `spec`; the other streams of `source` are copied.

        They last `time_scale` times as long (None: only streams without times are copied). With
        `checkpoints`, commits survive the process and `resume` of the opened sink is where to
        continue. `run_name` is part of the names of hidden files. Raises UserError.
        """
        ...

    def find_leftovers(self, run_name: str) -> Sequence[Path]:
        """Return the hidden files of the run of this name, for removal after it was killed."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A source, the tasks it passes through (none: a copy of its frames), a sink, and a seed.

    `seed` determines all randomness: noise = f(seed, purpose, absolute frame index).
    """

    source: SourceFile
    sink: SinkFile
    tasks: tuple[Task, ...] = ()
    seed: int = 0
