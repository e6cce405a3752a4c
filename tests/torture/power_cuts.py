"""Cut the power at any file operation: names and data that were not synced may be lost."""

import os
import pickle
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from filmgate.errors import Exit
from tests.stories.test_death_images import OPERATIONS
from tests.torture.commands import Failure, check_end, run_filmgate, run_forked
from tests.torture.outputs import Output, make_references

assert sys.platform == "linux", "only Linux has the limits and signals of these checks"

# What the disk kept of the names, and of the data, that were not synced.
LOSSES = (("now", "synced"), ("synced", "synced"), ("now", "torn"), ("synced", "written"))
Names = dict[int, dict[str, int]]  # of each folder, by inode


class Moment(NamedTuple):
    """The folder just before an operation: names and data, and which of them were synced."""

    root: int
    names: Names
    synced_names: Names
    data: dict[int, bytes]
    synced_data: dict[int, bytes]

    def restore(self, folder: Path, names: str, data: str) -> None:
        """Write to `folder` what a disk may hold after the power was cut at this moment."""
        shutil.rmtree(folder, ignore_errors=True)
        self._restore(folder, self.root, names, data, {})

    def _restore(
        self, folder: Path, inode: int, names: str, data: str, written: dict[int, Path]
    ) -> None:
        """Write a folder; a second name of a file in `written` is a hard link, as it was."""
        folder.mkdir()
        listed = self.names if names == "now" else self.synced_names
        for name, entry in listed.get(inode, {}).items():
            if entry in written:
                (folder / name).hardlink_to(written[entry])
            elif entry in self.data:
                written[entry] = folder / name
                written[entry].write_bytes(self._read(entry, data))
            else:
                self._restore(folder / name, entry, names, data, written)

    def _read(self, inode: int, data: str) -> bytes:
        written, synced = self.data[inode], self.synced_data.get(inode, b"")
        if data == "torn" and synced != written:
            return written[: len(written) // 2] + bytes(len(written) - len(written) // 2)
        return written if data == "written" else synced


class Recorder:
    """Record a folder before every operation in it that Python reports, and what is synced.

    Each file is held open, so that no other file gets its inode.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.moments = folder, list[Moment]()
        self._handles: dict[int, int] = {}
        self._names: Names = {}
        self._data: dict[int, bytes] = {}
        self._lock, self._busy = threading.Lock(), threading.local()
        self._scan(folder)
        self._synced_names, self._synced_data = self._names, self._data

    def start(self) -> None:
        """Begin to record."""
        really_fsync = os.fsync

        def fsync(handle: int) -> None:
            really_fsync(handle)
            with self._look():
                self._note_sync(os.fstat(handle).st_ino)

        setattr(os, "fsync", fsync)  # noqa: B010 - assigned, it would need the stub's own type
        sys.addaudithook(self._note_operation)

    def note_moment(self) -> None:
        """Record the folder as it is now."""
        with self._look():
            root = os.stat(self.folder).st_ino
            state = (self._names, self._synced_names, self._data, self._synced_data)
            self.moments.append(Moment(root, *state))

    @contextmanager
    def _look(self) -> Iterator[None]:
        """Read the folder, in one thread at a time and without noting that as operations."""
        with self._lock:
            self._busy.now = True
            self._names, self._data = {}, dict(self._data)
            self._scan(self.folder)
            try:
                yield
            finally:
                self._busy.now = False

    def _note_operation(self, event: str, args: tuple[Any, ...]) -> None:
        if event in OPERATIONS and not getattr(self._busy, "now", False):
            paths = [Path(os.path.abspath(arg)) for arg in args[:2] if isinstance(arg, str | Path)]
            if any(path.is_relative_to(self.folder) for path in paths):
                self.note_moment()

    def _note_sync(self, inode: int) -> None:
        if inode in self._names:
            self._synced_names = {**self._synced_names, inode: self._names[inode]}
        elif inode in self._data:
            self._synced_data = {**self._synced_data, inode: self._data[inode]}

    def _scan(self, folder: Path) -> None:
        """Read the names and data below `folder`; what another thread removes is left out."""
        names: dict[str, int] = {}
        self._names[folder.stat().st_ino] = names
        for entry in os.scandir(folder):
            inode = entry.inode()
            with suppress(FileNotFoundError):
                if inode not in self._handles:
                    self._handles[inode] = os.open(entry.path, os.O_RDONLY)
                if entry.is_dir(follow_symlinks=False):
                    self._scan(Path(entry.path))
                else:
                    size = os.fstat(self._handles[inode]).st_size
                    data = os.pread(self._handles[inode], size, 0)
                    if self._data.get(inode) != data:
                        self._data[inode] = data
                names[entry.name] = inode


def record(output: Output, folder: Path) -> list[Moment]:
    """Run the command in a fork and return the moments of its folder, the end included."""
    disk, kept, log = folder / "disk", folder / "moments", folder / "log"
    output.fill(disk)

    def call() -> int:
        recorder = Recorder(disk)
        recorder.start()
        code = run_filmgate(output.arguments("--in-process"))
        recorder.note_moment()
        kept.write_bytes(pickle.dumps(recorder.moments))
        return code

    check_end(run_forked(call, disk, log), (Exit.DONE,), f"recorded run of {output.name}")
    moments: list[Moment] = pickle.loads(kept.read_bytes())
    kept.unlink()
    return moments


def check_moment(
    output: Output, moment: Moment, loss: tuple[str, str], folder: Path, reference: dict[str, bytes]
) -> None:
    """Restore a moment and run the command again: nothing is lost and the result is right."""
    disk, what = folder / "disk", f"{output.name}, names {loss[0]}, data {loss[1]}"
    moment.restore(disk, *loss)
    over = output.check_moment(disk, reference, what)
    call = partial(run_filmgate, output.arguments("--in-process"))
    allowed = (Exit.DONE, Exit.USER) if over and not output.old else (Exit.DONE,)
    ended = run_forked(call, disk, folder / "log")
    check_end(ended, allowed, f"{what}, resumed")
    output.check_result(disk, reference, what)


def prepare(outputs: tuple[Output, ...], cases: int, folder: Path) -> Callable[[int], int]:
    """Record each output once and return the attempt: one moment of one of them."""
    references = make_references(outputs, folder)
    recorded = [record(output, folder) for output in outputs]
    of_each = -(-cases // len(outputs))

    def attempt(number: int) -> int:
        kind, nth = number % len(outputs), number // len(outputs)
        moments = recorded[kind]
        at = nth * (len(moments) - 1) // max(1, of_each - 1)
        loss = LOSSES[nth % len(LOSSES)]
        try:
            check_moment(outputs[kind], moments[at], loss, folder, references[kind])
        except Failure as failure:
            failure.add_note(f"before operation {at} of {len(moments)}")
            raise
        return 1

    return attempt
