"""What the server sends to a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from filmgate.service import page
from filmgate.service.page import build_routes

FOLDER = Path(page.__file__).parent
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix not in (".py", ""))


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(Starlette(routes=build_routes()))


def test_the_page_may_load_from_its_own_server_alone(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1)
                  for part in answer.headers["content-security-policy"].split(";"))  # fmt: skip
    assert policy.pop("default-src") == "'none'"
    assert all(re.fullmatch(r"'none'|'self'( blob:)?", value) for value in policy.values())
    assert policy["script-src"] == policy["style-src"] == "'self'"


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_sent_with_its_type_and_not_again(name: str, client: TestClient) -> None:
    answer = client.get("/" if name == "index.html" else f"/page/{name}")
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["x-content-type-options"] == "nosniff"
    kind = {".html": "html", ".js": "javascript", ".css": "css", ".svg": "svg+xml"}[
        Path(name).suffix
    ]
    assert kind in answer.headers["content-type"]
    again = client.get(answer.url.path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_there_is_nothing_inline_and_nothing_from_elsewhere() -> None:
    for name in FILES:
        text = (FOLDER / name).read_text(encoding="utf-8")
        found = re.findall(r"https?://[^\s\"']+", text)
        assert set(found) <= {"http://www.w3.org/2000/svg"}, name
        assert not re.search(r"\bstyle=|\son\w+=\"|innerHTML|<script>|<style", text), name
        for used in re.findall(r'(?:from "\./|(?:src|href)="page/)([\w.]+)', text):
            assert used in FILES


@pytest.mark.parametrize("name", ["", "nothing.js", "__init__.py", "..%2Fserver.py", "%2Fetc%2Fx"])
def test_other_files_are_not_sent(name: str, client: TestClient) -> None:
    assert client.get(f"/page/{name}").status_code == 404
