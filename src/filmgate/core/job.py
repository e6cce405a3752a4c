"""A job: a source, tasks and a sink. Only definitions: no weights, JSON, valid in any process."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.model_cache import ModelCache
from filmgate.core.snapshot import CheckpointStore, Commit, Cursor, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.core.stage import AnyStage, explain_fault
from filmgate.errors import BadSetting


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


@dataclass(slots=True)
class SourceWrapper:
    """A source that forwards everything to another one. Subclasses override what they change."""

    source: Source

    @property
    def spec(self) -> StreamSpec:
        """The source's."""
        return self.source.spec

    @property
    def metadata(self) -> SourceMetadata:
        """The source's."""
        return self.source.metadata

    def read(self, cursor: Cursor | None, size: int) -> Iterator[tuple[list[Frame], Cursor]]:
        """See `Source.read`."""
        return self.source.read(cursor, size)


class Sink(Protocol):
    """An open destination of frames."""

    def write(self, frames: Sequence[Frame]) -> None:
        """Accept the next frames; they may wait in the encoder."""
        ...

    def commit(self, snapshot: Snapshot) -> None:
        """Note that all frames so far are before `snapshot`; its state is None at the end."""
        ...


class FileSink(ABC):
    """An open output of a file or files; `core.outputs` calls it.

    Without checkpoints only `write`, `complete` and `publish` matter.
    """

    dropped: Sequence[str] = ()
    """What is not carried over from the source, as messages; frames may add some."""

    is_complete: bool = True
    """False if parts of other streams were lost that were to be copied; known at the end."""

    def verify(self, pieces: tuple[Any, ...]) -> None:  # noqa: B027
        """Raise FilmgateError if a file that an earlier `save` described is damaged."""

    def resume(self, commit: Commit | None, commits: Sequence[Commit]) -> None:  # noqa: B027
        """Continue after `commit` (None: start), and delete what this run wrote after it.

        `commits` are all that are known. Called once, before the first frame.
        """

    @abstractmethod
    def write(self, frames: Sequence[Frame]) -> None:
        """Accept the next frames; they may wait in the encoder."""

    def save(self) -> tuple[Any, ...]:
        """Make all frames so far durable; return plain values that describe their files."""
        return ()

    def release(self, *, ended: bool) -> None:  # noqa: B027
        """Do what had to wait until the commit was stored; `ended`: it is the last one."""

    @abstractmethod
    def complete(self) -> Path | None:
        """Make the complete result durable under a hidden name and return that; None: no file."""

    @abstractmethod
    def publish(self) -> None:
        """Give the complete result its name."""


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


@runtime_checkable
class WarningTask(Protocol):
    """A task that has something to say about its settings."""

    @property
    def warnings(self) -> Sequence[str]:
        """What the settings do that is hardly wanted, as messages."""
        ...


@runtime_checkable
class ChoosingTask(Protocol):
    """A task that chooses what is read of its source, before it is opened."""

    def choose_source(self, source: "SourceFile") -> "tuple[SourceFile, Task]":
        """Return the source to open, and the task for it, which chooses nothing any more.

        Both are determined by the settings and the files. Raises UserError.
        """
        ...


@runtime_checkable
class RecoverableTask(Protocol):
    """A task with further inputs that its result holds, such as the audio of a speech."""

    def recover_inputs(self, result: Path) -> "Task":
        """Return the task, as read from the result's tag, with what the result holds of them."""
        ...


@runtime_checkable
class OwnLengthTask(Protocol):
    """A task whose result is as long as a further input, such as speech, not as its source."""

    def measure_seconds(self) -> Fraction:
        """Return how long the result is. Raises UserError."""
        ...

    def take_part(self, start: Fraction, end: Fraction, folder: Path) -> "Task":
        """Return the task for that part of the result, in seconds; what it needs of the further
        input is written to `folder`. Raises UserError."""
        ...


@runtime_checkable
class StreamWarningTask(Protocol):
    """A task that has something to say about its settings for a stream."""

    def list_warnings(self, spec: StreamSpec) -> Sequence[str]:
        """Return what is not as it was asked for, for an input like `spec`."""
        ...


class SourceFile(Protocol):
    """The definition of a source: where a video comes from."""

    def open(self, threads: int | None = None) -> AbstractContextManager[Source]:
        """Open the source and decode its first frame, on `threads` threads. Raises UserError."""
        ...

    def stages(self, spec: StreamSpec) -> tuple[AnyStage, ...]:
        """Return the stages before any task. Raises UserError."""
        ...


@runtime_checkable
class GeneratingTask(Protocol):
    """A task that makes its own frames, so it is the first one."""

    def make_source(
        self, frames: int | None = None, fps: Fraction | int | None = None
    ) -> SourceFile:
        """Return a source that counts so many frames, so many a second; None: its defaults."""
        ...


class SinkFile(Protocol):
    """The definition of a sink: where a result goes."""

    @property
    def path(self) -> Path:
        """The file, or the pattern of its images."""
        ...

    @property
    def takes_images(self) -> bool:
        """Whether it writes the frames' images, not only what is recorded about them."""
        ...

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
        `checkpoints`, files that resuming needs are written to their folder. `run_name` is part of
        the names of hidden files. Raises UserError.
        """
        ...

    def find_leftovers(self, run_name: str) -> Sequence[Path]:
        """Return the hidden files of the run of this name, for removal after it was killed."""
        ...


def require_task(task: object) -> None:
    """Raise BadSetting, with the members that are missing, if this is not a task."""
    what = explain_fault(task, "task", "time_scale", {"stages": 2, "timeline": 1})
    if what is not None:
        raise BadSetting(f"{what}. Pass a task, such as Interpolate(factor=2)")


@dataclass(frozen=True, slots=True)
class Job:
    """A source, the tasks it passes through (none: a copy of its frames), a sink, and a seed.

    `seed` determines all randomness: noise = f(seed, purpose, absolute frame index). `more_sinks`
    are written in the same pass and are complete together with `sink`, whose name is that of the
    run. Only one of all may take images. Raises BadSetting.
    """

    source: SourceFile
    sink: SinkFile
    tasks: tuple[Task, ...] = ()
    seed: int = 0
    more_sinks: tuple[SinkFile, ...] = ()

    def __post_init__(self) -> None:
        for task in self.tasks:
            require_task(task)
        if not self.more_sinks:
            return
        paths = [str(sink.path) for sink in self.sinks]
        suffixes = [Path(path).suffix.lower() for path in paths]
        if "-" in paths:
            raise BadSetting("one of several outputs goes to a pipe: name files, or one output")
        if len(set(suffixes)) < len(suffixes) or sum(s.takes_images for s in self.sinks) > 1:
            raise BadSetting(
                f"the outputs are {', '.join(paths)}, wanted at most one video or image sequence "
                "and one file of each kind of records: run the job again for another one"
            )

    @property
    def sinks(self) -> tuple[SinkFile, ...]:
        """All outputs, that of the run's name first."""
        return (self.sink, *self.more_sinks)

    @property
    def image_sink(self) -> SinkFile | None:
        """The output that takes images, None if there are only records."""
        return next((sink for sink in self.sinks if sink.takes_images), None)
