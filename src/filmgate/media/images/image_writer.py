"""Write frames as numbered image files, in commits that survive the process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import av

from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import FileSink
from filmgate.core.prefetch import map_threads
from filmgate.core.snapshot import CheckpointStore, Commit
from filmgate.core.source_metadata import SourceMetadata
from filmgate.errors import BadSetting, FilmgateError
from filmgate.media.containers.open import open_source
from filmgate.media.images.image_encoder import ImageEncoder
from filmgate.media.images.image_files import ImageBatch, ImageFiles, resolve_pattern
from filmgate.media.images.numbering import (
    check_image_folder,
    format_image_name,
    is_named_by,
    is_named_by_number,
    list_numbered_images,
)
from filmgate.media.options import ImageOptions
from filmgate.media.rates import LossWatch
from filmgate.media.streams.description import describe_stream
from filmgate.storage.file_names import is_same_folder
from filmgate.units import MIB

_BUFFER_BYTES = 64 * MIB  # of frames that wait for the threads
_EXAMPLES = tuple(10**digits for digits in range(9))  # numbers of every length, and 0 with %06d


class ImageWriter(FileSink):
    """An opened image output; the index of a frame is the number in its file's name.

    With `checkpoints`, every commit is durable. Without, images stay where a run was stopped.
    `dropped` names what is not written. Raises UserError before the first frame.
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
        self._made_folder = not pattern.parent.exists()
        try:
            pattern.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise BadSetting(
                f"the folder {pattern.parent} cannot be made: {error.strerror}"
            ) from error
        self.dropped = list(_list_dropped(spec, source))
        self._watch = LossWatch("images", spec.rate, captions=False)
        if options.overwrite:
            self.dropped += _list_older(pattern, spec.frames or 0)
        self._options, self._pattern = options, pattern
        self._batches: tuple[ImageBatch, ...] = ()
        self._next = self._committed = 0
        if checkpoints is None:
            self._files.check_free()
            if options.path != pattern:
                check_image_folder(pattern)
        self._waiting: list[Frame] = []
        self._written: list[bytes] = []  # checksums since the last commit

    def write(self, frames: Sequence[Frame]) -> None:
        """Take the next frames; some wait until there is one for each thread."""
        self.dropped = [*self.dropped, *self._watch.check(frames)]
        for frame in frames:
            self._waiting.append(frame)
            full = len(self._waiting) * self._encoder.bytes_per_frame >= _BUFFER_BYTES
            if full or len(self._waiting) >= self._threads:
                self._flush()

    def save(self) -> tuple[ImageBatch, ...]:
        """Make all images so far durable; return them by commit."""
        self._flush()
        batch = ImageBatch(self._next - len(self._written), b"".join(self._written))
        with _translate_errors(self._files.folder):
            self._files.sync()
        self._batches, self._written = (*self._batches, batch), []
        return self._batches

    def release(self, *, ended: bool) -> None:
        """Give the images of the stored commit their names."""
        self._committed = self._next
        if self._checkpoints is not None:
            with _translate_errors(self._files.folder):
                self._files.publish(self._batches[-1])
                # They stay staged until the next commit, should the snapshot of this one be torn.
                for batch in self._batches[-2:] if ended else self._batches[-2:-1]:
                    self._files.release(batch)

    def complete(self) -> None:
        """Do nothing: every image has its name."""

    def publish(self) -> None:
        """Make the names of all images durable."""
        with _translate_errors(self._files.folder):
            self._files.sync()

    def __enter__(self) -> ImageWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._waiting = []
        if self._checkpoints:
            with suppress(OSError):  # what is left is deleted by the next run
                self._files.discard_after(self._committed)
        if self._made_folder:
            with suppress(OSError):  # it holds images
                self._pattern.parent.rmdir()

    def verify(self, pieces: tuple[ImageBatch, ...]) -> None:
        """Raise FilmgateError if an image of a commit is missing or was changed."""
        for batch in pieces:
            self._files.check_intact(batch, self._threads)

    def resume(self, commit: Commit | None, commits: Sequence[Commit]) -> None:
        """Continue after `commit`; delete the images of this run after it. Raises OutputExists."""
        if commit is None:
            if self._options.path != self._pattern:
                check_image_folder(self._pattern)
        else:
            self._batches, self._next = commit.pieces, commit.snapshot.written
            self._committed = self._next
        with _translate_errors(self._files.folder):
            self._files.check_free(self._next, commits)
            self._files.discard_after(self._next, commits)
            for batch in self._batches:
                self._files.publish(batch)

    def _flush(self) -> None:
        frames, self._waiting = self._waiting, []
        if frames:
            self._written += map_threads(self._store, frames, min(self._threads, len(frames)))
            self._next = frames[-1].index + 1

    def _store(self, frame: Frame) -> bytes:
        with _translate_errors(self._files.path(frame.index)):
            return self._files.write(frame.index, self._encoder.encode(frame))


def discard_images(options: ImageOptions, folder: Path, commits: Sequence[Commit]) -> None:
    """Delete the images that a run wrote and that were not changed since.

    `folder` is its directory, and `commits` are those of this output.
    """
    pattern = resolve_pattern(options.path)
    if pattern.parent.is_dir():
        with _translate_errors(pattern.parent):
            ImageFiles(pattern, folder).discard_after(0, commits)


def _check_source(pattern: Path, source: SourceMetadata) -> None:
    """Raise BadSetting if the output could replace a source, or become one of the next run."""
    folder = pattern.parent
    files = source.images or ((source.path,) if source.path else ())
    same = {place: is_same_folder(place, folder) for place in {file.parent for file in files}}
    for file in files:
        is_there, name = same[file.parent], file.name
        if file.is_symlink():
            place, name = os.path.split(os.path.realpath(file))
            is_there = is_same_folder(place, folder)
        if is_there and is_named_by_number(name, pattern):
            raise BadSetting(
                f"{file} is both an input and an output: choose another folder for the output"
            )
    images = source.images_path
    if images is None or not is_same_folder(images if images.is_dir() else images.parent, folder):
        return
    if any(is_named_by(format_image_name(pattern.name, n), images) for n in _EXAMPLES):
        raise BadSetting(
            f"{pattern} would be among the input images that {images} names, and be read as such "
            "by the next run: choose another folder for the output"
        )


def _list_dropped(spec: StreamSpec, source: SourceMetadata) -> Iterator[str]:
    """Yield what image files cannot store, in words."""
    if source.path is not None:
        with open_source(source) as container:
            for stream in container.streams:
                if stream.index != source.stream:
                    yield f"{describe_stream(stream)} is left out: images have no other streams"
    if spec.rate is None:
        yield "the times of frames are left out: the rate varies, and images have no times"
    if source.aspect not in (None, 1):
        yield f"the pixel aspect {source.aspect} is left out: pixels of images are square"


def _list_older(pattern: Path, first: int) -> Iterator[str]:
    """Yield a notice about images from number `first` on that the result may not replace."""
    older = [path for number, path in list_numbered_images(pattern) if number >= first]
    if older:
        more = f" and {len(older) - 1} more exist" if older[1:] else " exists"
        yield f"{older[0]}{more}: what this result does not replace stays among its images"


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
