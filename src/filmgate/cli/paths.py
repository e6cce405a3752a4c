"""Which film goes where: one to one, or several, and folders of them, into a folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from filmgate.errors import BadSetting

# What a folder of films is searched for; what is inside decides, not the name.
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".gif", ".y4m", ".nut")
_MADE = (".mp4", ".m4v", ".mov", ".mkv", ".webm")


def pairs(
    paths: Sequence[Path], folder: Path | None, container: str | None
) -> list[tuple[Path, Path]]:
    """(film, result) for each: IN OUT, or with a `folder` every one of `paths` into it.

    A folder among the paths stands for the films in it, `*` for what it matches. A result is named
    for its film, with the ending of `container` where one is given. Raises BadSetting.
    """
    if folder is None:
        if len(paths) != 2:
            raise BadSetting(
                f"there {'is 1 path' if len(paths) == 1 else f'are {len(paths)} paths'}: wanted IN "
                "and OUT, or films and -o DIR"
            )
        return [(paths[0], paths[1])]
    if not paths:
        raise BadSetting("there is no path: wanted films and -o DIR")
    if folder.exists() and not folder.is_dir():
        raise BadSetting(f"{folder} is a file: wanted a folder for the results")
    found = [video for path in paths for video in _films(path)]
    made = [folder / _named(video, container) for video in found]
    for place in made:
        if made.count(place) > 1:
            both = [str(f) for f, m in zip(found, made, strict=True) if m == place]
            raise BadSetting(f"{' and '.join(both)} would both become {place}: name them apart")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise BadSetting(f"the folder {folder} can't be made: {error.strerror}") from error
    return list(zip(found, made, strict=True))


def _films(path: Path) -> Iterator[Path]:
    if any(sign in path.name for sign in "*?[") and not path.exists():
        inside = sorted(path.parent.glob(path.name))
        if not inside:
            raise BadSetting(f"nothing is called {path}: check the name")
        yield from inside
    elif path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEOS)
        if not inside:
            raise BadSetting(f"{path} holds no film: wanted one of {', '.join(VIDEOS)} in it")
        yield from inside
    else:
        yield path


def _named(video: Path, container: str | None) -> str:
    if container:
        return f"{video.stem}.{container}"
    return video.name if video.suffix.lower() in _MADE else f"{video.stem}.mp4"
