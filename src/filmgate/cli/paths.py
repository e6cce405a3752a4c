"""Pair inputs with results: one input and one result, or several inputs and a folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from filmgate.core.job import Job
from filmgate.errors import BadInput, BadSetting
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile

# Names that are looked for in a folder; the content of a file decides, not its name.
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".gif", ".y4m", ".nut")
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
        return [(paths[0], paths[1])]
    if not paths:
        raise BadSetting("there is no path: pass inputs and -o DIR")
    if folder.exists() and not folder.is_dir():
        raise BadSetting(f"{folder} is a file: pass a folder for the results")
    inputs = [video for path in paths for video in _find_videos(path)]
    results = [folder / _name_result(video, container) for video in inputs]
    for result in results:
        if results.count(result) > 1:
            same = [str(v) for v, r in zip(inputs, results, strict=True) if r == result]
            raise BadSetting(f"{' and '.join(same)} would both become {result}: rename one of them")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BadSetting(f"cannot create the folder {folder}: {error.strerror}") from error
    return list(zip(inputs, results, strict=True))


def check_paths(job: Job) -> None:
    """Raise BadInput or BadSetting if the input or the folder of the result does not exist.

    Nothing is opened: a wrong name is answered before slow libraries are imported.
    """
    if isinstance(job.source, VideoFile) and not Path(job.source.path).exists():
        raise BadInput(f"{job.source.path} does not exist: check the name")
    if isinstance(job.sink, VideoOutput) and not job.sink.to_pipe:
        folder = Path(job.sink.path).parent
        if not folder.is_dir():
            raise BadSetting(f"the folder {folder} does not exist: create it first")


def _find_videos(path: Path) -> Iterator[Path]:
    if any(sign in path.name for sign in "*?[") and not path.exists():
        matches = sorted(path.parent.glob(path.name))
        if not matches:
            raise BadSetting(f"no file matches {path}: check the name")
        yield from matches
    elif path.is_dir():
        videos = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEOS)
        if not videos:
            raise BadSetting(f"{path} contains no video: it needs one of {', '.join(VIDEOS)}")
        yield from videos
    else:
        yield path


def _name_result(video: Path, container: str | None) -> str:
    if container:
        return f"{video.stem}.{container}"
    return video.name if video.suffix.lower() in _WRITABLE else f"{video.stem}.mp4"
