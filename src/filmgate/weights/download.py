"""Fetching weights: gone on with where it was cut, checked before the file gets its name."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from email.message import Message
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock, Timeout

from filmgate.errors import BadSetting, BadWeights, DoesNotFit, NotFetched
from filmgate.storage.fingerprint import Tell, nobody, sha256_of
from filmgate.units import format_bytes
from filmgate.weights.definitions import Published, Weights
from filmgate.weights.store import WeightsStore

SILENCE_S = 30.0  # of the other side, until it counts as gone
TRIES = 5  # in a row without a byte
_BLOCK_BYTES = 1 << 18
_PASSING = (408, 416, 425, 429, 500, 502, 503, 504)  # what another try may mend
_SHA256 = re.compile(r"[0-9a-f]{64}")


def pull(
    weights: Weights,
    shelf: WeightsStore,
    *,
    accept: bool = False,
    tell: Tell = nobody,
    wait: Callable[[float], object] = time.sleep,
) -> Path:
    """Fetches the file, or what is missing of it, unless it is here; returns where it lies.

    Two processes that pull the same do it once. Raises BadSetting for terms that are not
    accepted, DoesNotFit where the disk has no room, NotFetched, BadWeights.
    """
    if accept:
        shelf.accept(weights)
    shelf.agreed(weights)
    with suppress(BadWeights):
        return shelf.verified(weights, tell=tell)
    place = shelf.place(weights)
    if variable := offline():
        raise NotFetched(
            f"{variable} is set and {weights.told} are not here: fetch {weights.address} elsewhere "
            f"and put it at {place}, name where it lies with {weights.flag}, or unset {variable}"
        )
    with alone(place, tell):
        with suppress(BadWeights):  # whoever was at it has done it
            return shelf.verified(weights, tell=tell)
        part = Part.of(place)
        found = _checked(_sized(weights), shelf, part, tell, wait)
        with _writing(part.path):
            with open(part.path, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part.path, place)
            _sync(place.parent)
        part.forget()
        shelf.seen(place, found)
        if shelf.wanted(weights) is None:
            shelf.record(weights, found)
        return shelf.verified(weights, tell=tell)


def offline() -> str:
    """The variable that forbids the network; empty: none does."""
    for name in ("FILMGATE_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off"):
            return name
    return ""


@dataclass(frozen=True, slots=True)
class Part:
    """A file on its way, and beside it what the other side said of it."""

    path: Path

    @classmethod
    def of(cls, place: Path) -> Part:
        """That of the file which is to lie there."""
        return cls(place.with_name(f"{place.name}.part"))

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def note(self) -> dict[str, str]:
        """`etag`, by which the other side knows its file again, and the `sha256` it promised."""
        with suppress(OSError, ValueError):
            note = json.loads(self._beside.read_text(encoding="utf-8"))
            if isinstance(note, dict):
                return {str(key): str(value) for key, value in note.items()}
        return {}

    def begin(self, note: dict[str, str]) -> None:
        """An empty file, with what was said of it."""
        with _writing(self.path):
            self.forget()
            self._beside.write_text(json.dumps(note), encoding="utf-8")
            self.path.touch()

    def forget(self) -> None:
        """Nothing of it stays."""
        self.path.unlink(missing_ok=True)
        self._beside.unlink(missing_ok=True)

    @property
    def _beside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")


class Cut(Exception):
    """The connection ended early, or could not be had; another try may do.

    `code`: with which it was refused, if it was.
    """

    def __init__(self, why: str, code: int = 0) -> None:
        super().__init__(why)
        self.code = code


class _Redirects(HTTPRedirectHandler):
    """Follows redirections, and keeps what the hub says of its file before it sends one away."""

    def __init__(self) -> None:
        self.promised = ""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> Request | None:
        self.promised = self.promised or _promise(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _checked(
    weights: Weights, shelf: WeightsStore, part: Part, tell: Tell, wait: Callable[[float], object]
) -> str:
    """The whole file lies in `part`, and its sha256 is as wanted. What went wrong is thrown away.

    What was pieced together of several answers is fetched once more from the beginning.
    """
    for _ in range(2):
        pieced = _whole(weights, part, tell, wait)
        found = sha256_of(part.path, tell)
        published = shelf.wanted(weights)
        wanted = published or part.note.get("sha256", "")
        if found.startswith(wanted):
            return found
        part.forget()
        if not pieced:
            break
    by = "is published" if weights.sha256 else "the other side promised"
    if published and not weights.sha256:
        by = f"was recorded in {shelf.recorded(weights)}, which may go if the change is meant"
    raise BadWeights(f"what {weights.address} sent has the sha256 {found}, and {wanted} {by}: it "
                     "was thrown away; try again later, or get a newer Filmgate")  # fmt: skip


def _sized(weights: Weights) -> Weights:
    """With the size that the other side tells, where the published one is rounded."""
    if not weights.off_bytes:
        return weights
    request = Request(weights.address, headers={"User-Agent": "filmgate"}, method="HEAD")
    try:
        with build_opener().open(request, timeout=SILENCE_S) as response:
            said = response.headers.get("Content-Length", "")
    except (URLError, HTTPException, OSError) as error:
        raise NotFetched(f"{weights.address} does not tell its size: {error}; try again later, or "
                         f"name a file with {weights.flag}") from error  # fmt: skip
    if not said.isdigit() or not weights.fits(int(said)):
        _same_size(weights, said or "untold")
    return replace(weights, size_bytes=int(said), off_bytes=0)


def _whole(weights: Weights, part: Part, tell: Tell, wait: Callable[[float], object]) -> bool:
    """Fetches until every byte is here; says whether it took more than one answer.

    Gives up after tries in a row that brought nothing new.
    """
    if part.size > weights.size_bytes:
        part.forget()
    furthest, tries, pieced = part.size, 0, part.size > 0
    while part.size != weights.size_bytes:
        room(part.path.parent, weights.size_bytes - part.size)
        try:
            _stretch(weights, part, tell)
        except Cut as error:
            pieced, tries = True, 0 if part.size > furthest else tries + 1
            furthest = max(furthest, part.size)
            if tries >= TRIES:
                raise NotFetched(
                    f"{weights.address} did not come: {error}; {format_bytes(part.size)} of "
                    f"{format_bytes(weights.size_bytes)} are kept, and the same command goes on"
                ) from error
            tell(f"trying again: {error}", part.size, weights.size_bytes)
            wait(min(30.0, 2.0**tries))
    return pieced


def _stretch(weights: Weights, part: Part, tell: Tell) -> None:
    """One connection: asks for what is missing and takes what comes. Raises Cut when it ends."""
    redirects, note, have = _Redirects(), part.note, part.size
    headers = {}
    if have and (note.get("etag") or weights.sha256):  # else nothing would tell another file
        headers["Range"] = f"bytes={have}-"
        if note.get("etag"):
            headers["If-Range"] = note["etag"]
    try:
        with answered(weights.address, weights, headers, redirects) as response:
            told = {"etag": _etag(response.headers),
                    "sha256": redirects.promised or _promise(response.headers)}  # fmt: skip
            if response.status != 206 or not _goes_on(response, have, weights.size_bytes, note):
                if response.status == 206:
                    part.forget()
                    raise Cut("it went on at another place than was asked")
                _same_size(weights, response.headers.get("Content-Length"))
                part.begin(told)
            _take(response, weights, part, tell)
    except Cut as error:
        if error.code == 416:
            part.forget()
        raise
    if part.size != weights.size_bytes:
        raise Cut("the connection ended early")


@contextmanager
def answered(
    address: str,
    of: Published,
    headers: Mapping[str, str] = MappingProxyType({}),
    redirects: HTTPRedirectHandler | None = None,
) -> Iterator[HTTPResponse]:
    """An answer, open within the `with`; the hub is shown HF_TOKEN, over https.

    Raises Cut for what another try may mend, there and while it is read, NotFetched for the rest.
    """
    request = Request(address, headers={"User-Agent": "filmgate", "Accept-Encoding": "identity"})
    for name, value in headers.items():
        request.add_header(name, value)
    token = os.environ.get("HF_TOKEN")
    if token and of.hub and request.type == "https":  # nobody the hub sends one to gets it
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    try:
        with build_opener(redirects or _Redirects()).open(request, timeout=SILENCE_S) as response:
            yield response
    except HTTPError as error:
        raise _refused(address, of, error) from error
    except (URLError, HTTPException, OSError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise NotFetched(f"{address} can't show who it is: {reason}; mend the clock or the "
                             "certificates of this machine") from error  # fmt: skip
        raise Cut(str(reason) or type(reason).__name__) from error


def _take(response: HTTPResponse, weights: Weights, part: Part, tell: Tell) -> None:
    done, total = part.size, weights.size_bytes
    with _writing(part.path):
        file = open(part.path, "ab", buffering=0)  # noqa: SIM115 - closed by the next with
    with file:
        while block := response.read1(_BLOCK_BYTES):
            done += len(block)
            if done > total:
                _same_size(weights, str(done))
            with _writing(part.path):
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
            tell("fetching", done, total)


def _goes_on(response: HTTPResponse, have: int, total: int, note: dict[str, str]) -> bool:
    """Whether a partial answer begins where ours ends and is of the same file."""
    etag = _etag(response.headers)
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return (
        said is not None
        and int(said[1]) == have
        and said[2] in ("*", str(total))
        and (not etag or not note.get("etag") or etag == note["etag"])
    )


def _refused(address: str, of: Published, error: HTTPError) -> Cut | NotFetched:
    """What an answer that is no file means."""
    said = f"{error.code} {error.reason}"
    if error.code in _PASSING:
        return Cut(said, error.code)
    cure = {
        401: f"accept its licence at {of.page} and set HF_TOKEN to a token that may read it",
        403: f"accept its licence at {of.page} and set HF_TOKEN to a token that may read it",
        404: f"it has moved: get a newer Filmgate, or name a file with {of.flag}",
        410: f"it is gone: get a newer Filmgate, or name a file with {of.flag}",
    }.get(error.code, f"try again later, or name a file with {of.flag}")
    return NotFetched(f"{address} answers {said}: {cure}")


def _same_size(weights: Weights, said: str | None) -> None:
    if said is not None and said != str(weights.size_bytes):
        raise BadWeights(
            f"{weights.address} has {said} bytes, and {weights.told} has {weights.size_bytes}: it "
            f"was changed since; get a newer Filmgate, or name a file with {weights.flag}"
        )


def room(folder: Path, needed_bytes: int) -> None:
    """Raises DoesNotFit where the disk of a folder has no room for so much."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise DoesNotFit(
            f"{folder} needs room for {format_bytes(needed_bytes)} and {format_bytes(free)} are "
            "free: make room, or name a folder on another disk with FILMGATE_MODELS",
            needed_bytes,
        )


def _promise(headers: Message) -> str:
    """The sha256 that the hub tells of a large file, if it is one."""
    said = headers.get("X-Linked-Etag", "").strip('"')
    return said if _SHA256.fullmatch(said) else ""


def _etag(headers: Message) -> str:
    etag = headers.get("ETag", "")
    return "" if etag.startswith("W/") else etag  # a weak one does not promise the same bytes


@contextmanager
def alone(place: Path, tell: Tell) -> Iterator[None]:
    """Nobody else fetches this meanwhile, whose folder is made; the system lets go when one dies.

    Raises BadSetting, NotFetched.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadSetting(f"{place.parent} can't be made: {error.strerror}; name another folder for "
                         "models with FILMGATE_MODELS") from error  # fmt: skip
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    with _writing(place.parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            tell("waiting for another process that fetches it", 0, 0)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the disk refuses becomes NotFetched, which the network's own errors are not."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
        cure = "make room" if full else "look at that disk"
        raise NotFetched(f"{path} could not be written: {error.strerror}; {cure}, and the same "
                         "command goes on") from error  # fmt: skip


def _sync(folder: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
