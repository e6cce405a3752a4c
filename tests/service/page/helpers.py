"""What users do with the page."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

_DROP = """([text, name]) => {
    const bytes = Uint8Array.from(atob(text), (character) => character.codePointAt(0));
    const files = new DataTransfer();
    files.items.add(new File([bytes], name, { type: "video/mp4" }));
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const event = new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true });
        document.querySelector("#drop").dispatchEvent(event);
    }
}"""


def drop(page: Page, path: Path) -> None:
    """Drop a small file on the page."""
    page.evaluate(_DROP, [base64.b64encode(path.read_bytes()).decode(), path.name])


def wait_for_state(page: Page, state: str, timeout_s: float = 120.0) -> None:
    """Wait until the job that is shown has this state."""
    page.wait_for_selector(f"#job .pill:text-is('{state}')", timeout=timeout_s * 1000)


def download(page: Page, folder: Path) -> Path:
    """Click on what downloads the result, and return the file."""
    with page.expect_download() as started:
        page.click("#job a:has-text('Download')")
    path = folder / started.value.suggested_filename
    started.value.save_as(path)
    return path


def measure_overflow(page: Page) -> int:
    """Return how many pixels the page is wider than the window."""
    width: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return width


@contextmanager
def hold_upload(page: Page, chunks: int) -> Iterator[Callable[[], None]]:
    """Let the server have so many chunks of an upload; those after them go when the `with` ends.

    Yields what waits until the next one is held: those before it are answered then.
    """
    held: list[Route] = []

    def take(route: Route) -> None:
        nonlocal chunks
        if route.request.method != "PATCH":
            route.continue_()
        elif chunks > 0:
            chunks -= 1
            route.continue_()
        else:
            held.append(route)

    def wait() -> None:
        end_s = time.monotonic() + 60
        while not held:
            assert time.monotonic() < end_s
            page.wait_for_timeout(20)

    page.route("**/v1/tus/*", take)
    yield wait
    for route in held:
        with suppress(Exception):  # the page that sent it is gone
            route.continue_()
    page.unroute("**/v1/tus/*", take)


def read_value(page: Page, selector: str) -> float:
    """Return the value of a bar of progress."""
    value: float = page.eval_on_selector(selector, "(bar) => bar.value")
    return value
