"""Write to several outputs and commit them as one: all of them are complete, or none is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from typing import Any

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.instrumentation.fault_injection import inject_fault
from filmgate.core.instrumentation.phases import phase
from filmgate.core.job import FileSink, SinkFile
from filmgate.core.snapshot import CheckpointStore, Commit, Snapshot
from filmgate.core.source_metadata import SourceMetadata


class Outputs:
    """The open outputs of a run; the sink that the run loop writes to.

    With `checkpoints`, a commit is stored when the files of every output are durable, and `resume`
    is the latest commit whose files are intact in all of them. Results get their names only when
    all are complete. Raises UserError.
    """

    def __init__(self, sinks: Sequence[FileSink], checkpoints: CheckpointStore | None) -> None:
        self._sinks, self._checkpoints = sinks, checkpoints
        self.resume: Snapshot | None = None
        if checkpoints is not None:
            commit, earlier = checkpoints.choose(self._verify), list(checkpoints.commits())
            for k, sink in enumerate(sinks):
                own = select_output(commit, k) if commit else None
                sink.resume(own, [select_output(one, k) for one in earlier])
            self.resume = commit.snapshot if commit else None

    @property
    def dropped(self) -> list[str]:
        """What is not carried over from the source, as far as the outputs know by now."""
        return [message for sink in self._sinks for message in sink.dropped]

    @property
    def is_complete(self) -> bool:
        """Whether no output lost anything that it was to copy; known at the end."""
        return all(sink.is_complete for sink in self._sinks)

    def write(self, frames: Sequence[Frame]) -> None:
        """Give the next frames to every output."""
        for sink in self._sinks:
            sink.write(frames)

    def commit(self, snapshot: Snapshot) -> None:
        """Make everything before `snapshot` durable; at the end, complete and name the results."""
        ended = snapshot.state is None
        with phase("commit"):
            pieces = tuple(sink.save() for sink in self._sinks)
            if self._checkpoints is not None:
                self._checkpoints.save(Commit(snapshot, pieces))
            for sink in self._sinks:
                sink.release(ended=ended)
        if ended:
            with phase("join"):
                self._complete()

    def _complete(self) -> None:
        """Complete the results, and give them their names."""
        parts = [sink.complete() for sink in self._sinks]
        if self._checkpoints is not None:
            self._checkpoints.mark_complete(parts, self.dropped, is_complete=self.is_complete)
        for sink in self._sinks:
            sink.publish()
            inject_fault("join.named")

    def _verify(self, pieces: tuple[Any, ...]) -> None:
        for sink, own in zip(self._sinks, pieces, strict=True):
            sink.verify(own)


@contextmanager
def open_outputs(
    outputs: Sequence[SinkFile],
    source: SourceMetadata,
    spec: StreamSpec,
    *,
    time_scale: Fraction | None = Fraction(1),
    tags: Mapping[str, str] | None = None,
    threads: int = 2,
    checkpoints: CheckpointStore | None = None,
    run_name: str = "",
) -> Iterator[Outputs]:
    """Open the outputs for frames of `spec`; the arguments are those of `SinkFile.open`."""
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(
                output.open(
                    source,
                    spec,
                    time_scale=time_scale,
                    tags=tags or {},
                    threads=threads,
                    checkpoints=checkpoints,
                    run_name=run_name,
                )
            )
            for output in outputs
        ]
        yield Outputs(sinks, checkpoints)


def select_output(commit: Commit, k: int) -> Commit:
    """Return the commit with the pieces of output `k` alone."""
    return replace(commit, pieces=commit.pieces[k])
