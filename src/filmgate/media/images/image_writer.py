"""Write frames as numbered image files, in commits that survive the process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import av

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.prefetch import map_threads
from filmgate.core.snapshot import CheckpointStore, Commit, Snapshot
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, FilmgateError
from filmgate.media.containers.open import open_container
from filmgate.media.images.image_encoder import ImageEncoder
from filmgate.media.images.image_files import ImageBatch, ImageFiles, resolve_pattern
from filmgate.media.images.numbering import compile_number_pattern, list_numbered_images
from filmgate.media.options import ImageOptions
from filmgate.media.streams.selection import describe_stream
from filmgate.units import MIB

_BUFFER_BYTES = 64 * MIB  # of frames that wait for the threads


class ImageWriter:
    """An opened image output; the index of a frame is the number in its file's name.

    With `checkpoints`, every commit is durable, and `resume` is the latest one whose images are as
    they were written; what the run wrote after it is deleted. Without, images stay where a run was
    stopped. `dropped` names what is not written. Raises UserError before the first frame.
    """

    def __init__(
        self,
        options: ImageOptions,
        spec: StreamSpec,
        source: SourceMetadata,
        *,
        threads: int,
        checkpoints: CheckpointStore | None = None,
    ) -> None:
        pattern = resolve_pattern(options.path)
        self._checkpoints, self._threads = checkpoints, threads
        self._encoder = ImageEncoder(
            pattern.suffix.lower(), spec, source.display_matrix, options.png_level
        )
        staging = checkpoints.path if checkpoints else None
        self._files = ImageFiles(pattern, staging, options.overwrite)
        _check_source(pattern, source)
        try:
            pattern.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise BadSetting(
                f"the folder {pattern.parent} cannot be made: {error.strerror}"
            ) from error
        self.dropped = list(_list_dropped(spec, source))
        self.resume: Snapshot | None = None
        self._batches: tuple[ImageBatch, ...] = ()
        if checkpoints:
            with _translate_errors(pattern.parent):
                self._resume(checkpoints)
        else:
            self._files.check_free()
        if self.resume is None:
            _check_folder(options.path, pattern)
        self._next = self._committed = self.resume.written if self.resume else 0
        self._waiting: list[Frame] = []
        self._written: list[bytes] = []  # checksums since the last commit

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames; some wait until there is one for each thread."""
        for frame in frames:
            self._waiting.append(frame)
            full = len(self._waiting) * self._encoder.bytes_per_frame >= _BUFFER_BYTES
            if full or len(self._waiting) >= self._threads:
                self._flush()

    def commit(self, snapshot: Snapshot) -> None:
        """Make all images before `snapshot` durable; at the end, delete older ones behind them."""
        self._flush()
        batch = ImageBatch(self._next - len(self._written), b"".join(self._written))
        with _translate_errors(self._files.folder):
            self._files.sync()
            if self._checkpoints:
                self._checkpoints.save(Commit(snapshot, (*self._batches, batch)))
            # Images stay staged until the next commit, should the snapshot of this one be torn.
            released = self._batches[-1:]
            self._batches += (batch,)
            self._written, self._committed = [], self._next
            if self._checkpoints:
                self._files.publish(batch)
                for old in released if snapshot.state is not None else self._batches[-2:]:
                    self._files.release(old)
            if snapshot.state is None:
                self._files.delete_from(self._next)
                self._files.sync()

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._waiting = []
        if self._checkpoints:
            with suppress(OSError):  # what is left is deleted by the next run
                self._files.discard_after(self._committed)

    def _resume(self, checkpoints: CheckpointStore) -> None:
        """Choose the latest commit whose images are intact; delete what was written after it."""
        commit = checkpoints.choose(self._verify)
        if commit is not None:
            self._batches, self.resume = commit.pieces, commit.snapshot
        kept = commit.snapshot.written if commit else 0
        commits = list(checkpoints.commits())
        self._files.check_free(kept, commits)
        self._files.discard_after(kept, commits)
        for batch in self._batches:
            self._files.publish(batch)

    def _verify(self, batches: tuple[ImageBatch, ...]) -> None:
        for batch in batches:
            self._files.check_intact(batch, self._threads)

    def _flush(self) -> None:
        frames, self._waiting = self._waiting, []
        if frames:
            self._written += map_threads(self._store, frames, min(self._threads, len(frames)))
            self._next = frames[-1].index + 1

    def _store(self, frame: Frame) -> bytes:
        with _translate_errors(self._files.path(frame.index)):
            return self._files.write(frame.index, self._encoder.encode(frame))


def discard_images(options: ImageOptions, checkpoints: CheckpointStore) -> None:
    """Delete the images that the run in `checkpoints` wrote and that were not changed since."""
    pattern = resolve_pattern(options.path)
    if pattern.parent.is_dir():
        with _translate_errors(pattern.parent):
            files = ImageFiles(pattern, checkpoints.path)
            files.discard_after(0, list(checkpoints.commits()))


def _check_source(pattern: Path, source: SourceMetadata) -> None:
    """Raise BadSetting if the output could replace an image that the frames are read from."""
    names = compile_number_pattern(pattern.name)
    for image in source.images:
        same_name = names is not None and names.fullmatch(image.name)
        if same_name and image.parent.absolute() == pattern.parent.absolute():
            raise BadSetting(
                f"{image} is both an input and an output: choose another folder for the output"
            )


def _check_folder(path: Path, pattern: Path) -> None:
    """Raise BadSetting if the output is a folder that holds other files than images of ours."""
    if path == pattern:
        return
    images = {image.name for _, image in list_numbered_images(pattern)}
    for name in sorted(os.listdir(path)):
        if name not in images and not name.startswith("."):
            raise BadSetting(
                f"the folder {path} contains other files, such as {name}: choose a new folder, or "
                f"write {pattern} to add images to this one"
            )


def _list_dropped(spec: StreamSpec, source: SourceMetadata) -> Iterator[str]:
    """Yield what image files cannot store, in words."""
    if source.path is not None:
        with open_container(source.path, max_pixels=source.max_pixels) as container:
            for stream in container.streams:
                if stream.index != source.stream:
                    yield f"{describe_stream(stream)} is left out: images have no other streams"
    if spec.rate is None:
        yield "the times of frames are left out: the rate varies, and images have no times"
    if source.aspect not in (None, 1):
        yield f"the pixel aspect {source.aspect} is left out: pixels of images are square"


@contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Turn errors while `path` is written into FilmgateError."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or type(error).__name__
        raise FilmgateError(
            f"{path} could not be written: {reason}; check the permissions of its folder and the "
            "free space of the disk"
        ) from error
