"""A server on this machine that gives files away, as well or as badly as it is told."""

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
    """What is given away and how; `cuts` are the lengths after which answers end early."""

    data: bytes = DATA
    etag: str = '"one"'
    ranges: bool = True
    honest: bool = True  # an If-Range is looked at
    cuts: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)  # codes, before any file
    redirects: bool = False
    promise: str = ""
    length: bool = True
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # of a hub, the newest last
    gate: Event | None = None  # an answer waits for it after its first half
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    def weights(self, **more: Any) -> Weights:
        """The definition of what is given away."""
        told: dict[str, Any] = {
            "name": "toy",
            "family": "fake",
            "file": "toy.safetensors",
            "size_bytes": len(self.data),
            "licence": "MIT",
            "commercial": True,
            "sha256": sha256(self.data).hexdigest(),
            "url": self.address,
        }
        return Weights(**(told | more))

    def given(self, path: str) -> bytes | None:
        """What lies at a path: the one file, or, of a hub, a file at a commit or what there is."""
        if path.startswith("/api/"):
            return json.dumps(said(*list(self.commits.items())[-1])).encode()
        if not self.commits or path == "/elsewhere":
            return self.data
        commit, _, file = path.partition("/resolve/")[2].partition("/")
        return self.commits.get(commit, {}).get(file)


def said(commit: str, files: dict[str, bytes]) -> dict[str, Any]:
    """What a hub says of a commit; large files are those of tensors."""
    large = {path: {"lfs": {"sha256": sha256(data).hexdigest(), "size": len(data)}}
             for path, data in files.items() if path.endswith(".safetensors")}  # fmt: skip
    return {"sha": commit, "siblings": [
        {"rfilename": path, "size": len(data), "blobId": "0" * 40, **large.get(path, {})}
        for path, data in files.items()
    ]}  # fmt: skip


@contextmanager
def opened(shop: Shop) -> Iterator[Shop]:
    """The shop is open while the `with` lasts."""

    class Counter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            serve(shop, self)

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(shop.data)))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Counter) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        shop.address = f"http://127.0.0.1:{server.server_port}/toy"
        try:
            yield shop
        finally:
            server.shutdown()
            thread.join()


def serve(shop: Shop, to: BaseHTTPRequestHandler) -> None:
    """One answer."""
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
        shop.given(to.path),
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


def pulled(shop: Shop, shelf: WeightsStore, waits: list[float] | None = None, **more: Any) -> Path:
    """What is given away, fetched; pauses between tries are noted in `waits`, not made."""
    waited = [] if waits is None else waits
    return download.pull(shop.weights(**more), shelf, wait=waited.append)
