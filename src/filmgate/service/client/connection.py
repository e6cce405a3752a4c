"""Requests to a service: repeated while it is away or busy; its errors are those of Filmgate."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import httpx2

from filmgate import errors
from filmgate.errors import BadSetting, DoesNotFit, FilmgateError, NotConnected, UnknownJob
from filmgate.units import format_duration

DEFAULT_SERVER = "http://127.0.0.1:8000"
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_PLAN_S = 120.0  # an answer may take so long that needs work
# Answers after which the same request can succeed soon.
_PASSING = (408, 425, 429, 460, 500, 502, 503, 504)
_MAX_TEXT = 2000

# Errors by the last part of a problem's `type`; of others the status decides.
_ERRORS: Mapping[str, Callable[[str], FilmgateError]] = MappingProxyType(
    {
        "bad-input": errors.BadInput,
        "unsupported": errors.Unsupported,
        "bad-weights": errors.BadWeights,
        "key-reused": errors.KeyReused,
        "job-conflict": errors.JobConflict,
        "upload-conflict": errors.JobConflict,
        "unknown-job": errors.UnknownJob,
        "unknown-upload": errors.UnknownUpload,
        "quota-exceeded": errors.UploadQuota,
        "queue-full": errors.QueueFull,
        "too-many-jobs": errors.QueueFull,
        "too-many-requests": errors.QueueFull,
        "not-ready": errors.Busy,
        "not-planned": errors.NotPlanned,
        "insufficient-storage": errors.DiskFull,
    }
)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long a client repeats what fails. Pauses are random, up to a bound that doubles."""

    total_s: float = 300.0
    """Seconds after the first failure in a row, after which the error is raised."""

    pause_s: float = 0.5
    """Bound of the first pause."""

    longest_pause_s: float = 20.0
    """Bound of all pauses, but those that the server asks for."""

    report: Callable[[str], object] | None = None
    """Called at the second failure in a row with why, and for how long requests are repeated."""


class Attempts:
    """Failures in a row: after each a pause, or its error if they last too long."""

    def __init__(
        self, policy: RetryPolicy, wait: Callable[[float], object], clock: Callable[[], float]
    ) -> None:
        self._policy, self._wait, self._clock = policy, wait, clock
        self._count, self._since_s = 0, 0.0

    def pause(self, error: FilmgateError, retry_after_s: float = 0.0) -> None:
        """Wait, at least as long as the server asks. Raises `error` if that takes too long."""
        now = self._clock()
        self._since_s = now if self._count == 0 else self._since_s
        bound = min(self._policy.longest_pause_s, self._policy.pause_s * 2.0**self._count)
        pause = max(retry_after_s, random.uniform(0, bound))
        if now + pause - self._since_s > self._policy.total_s:
            raise error
        self._count = min(self._count + 1, 30)
        if self._count == 2 and self._policy.report:
            limit = format_duration(self._policy.total_s)
            self._policy.report(f"{error}; trying again for up to {limit}")
        self._wait(pause)

    def succeed(self) -> None:
        """Take note of progress: what fails next is the first failure."""
        self._count = 0


