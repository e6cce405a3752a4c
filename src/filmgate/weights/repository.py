"""A published folder of weights: what the hub says lies in it, fetched as so many files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filmgate.errors import BadWeights, NotFetched
from filmgate.storage.fingerprint import Tell, nobody
from filmgate.weights import download
from filmgate.weights.definitions import Sizes, Weights, WeightsRepository, endpoint
from filmgate.weights.store import WeightsStore

MOST_BYTES = 8 << 20  # of what the hub says of a folder


def pull(
    folder: WeightsRepository,
    shelf: WeightsStore,
    *,
    accept: bool = False,
    tell: Tell = nobody,
    wait: Callable[[float], object] = time.sleep,
) -> Path:
    """Fetches what is missing of a folder, each file as `fetch.pull` does; returns where it lies.

    All are of the commit that there was when the hub was first asked, however often this is cut.
    Raises as `fetch.pull` does.
    """
    if accept:
        shelf.accept(folder)
    shelf.agreed(folder)
    files = listed(folder, shelf) or _asked(folder, shelf, tell, wait)
    places = [shelf.place(one) for one in files]
    come = (place if place.is_file() else download.Part.of(place).path for place in places)
    here = sum(path.stat().st_size for path in come if path.is_file())
    download.room(shelf.home(folder), sum(one.size_bytes for one in files) - here)
    try:
        for one in files:
            download.pull(one, shelf, tell=_naming(one.file, tell), wait=wait)
    except NotFetched as error:
        if getattr(error.__cause__, "code", 0) not in (404, 410):
            raise
        raise NotFetched(f"{error}; without {listing(folder, shelf)} the hub is asked anew what "
                         "there is") from error  # fmt: skip
    return shelf.home(folder)


def listed(folder: WeightsRepository, shelf: WeightsStore) -> tuple[Weights, ...]:
    """What the hub said lies in the folder; empty: it was not asked yet, or for another one."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, BadWeights):
        told = json.loads(listing(folder, shelf).read_text(encoding="utf-8"))
        if told["of"] == _of(folder):
            return folder.files(told["commit"], told["files"])
    return ()


def listing(folder: WeightsRepository, shelf: WeightsStore) -> Path:
    """Where it stands what the hub said; it may go if a change is meant."""
    return shelf.home(folder) / f"{folder.name}.listed.json"


def believed(folder: WeightsRepository, shelf: WeightsStore, path: Path) -> Path:
    """`path`; where that is the folder's place, what was listed and lies there is as published.

    A folder elsewhere is its owner's affair. Raises BadWeights, BadSetting for terms that nobody
    has accepted.
    """
    if path == shelf.home(folder):
        shelf.agreed(folder)
        for one in listed(folder, shelf):
            if shelf.place(one).is_file():
                shelf.verified(one)
    return path


def _asked(
    folder: WeightsRepository, shelf: WeightsStore, tell: Tell, wait: Callable[[float], object]
) -> tuple[Weights, ...]:
    """Asks the hub, once for all who fetch this, and writes down what it says."""
    place = listing(folder, shelf)
    if variable := download.offline():
        raise NotFetched(
            f"{variable} is set and what {folder.told} holds is not known here: fetch {folder.page}"
            f" elsewhere and put it into {place.parent}, name where it lies with --weights, or "
            f"unset {variable}"
        )
    with download.alone(place, tell):
        if files := listed(folder, shelf):  # whoever was at it has done it
            return files
        tell("asking what there is", 0, 0)
        commit, there = _said(folder, tell, wait)
        files = folder.files(commit, there)
        sizes = {one.file: (one.size_bytes, one.sha256) for one in files}
        note = {"of": _of(folder), "commit": commit, "files": sizes}
        shelf.put(place, json.dumps(note, indent=1) + "\n")
    return files


def _said(
    folder: WeightsRepository, tell: Tell, wait: Callable[[float], object]
) -> tuple[str, Sizes]:
    """The commit that the revision is now, and what it holds."""
    address = f"{endpoint()}/api/models/{folder.hub}/revision/{folder.revision}?blobs=true"
    for tries in range(1, download.TRIES + 1):
        try:
            with download.answered(address, folder) as response:
                text = response.read(MOST_BYTES)
            break
        except download.Cut as error:
            if tries == download.TRIES:
                raise NotFetched(f"{address} did not answer: {error}; the same command tries "
                                 "again") from error  # fmt: skip
            tell(f"trying again: {error}", 0, 0)
            wait(2.0**tries)
    try:
        told = json.loads(text)
        commit = re.fullmatch(r"[0-9a-f]{40,64}", told["sha"])[0]  # type: ignore[index]
        return commit, {str(one["rfilename"]): _size(one) for one in told["siblings"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotFetched(f"{address} answers what a hub does not: {text[:80]!r}; look at "
                         "HF_ENDPOINT, or try again later") from error  # fmt: skip


def _size(told: Mapping[str, Any]) -> tuple[int, str | None]:
    large = told.get("lfs") or {}  # small files have no sha256 there
    return int(told["size"]), large.get("sha256")


def _of(folder: WeightsRepository) -> list[object]:
    return [folder.hub, folder.revision, list(folder.wanted)]


def _naming(name: str, tell: Tell) -> Tell:
    return lambda doing, done, total: tell(f"{name}: {doing}", done, total)
