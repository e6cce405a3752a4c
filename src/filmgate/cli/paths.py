"""Pair inputs with results: one input and one result, or several inputs and a folder."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filmgate.core.job import Job, SinkFile
from filmgate.errors import BadInput, BadSetting, OutputExists
from filmgate.jobs.options import ResumeOptions
from filmgate.jobs.run_directory import SUFFIX as RUN_SUFFIX
from filmgate.media.images.image_files import resolve_pattern
from filmgate.media.images.numbering import describe_skipped, is_named_by_number
from filmgate.media.options import check_video_name
from filmgate.media.sinks import ImageOutput, VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.storage.file_kind import (
    check_input_file,
    check_output_file,
    check_replaceable,
    describe_other_kind,
)
from filmgate.storage.file_names import (
    explain_refused_name,
    extend_long_path,
    fold_path,
    is_same_folder,
    split_pattern,
)
from filmgate.tasks.job_config import SINKS
from filmgate.tasks.settings import find_paths

# A file of such a name in a folder is taken, so that damage is reported; of others that are videos.
_VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".3gp", ".gif",
           ".y4m", ".nut", ".mpg", ".vob", ".wmv", ".flv", ".mxf")  # fmt: skip
_WRITABLE = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def pair_paths(
    paths: Sequence[Path], folder: Path | None, container: str | None
) -> list[tuple[Path, Path]]:
    """Return (input, result) for each input: IN OUT, or with `folder` every path into it.

    A folder among the paths is replaced by the videos in it, a pattern by what it matches. A result
    keeps the name of its input, with the suffix of `container` if there is one. Raises BadSetting.
    """
    if folder is None:
        if len(paths) != 2:
            raise BadSetting(
                f"there {'is 1 path' if len(paths) == 1 else f'are {len(paths)} paths'}: pass IN "
                "and OUT, or inputs and -o DIR"
            )
        return [(extend_long_path(paths[0]), extend_long_path(paths[1]))]
    if not paths:
        raise BadSetting("there is no path: pass inputs and -o DIR")
    if folder.exists() and not folder.is_dir():
        raise BadSetting(f"{folder} is a file: pass a folder for the results")
    inputs = [video for path in paths for video in _find_videos(path, folder)]
    results = [folder / _name_result(video, container) for video in inputs]
    names = [fold_path(result) for result in results]
    for name, result in zip(names, results, strict=True):
        if names.count(name) > 1:
            same = [str(v) for v, n in zip(inputs, names, strict=True) if n == name]
            raise BadSetting(f"{' and '.join(same)} would both become {result}: rename one of them")
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise BadSetting(f"the folder {folder.parent} does not exist: create it first") from error
    except OSError as error:
        raise BadSetting(f"cannot create the folder {folder}: {error.strerror}") from error
    pairs = zip(inputs, results, strict=True)
    return [(extend_long_path(video), extend_long_path(result)) for video, result in pairs]


def check_paths(job: Job) -> None:
    """Raise BadInput or BadSetting for a file that is missing, or a path that names no file.

    Nothing is opened: a wrong name is answered before slow libraries are imported.
    """
    if isinstance(job.source, VideoFile):
        check_input_file(Path(job.source.path), "a video file, or - for standard input")
    for path in {path for task in job.tasks for path in find_paths(task)}:
        if (kind := describe_other_kind(path)) not in ("", "a folder"):
            raise BadInput(f"{path} is {kind}, wanted a file: save it as one first")
    for sink in job.sinks:
        _check_output(job, sink)


def check_timeline(path: Path, job: Job, options: ResumeOptions) -> None:
    """Raise UserError if the timeline of a profile cannot be written to `path`.

    An earlier one is only replaced with --overwrite; a run that resumes is appended to it.
    """
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: create it first")
    if any(fold_path(Path(sink.path).absolute()) == fold_path(path.absolute())
           for sink in job.sinks):  # fmt: skip
        raise BadSetting(f"{path} is the profile and an output: choose another name for one")
    from filmgate.backends.trace import START

    check_replaceable(path, START, "a profile")
    sinks = [sink for sink in job.sinks if isinstance(sink, SINKS)]
    if not os.path.lexists(path) or any(sink.overwrite for sink in sinks):
        return
    directory = options.find_directory(Path(job.sink.path))
    if options.restart or not directory.has_progress:
        raise OutputExists(f"{path} exists: choose another name for the profile, or pass "
                           "--overwrite")  # fmt: skip


def _check_output(job: Job, sink: SinkFile) -> None:
    path = Path(sink.path)
    inputs = [file for file in find_paths((job.source, *job.tasks)) if file.is_file()]
    if isinstance(sink, ImageOutput):
        if reason := explain_refused_name(path):
            raise BadSetting(f"the output {path} cannot be written: {reason}. Choose another name")
        pattern = resolve_pattern(path)
        for file in inputs:
            place, name = os.path.split(os.path.realpath(file))
            if is_named_by_number(name, pattern) and is_same_folder(place, pattern.parent):
                raise BadSetting(f"{file} is both an input and an output: choose another folder "
                                 "for the output")  # fmt: skip
        return
    if isinstance(sink, VideoOutput):
        check_video_name(path, sink.suffix)
        if sink.to_pipe:
            return
    if not path.parent.is_dir():
        raise BadSetting(f"the folder {path.parent} does not exist: create it first")
    check_output_file(path)
    if path.exists():
        for file in inputs:
            if path.samefile(file):
                raise BadSetting(f"the output {path} is also an input: choose another name")


def _find_videos(path: Path, results: Path) -> Iterator[Path]:
    pattern = split_pattern(path)
    if pattern is not None:
        matches = sorted(p for p in Path(pattern[0]).glob(pattern[1]) if not p.is_dir())
        if not matches:
            raise BadSetting(f"no file matches {path}: check the name")
        yield from matches
    elif path.is_dir():
        videos, skipped = _search_folder(path, results)
        if notice := describe_skipped(skipped, "videos"):
            print(f"warning: {path}: {notice}", file=sys.stderr)
        if not videos:
            raise BadSetting(
                f"{path} contains no video: name another folder, or pass IN and OUT for images"
            )
        yield from videos
    else:
        yield path


def _search_folder(path: Path, results: Path) -> tuple[list[Path], list[str]]:
    """Return the videos in a folder, by their content, and the names of what is no video."""
    from filmgate.media.containers.open import is_video_file

    videos, skipped = [], []
    for entry in sorted(path.iterdir()):
        if entry.name.startswith(".") or entry.suffix == RUN_SUFFIX or entry == results:
            continue
        if entry.is_file() and (entry.suffix.lower() in _VIDEOS or is_video_file(entry)):
            videos.append(entry)
        else:
            skipped.append(entry.name + ("/" if entry.is_dir() else ""))
    return videos, skipped


def _name_result(video: Path, container: str | None) -> str:
    if container:
        return f"{video.stem}.{container}"
    return video.name if video.suffix.lower() in _WRITABLE else f"{video.stem}.mp4"