class Connection:
    """A server, with the key of its client."""

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        key: str | None = None,
        policy: RetryPolicy | None = None,
        *,
        transport: httpx2.BaseTransport | None = None,
        wait: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`transport`, `wait` and `clock` are for tests. Raises BadSetting."""
        self.server = _check_address(server)
        if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
            raise BadSetting("key has characters that no key has: pass one such as fg_...")
        self._policy, self._wait, self._clock = policy or RetryPolicy(), wait, clock
        self._client = httpx2.Client(
            base_url=self.server,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=_TIMEOUT,
            verify=self.server.startswith("https:"),  # which takes 0.1 s to prepare
            transport=transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def make_attempts(self) -> Attempts:
        """Return what counts failures in a row."""
        return Attempts(self._policy, self._wait, self._clock)

    def ask(
        self,
        method: str,
        address: str,
        *,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> httpx2.Response:
        """Return the answer to a request that can be repeated. Raises FilmgateError."""
        attempts = self.make_attempts()
        while True:
            try:
                return self.ask_once(method, address, json=json, content=content, headers=headers,
                                     params=params)  # fmt: skip
            except Passing as passing:
                attempts.pause(passing.error, passing.retry_after_s)

    def ask_once(self, method: str, address: str, **request: Any) -> httpx2.Response:
        """Return the answer to a request. Raises Passing if it can be repeated; FilmgateError."""
        with self.stream(method, address, **request) as response:
            return response

    @contextmanager
    def stream(
        self,
        method: str,
        address: str,
        *,
        read: bool = True,
        timeout_s: float = _PLAN_S,
        **request: Any,
    ) -> Iterator[httpx2.Response]:
        """Yield an answer that is no error; without `read` its body is read in the `with`.

        `timeout_s`: of silence. Raises Passing if the request can be repeated, also for a break in
        the `with`; FilmgateError.
        """
        timeout = httpx2.Timeout(timeout_s, connect=_TIMEOUT.connect)
        try:
            with self._client.stream(method, address, timeout=timeout, **request) as response:
                if read or not response.is_success:
                    response.read()
                if not response.is_success:
                    raise self._explain(response)
                yield response
        except httpx2.TransportError as error:
            reason = str(error) or type(error).__name__
            text = f"the service at {self.server} cannot be reached: {reason}. Check the address"
            raise Passing(NotConnected(f"{text}, and that filmgate serve runs there")) from error
        except httpx2.DecodingError as error:
            raise NotConnected(f"the service at {self.server} sent what cannot be decoded: "
                               f"{error}. Check the address") from error  # fmt: skip

    def _explain(self, response: httpx2.Response) -> FilmgateError | Passing:
        """Return the error that an answer is."""
        error = self._to_error(response)
        if response.status_code in _PASSING:
            return Passing(error, _read_retry_after(response))
        return error

    def _to_error(self, response: httpx2.Response) -> FilmgateError:
        document = read_object(response)
        kind = str(document.get("type", "")).rpartition("/")[2]
        detail = strip_controls(document.get("detail") or document.get("title") or "")
        if not detail:
            found = f"{self.server} answers with the code {response.status_code}"
            advice = "check the address, and a proxy in between"
            return NotConnected(f"{found}, and not as a Filmgate service does: {advice}")
        if kind == "never-fits":
            needed = document.get("needed_bytes")
            return DoesNotFit(detail, needed if isinstance(needed, int) else 0)
        if kind == "job-removed":
            return UnknownJob(detail, was_removed=True)
        if kind == "no-key":
            return BadSetting(f"{detail}. Pass --key, or set FILMGATE_KEY")
        if kind in _ERRORS:
            return _ERRORS[kind](detail)
        if response.status_code < 500:
            return BadSetting(detail)
        reference = strip_controls(document.get("correlation_id", ""))
        return NotConnected(f"the service at {self.server} failed: {detail}. Its log has more, "
                            f"under {reference or 'the time of the request'}")  # fmt: skip


class Passing(Exception):
    """A failure after which the same request can succeed; `error` is what to raise in the end."""

    def __init__(self, error: FilmgateError, retry_after_s: float = 0.0) -> None:
        super().__init__(str(error))
        self.error, self.retry_after_s = error, retry_after_s


def read_object(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON object of an answer, {} if it is none."""
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def strip_controls(value: object) -> str:
    """Return the text of a server on one line, without codes that a terminal would obey."""
    text = " ".join(str(value)[:_MAX_TEXT].split())
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _read_retry_after(response: httpx2.Response) -> float:
    """Return the seconds that the server asks to wait; 0 if it names none."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 0.0


def _check_address(server: str) -> str:
    """Return the address of a server without a slash at its end. Raises BadSetting."""
    try:
        address = httpx2.URL(server)
    except httpx2.InvalidURL as error:
        raise BadSetting(f"server is {server!r}: {error}. Pass one such as "
                         f"{DEFAULT_SERVER}") from error  # fmt: skip
    if address.scheme not in ("http", "https") or not address.host or address.query:
        raise BadSetting(f"server is {server!r}: pass an address such as {DEFAULT_SERVER}")
    return str(address).rstrip("/")
