"""What the client repeats, how long it waits, and what its errors say."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from filmgate.errors import BadSetting, DoesNotFit, Exit, FilmgateError, NotConnected, QueueFull
from filmgate.service.client import Client, RetryPolicy
from filmgate.service.client.answers import RemoteResult
from filmgate.service.client.connection import Attempts
from tests.service.client.helpers import answer_with


class Time:
    """A clock that waiting advances."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)

    def read(self) -> float:
        return self.now


def make_problem(kind: str, status: int, **more: Any) -> httpx2.Response:
    headers = more.pop("headers", {})
    detail = f"{kind} is why: do this"
    document = {"type": f"/v1/problems/{kind}", "title": "t", "status": status, "detail": detail,
                "correlation_id": "c0ffee", **more}  # fmt: skip
    return httpx2.Response(status, json=document, headers=headers)


EMPTY = httpx2.Response(200, json={"jobs": [], "next": None})


def test_pauses_are_random_up_to_a_bound_that_doubles() -> None:
    found: list[list[float]] = []
    for _ in range(40):
        time = Time()
        attempts = Attempts(RetryPolicy(total_s=1e6), time.wait, time.read)
        for _ in range(10):
            attempts.pause(NotConnected(""))
        found.append(time.pauses)
    for count, pauses in enumerate(zip(*found, strict=True)):
        bound = min(20, 0.5 * 2**count)
        assert max(pauses) <= bound
        assert min(pauses) < 0.35 * bound < 0.65 * bound < max(pauses), (count, pauses)


def test_the_time_counts_from_the_first_failure_in_a_row() -> None:
    time = Time()
    attempts = Attempts(RetryPolicy(total_s=10, pause_s=4, longest_pause_s=4), time.wait, time.read)
    error = NotConnected("gone")
    for _ in range(50):
        attempts.pause(error)
        time.now += 3
        attempts.succeed()
    for _ in range(2):
        attempts.pause(error)
        time.now += 1
    time.now += 9
    with pytest.raises(NotConnected):
        attempts.pause(error)


def test_second_failure_in_a_row_is_reported_once() -> None:
    time, reports = Time(), list[str]()
    attempts = Attempts(RetryPolicy(total_s=90, report=reports.append), time.wait, time.read)
    attempts.pause(NotConnected("once"))
    attempts.succeed()
    for _ in range(3):
        attempts.pause(NotConnected("gone"))
    assert reports == ["gone; trying again for up to 1:30"]


def test_the_server_is_given_the_time_that_it_asks_for() -> None:
    busy = make_problem("queue-full", 503, headers={"Retry-After": "7"})
    pauses: list[float] = []
    network = answer_with(busy, busy, EMPTY)
    with Client("http://h", transport=network, wait=pauses.append) as client:
        assert client.list_jobs() == []
    assert len(pauses) == 2
    assert all(7 <= pause <= 20 for pause in pauses)


def test_a_time_that_is_too_long_is_not_waited_for() -> None:
    busy = make_problem("too-many-jobs", 429, headers={"Retry-After": "7200"})
    pauses: list[float] = []
    with (
        Client("http://h", transport=answer_with(busy), wait=pauses.append) as client,
        pytest.raises(QueueFull, match="is why"),
    ):
        client.list_jobs()
    assert not pauses


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("bad-field", 422, Exit.USER), ("bad-input", 422, Exit.USER),
        ("key-reused", 422, Exit.USER), ("unknown-job", 404, Exit.USER),
        ("not-allowed", 403, Exit.USER), ("quota-exceeded", 507, Exit.USER),
        ("something-new", 418, Exit.USER), ("queue-full", 503, Exit.BUSY),
        ("not-ready", 503, Exit.BUSY), ("insufficient-storage", 507, Exit.OURS),
        ("internal", 500, Exit.OURS), ("something-new", 599, Exit.OURS),
    ],
)  # fmt: skip
def test_problems_are_errors_with_exit_codes(kind: str, status: int, code: Exit) -> None:
    network = answer_with(make_problem(kind, status))
    with (
        Client("http://h", transport=network, policy=RetryPolicy(0), wait=lambda _: None) as client,
        pytest.raises(FilmgateError, match=f"{kind} is why") as found,
    ):
        client.list_jobs()
    assert found.value.exit_code == code


def test_what_never_fits_says_what_would() -> None:
    network = answer_with(make_problem("never-fits", 422, needed_bytes=12_345))
    with Client("http://h", transport=network) as client, pytest.raises(DoesNotFit) as found:
        client.list_jobs()
    assert found.value.needed_bytes == 12_345


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(404, text="<html>nginx</html>"),
        httpx2.Response(200, text="<html>a wifi portal</html>"),
        httpx2.Response(200, json={"jobs": [{"name": "jobs/1"}]}),
        httpx2.Response(200, json=[1]),
        httpx2.Response(502, text=""),
    ],
)
def test_another_server_than_filmgate_is_named(answer: httpx2.Response) -> None:
    with (
        Client("http://h", transport=answer_with(answer), policy=RetryPolicy(0)) as client,
        pytest.raises(NotConnected, match=r"http://h.*[Cc]heck the address"),
    ):
        client.list_jobs()


def test_texts_of_a_server_do_not_reach_the_terminal_as_codes() -> None:
    network = answer_with(make_problem("bad-field", 422, detail="a\x1b[2Jb\nc\x07"))
    with Client("http://h", transport=network) as client, pytest.raises(BadSetting) as found:
        client.list_jobs()
    assert str(found.value) == "a\ufffd[2Jb c\ufffd"


@pytest.mark.parametrize("name", ["../../x.mp4", "/etc/x.mp4", "..\\x.mp4", "C:\\a\\x.mp4"])
def test_a_result_is_saved_under_a_name_without_a_place(name: str) -> None:
    result = RemoteResult(size_bytes=1, sha256="0" * 64, media_type="video/mp4", name=name)
    assert result.file_name == "x.mp4"


@pytest.mark.parametrize("server", ["", "localhost", "ftp://h", "http://", "http://h:x", "//h"])
def test_addresses_that_are_none_are_refused(server: str) -> None:
    with pytest.raises(BadSetting, match="server is"):
        Client(server)


@pytest.mark.parametrize("key", ["fg_\n", "a b", "fg_é"])
def test_keys_that_no_header_holds_are_refused(key: str) -> None:
    with pytest.raises(BadSetting, match="key"):
        Client("http://h", key=key)
