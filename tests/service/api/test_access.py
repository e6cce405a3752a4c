"""Who may do what: keys, scopes, rates, links, hosts and other web sites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from filmgate.service.api.access import LINK_S, Gatekeeper
from filmgate.service.api.middleware import list_hosts
from filmgate.service.api.problems import Problem
from filmgate.service.api.settings import ServerSettings
from filmgate.service.keys import KeyStore, Scope
from tests.service.api.helpers import JOB, open_app, read_problem

READ, SUBMIT, ADMIN, METRICS = Scope.READ, Scope.SUBMIT, Scope.ADMIN, Scope.METRICS


def make_headers(folder: Path, tenant: str, *scopes: Scope, rate: int = 600) -> dict[str, str]:
    """Add a key and return the headers that send it."""
    return {"Authorization": f"Bearer {KeyStore(folder).add(tenant, scopes, rate)[1]}"}


def test_without_keys_everybody_on_this_machine_is_one_tenant(client: TestClient) -> None:
    assert client.post("/v1/jobs", json=JOB).status_code == 202
    assert client.get("/metrics").status_code == 200


def test_a_key_is_wanted_as_soon_as_there_is_one(tmp_path: Path) -> None:
    with open_app(tmp_path) as client:
        assert client.get("/v1/jobs").status_code == 200
        ann = make_headers(tmp_path, "ann", READ)
        answer = client.get("/v1/jobs")
        read_problem(answer, "no-key")
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/v1/jobs", headers=ann).status_code == 200
        for wrong in ("Bearer fg_x", ann["Authorization"][:-1] + "!", "Basic YTpi", "Bearer"):
            read_problem(client.get("/v1/jobs", headers={"Authorization": wrong}), "no-key")
        assert client.get("/livez").status_code == 200
        bare, known = client.get("/readyz").json(), client.get("/readyz", headers=ann).json()
        assert (bare["workers"], len(known["workers"])) == ([], 1)
        [key] = KeyStore(tmp_path).read()
        KeyStore(tmp_path).remove(key.id)
        assert client.get("/v1/jobs").status_code == 200


def test_a_public_server_stays_closed_when_its_last_key_is_removed(tmp_path: Path) -> None:
    server = ServerSettings(host="0.0.0.0")
    with open_app(tmp_path, server=server) as client:
        read_problem(client.get("/v1/jobs"), "no-key")
        assert client.get("/livez", headers={"Host": "any.example.org"}).status_code == 200


def test_a_key_does_what_its_scopes_allow(tmp_path: Path) -> None:
    ways: list[tuple[str, str, dict[str, Any], Scope]] = [
        ("GET", "/v1/jobs", {}, READ),
        ("GET", "/v1/tasks", {}, READ),
        ("GET", "/v1/uploads", {}, READ),
        ("POST", "/v1/jobs", {"json": JOB}, SUBMIT),
        ("POST", "/v1/plan", {"json": JOB}, SUBMIT),
        ("POST", "/v1/uploads", {"content": b"a video"}, SUBMIT),
        ("GET", "/metrics", {}, METRICS),
        ("GET", "/v1/jobs?of_all=true", {}, ADMIN),
    ]
    with open_app(tmp_path) as client:
        keys = {own: make_headers(tmp_path, "ann", own) for own in Scope}
        for method, place, more, scope in ways:
            for own, headers in keys.items():
                answer = client.request(method, place, headers=headers, **more)
                if own in (scope, ADMIN):
                    assert answer.status_code < 300, (method, place, own, answer.text)
                else:
                    read_problem(answer, "not-allowed")


def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    with open_app(tmp_path) as client:
        ann = make_headers(tmp_path, "ann", READ, SUBMIT)
        bob = make_headers(tmp_path, "bob", READ, SUBMIT)
        boss = make_headers(tmp_path, "boss", ADMIN)
        place = client.post("/v1/jobs", json=JOB, headers=ann).headers["location"]
        upload = client.post("/v1/uploads", content=b"a video", headers=ann).json()["id"]
        client.get(place, params={"wait": 20}, headers=ann)
        for path in (place, f"{place}/events", f"{place}/result", f"{place}/preview"):
            read_problem(client.get(path, headers=bob), "unknown-job")
        for name in ("cancel", "link"):
            read_problem(client.post(f"{place}:{name}", headers=bob), "unknown-job")
        assert client.get("/v1/jobs", headers=bob).json()["jobs"] == []
        assert client.get(place, headers=boss).status_code == 200
        assert len(client.get("/v1/jobs?of_all=1", headers=boss).json()["jobs"]) == 1
        for method in ("GET", "DELETE"):
            answer = client.request(method, f"/v1/uploads/{upload}", headers=bob)
            read_problem(answer, "unknown-upload")
        stolen = client.post("/v1/jobs", json={"source": {"upload": upload}}, headers=bob)
        assert read_problem(stolen, "bad-field")["pointer"] == "/source/upload"
        # the same idempotency key of two tenants is two jobs
        same = [client.post("/v1/jobs", json=JOB, headers=one | {"Idempotency-Key": "k"})
                for one in (ann, bob)]  # fmt: skip
        assert same[0].json()["name"] != same[1].json()["name"]


def test_too_many_requests_of_a_key_are_refused_for_a_while(tmp_path: Path) -> None:
    with open_app(tmp_path) as client:
        ann, bob = make_headers(tmp_path, "ann", READ, rate=5), make_headers(tmp_path, "bob", READ)
        codes = [client.get("/v1/jobs", headers=ann).status_code for _ in range(8)]
        assert codes[:5] == [200] * 5
        assert codes[6:] == [429, 429]
        answer = client.get("/v1/jobs", headers=ann)
        read_problem(answer, "too-many-requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 24
        assert client.get("/v1/jobs", headers=bob).status_code == 200


def test_a_bucket_fills_again(tmp_path: Path) -> None:
    now = [0.0]
    gate = Gatekeeper(KeyStore(tmp_path), lambda: now[0], needs_key=True)
    header = make_headers(tmp_path, "ann", READ, rate=60)["Authorization"]
    for _ in range(60):
        gate.identify(header)
    with pytest.raises(Problem):
        gate.identify(header)
    now[0] += 1.01
    gate.identify(header)
    with pytest.raises(Problem):
        gate.identify(header)


def test_a_link_opens_one_result_for_ten_minutes(tmp_path: Path) -> None:
    with open_app(tmp_path) as client:
        ann = make_headers(tmp_path, "ann", READ, SUBMIT)
        places = [client.post("/v1/jobs", json=JOB, headers=ann).headers["location"]
                  for _ in range(2)]  # fmt: skip
        for place in places:
            client.get(place, params={"wait": 20}, headers=ann)
        link = client.post(f"{places[0]}:link", headers=ann).json()["result"]
        assert client.get(link).content == b"a result"
        assert client.get(link, headers={"Range": "bytes=2-3"}).content == b"re"
        token = link.partition("token=")[2]
        read_problem(client.get(f"{places[1]}/result?token={token}"), "no-key")
        tenant, until, mac = token.split(".")
        for wrong in (f"{tenant}.{int(until) + 1}.{mac}", f"00.{until}.{mac}", "", "é", "..", mac):
            read_problem(client.get(f"{places[0]}/result", params={"token": wrong}), "no-key")
        read_problem(client.get(places[0], params={"token": token}), "bad-request")


def test_a_link_ends(tmp_path: Path) -> None:
    now = [0.0]
    gate = Gatekeeper(KeyStore(tmp_path), lambda: now[0], needs_key=True)
    token = gate.sign_link("job", "ann")
    assert gate.check_link("job", token).scopes == {READ}
    now[0] = LINK_S
    with pytest.raises(Problem):
        gate.check_link("job", token)


@pytest.mark.parametrize("host", ["evil.example.org", "127.0.0.1.evil.org", "", "[", "a b", "[::1"])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    read_problem(client.get("/livez", headers={"Host": host}), "wrong-host")


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_this_host_is_served(client: TestClient, host: str) -> None:
    assert client.get("/livez", headers={"Host": host}).status_code == 200


def test_names_of_a_public_server_are_those_it_was_given() -> None:
    assert list_hosts("0.0.0.0", (), is_local=False) == frozenset()
    assert "video.org" in list_hosts("0.0.0.0", ("Video.org",), is_local=False)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1234"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_changes_nothing(
    client: TestClient, headers: dict[str, str]
) -> None:
    before = client.get("/v1/jobs").json()
    read_problem(client.post("/v1/jobs", json=JOB, headers=headers), "foreign-origin")
    read_problem(client.delete(f"/v1/uploads/{'0' * 32}", headers=headers), "foreign-origin")
    assert client.get("/v1/jobs").json() == before
    assert "access-control-allow-origin" not in client.get("/livez", headers=headers).headers


def test_the_own_page_may_submit(client: TestClient) -> None:
    headers = {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-origin"}
    assert client.post("/v1/jobs", json=JOB, headers=headers).status_code == 202


def test_a_correlation_id_of_the_client_is_taken_if_it_is_one(client: TestClient) -> None:
    own = client.get("/livez", headers={"X-Correlation-ID": "order-17-of-ann"})
    assert own.headers["x-correlation-id"] == "order-17-of-ann"
    for wrong in ("a", "x" * 65, "a b c d e f", "<script>"):
        other = client.get("/livez", headers={"X-Correlation-ID": wrong})
        assert len(other.headers["x-correlation-id"]) == 32
