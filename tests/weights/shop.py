"""A local server of files, whose faults a test chooses."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Event, Thread
from typing import Any

from filmgate.weights import download
from filmgate.weights.definitions import Weights
from filmgate.weights.store import WeightsStore

DATA = Random(1).randbytes(300_001)
SHA = sha256(DATA).hexdigest()
OTHER = bytes(reversed(DATA))


@dataclass
class Shop:
    """The file and how it is served; `cuts` are the lengths after which answers end early."""

    data: bytes = DATA
    etag: str = '"one"'
    ranges: bool = True
    honest: bool = True  # If-Range is respected
    cuts: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)  # status codes, before any file
    redirects: bool = False
    promise: str = ""
    length: bool = True
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # of a hub, the newest last
    gate: Event | None = None  # an answer waits for it after its first half
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def weights(self, **more: Any) -> Weights:
        """The definition of the file."""
        settings: dict[str, Any] = {
            "name": "toy",
            "family": "fake",
            "file": "toy.safetensors",
            "size_bytes": len(self.data),
            "licence": "MIT",
            "commercial": True,
            "sha256": sha256(self.data).hexdigest(),
            "url": self.address,
        }
        return Weights(**(settings | more))

    def find(self, path: str) -> bytes | None:
        """Return the data at a path: the one file, or a hub's file at a commit, or its listing."""
        if path.startswith("/api/"):
            return json.dumps(describe_commit(*list(self.commits.items())[-1])).encode()
        if not self.commits or path == "/elsewhere":
            return self.data
        commit, _, file = path.partition("/resolve/")[2].partition("/")
        return self.commits.get(commit, {}).get(file)


def describe_commit(commit: str, files: dict[str, bytes]) -> dict[str, Any]:
    """Return what a hub answers about a commit; large files are those of tensors."""
    large = {path: {"lfs": {"sha256": sha256(data).hexdigest(), "size": len(data)}}
             for path, data in files.items() if path.endswith(".safetensors")}  # fmt: skip
    return {"sha": commit, "siblings": [
        {"rfilename": path, "size": len(data), "blobId": "0" * 40, **large.get(path, {})}
        for path, data in files.items()
    ]}  # fmt: skip


@contextmanager
def serve_shop(shop: Shop) -> Iterator[Shop]:
    """Serve the shop in a thread."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(shop, self)

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(shop.data)))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        shop.address = f"http://127.0.0.1:{server.server_port}/toy"
        try:
            yield shop
        finally:
            server.shutdown()
            thread.join()


def serve(shop: Shop, to: BaseHTTPRequestHandler) -> None:
    """Answer one request."""
    headers = dict(to.headers.items())
    shop.asked.append((to.path, headers))
    if shop.refusals:
        to.send_error(shop.refusals.pop(0))
        return
    if shop.redirects and to.path != "/elsewhere":
        to.send_response(302)
        to.send_header("Location", "/elsewhere")
        to.send_header("X-Linked-Etag", f'"{shop.promise}"')
        to.end_headers()
        return
    body, begin, asked = (
        shop.find(to.path),
        0,
        re.fullmatch(r"bytes=(\d+)-", headers.get("Range", "")),
    )
    if body is None:
        to.send_error(404)
        return
    same = headers.get("If-Range", shop.etag) == shop.etag or not shop.honest
    if asked and shop.ranges and same:
        begin = int(asked[1])
        if begin >= len(body):
            to.send_error(416)
            return
        to.send_response(206)
        to.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
    else:
        to.send_response(200)
    body = body[begin:]
    if shop.length:
        to.send_header("Content-Length", str(len(body)))
    if shop.etag:
        to.send_header("ETag", shop.etag)
    to.end_headers()
    body = body[: shop.cuts.pop(0)] if shop.cuts else body
    if shop.gate:
        to.wfile.write(body[: len(body) // 2])
        shop.gate.wait(20)
        body = body[len(body) // 2 :]
    to.wfile.write(body)


def pull(shop: Shop, store: WeightsStore, waits: list[float] | None = None, **more: Any) -> Path:
    """Download the file; pauses between attempts are appended to `waits` instead of made."""
    waited = [] if waits is None else waits
    return download.pull(shop.weights(**more), store, wait=waited.append)
