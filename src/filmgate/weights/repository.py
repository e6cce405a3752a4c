"""Download a published folder of weights: the hub lists its files, and each is downloaded."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filmgate.errors import BadWeights, NotFetched
from filmgate.storage.fingerprint import ProgressCallback, ignore_progress
from filmgate.weights import download
from filmgate.weights.definitions import Sizes, Weights, WeightsRepository, get_endpoint
from filmgate.weights.partial_file import PartialFile, check_disk_space
from filmgate.weights.store import WeightsStore

MAX_LISTING_BYTES = 8 << 20  # of the hub's listing of a folder


def pull(
    folder: WeightsRepository,
    store: WeightsStore,
    *,
    accept: bool = False,
    on_progress: ProgressCallback = ignore_progress,
    wait: Callable[[float], object] = time.sleep,
) -> Path:
    """Download what is missing of a folder and return its path.

    All files are of the commit that was current when the hub was first asked, also if this is
    interrupted. Raises as `download.pull` does.
    """
    if accept:
        store.accept(folder)
    store.check_terms(folder)
    files = list_files(folder, store) or _fetch_listing(folder, store, on_progress, wait)
    complete = [store.get_path(file) for file in files]
    paths = (path if path.is_file() else PartialFile.of(path).path for path in complete)
    present = sum(path.stat().st_size for path in paths if path.is_file())
    missing = sum(file.size_bytes for file in files) - present
    check_disk_space(store.get_folder(folder), missing)
    try:
        for file in files:
            download.pull(file, store, on_progress=_prefix(file.file, on_progress), wait=wait)
    except NotFetched as error:
        if getattr(error.__cause__, "code", 0) not in (404, 410):
            raise
        raise NotFetched(f"{error}; delete {get_listing_path(folder, store)} to ask the hub for "
                         "its files again") from error  # fmt: skip
    return store.get_folder(folder)


def list_files(folder: WeightsRepository, store: WeightsStore) -> tuple[Weights, ...]:
    """Return the files that the hub listed; empty if it was not asked yet for this folder."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, BadWeights):
        listing = json.loads(get_listing_path(folder, store).read_text(encoding="utf-8"))
        if listing["of"] == _identify(folder):
            return folder.select_files(listing["commit"], listing["files"])
    return ()


def get_listing_path(folder: WeightsRepository, store: WeightsStore) -> Path:
    """Return where the hub's listing is stored; delete it to accept a change on the hub."""
    return store.get_folder(folder) / f"{folder.name}.listed.json"


def verify_folder(folder: WeightsRepository, store: WeightsStore, path: Path) -> Path:
    """Return `path`; if it is in the store, its terms are accepted and its files as published.

    A folder elsewhere is the user's own and is not checked. Raises BadWeights, and BadSetting for
    terms that are not accepted.
    """
    if path == store.get_folder(folder):
        store.check_terms(folder)
        for file in list_files(folder, store):
            if store.get_path(file).is_file():
                store.verify(file)
    return path


def _fetch_listing(
    folder: WeightsRepository,
    store: WeightsStore,
    on_progress: ProgressCallback,
    wait: Callable[[float], object],
) -> tuple[Weights, ...]:
    """Ask the hub for its files, once for all processes, and store the answer."""
    path = get_listing_path(folder, store)
    if variable := download.find_offline_variable():
        raise NotFetched(
            f"{variable} is set and the files of {folder.description} are unknown: download "
            f"{folder.page} elsewhere and put it into {path.parent}, pass --weights FOLDER, or "
            f"unset {variable}"
        )
    with download.lock_download(path, on_progress):
        if files := list_files(folder, store):  # another process has done it
            return files
        on_progress("asking the hub for its files", 0, 0)
        commit, listing = _ask_hub(folder, on_progress, wait)
        files = folder.select_files(commit, listing)
        sizes = {file.path: (file.size_bytes, file.sha256) for file in files}
        note = {"of": _identify(folder), "commit": commit, "files": sizes}
        store.write_note(path, json.dumps(note, indent=1) + "\n")
    return files


def _ask_hub(
    folder: WeightsRepository, on_progress: ProgressCallback, wait: Callable[[float], object]
) -> tuple[str, Sizes]:
    """Return the current commit of the revision, and the size and sha256 of its files."""
    address = f"{get_endpoint()}/api/models/{folder.hub}/revision/{folder.revision}?blobs=true"
    for tries in range(1, download.MAX_TRIES + 1):
        try:
            with download.open_response(address, folder) as response:
                text = response.read(MAX_LISTING_BYTES)
            break
        except download.Interrupted as error:
            if tries == download.MAX_TRIES:
                raise NotFetched(f"{address} did not answer: {error}; run the same "
                                 "command again") from error  # fmt: skip
            on_progress(f"trying again: {error}", 0, 0)
            wait(2.0**tries)
    try:
        answer = json.loads(text)
        commit = re.fullmatch(r"[0-9a-f]{40,64}", answer["sha"])[0]  # type: ignore[index]
        return commit, {str(file["rfilename"]): _read_size(file) for file in answer["siblings"]}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotFetched(f"{address} does not answer as a hub does: {text[:80]!r}; check "
                         "HF_ENDPOINT, or try again later") from error  # fmt: skip


def _read_size(file: Mapping[str, Any]) -> tuple[int, str | None]:
    large = file.get("lfs") or {}  # small files have no sha256 there
    return int(file["size"]), large.get("sha256")


def _identify(folder: WeightsRepository) -> list[object]:
    return [folder.hub, folder.revision, list(folder.wanted)]


def _prefix(name: str, on_progress: ProgressCallback) -> ProgressCallback:
    return lambda doing, done, total: on_progress(f"{name}: {doing}", done, total)
