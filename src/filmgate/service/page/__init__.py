"""The page of the service: files that a browser gets as they are, without a build step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES: Mapping[str, str] = MappingProxyType(
    {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
)
# The page loads from this server alone, and no other page shows it; blob: is what it made itself.
_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
            "img-src 'self' blob:; media-src 'self' blob:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }
)


def build_routes() -> list[Route]:
    """Return the routes of the page: `/`, and `/page/NAME` for its other files."""
    return [
        Route("/", _send_page, name="page"),
        Route("/page/{name}", _send_file, name="page_file"),
    ]


async def _send_page(request: Request) -> Response:
    return _answer(request, "index.html")


async def _send_file(request: Request) -> Response:
    return _answer(request, request.path_params["name"])


def _answer(request: Request, name: str) -> Response:
    """Return a file of the page, or that the browser's copy of it is the same."""
    found = _read_files().get(name)
    if found is None:
        return Response(status_code=404)
    data, tag = found
    headers = {**_HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, headers=headers, media_type=_TYPES[name[name.rindex(".") :]])


@cache
def _read_files() -> Mapping[str, tuple[bytes, str]]:
    """Return the files by name, with their ETags."""
    read = {
        item.name: item.read_bytes()
        for item in files(__name__).iterdir()
        if any(item.name.endswith(suffix) for suffix in _TYPES)
    }
    return {name: (data, f'"{sha256(data).hexdigest()[:32]}"') for name, data in read.items()}
