"""What users do with the page."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

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


def limit_upload(page: Page, bytes_per_s: int) -> None:
    """Let the page send at most so many bytes a second; -1: as many as it can."""
    network = page.context.new_cdp_session(page)
    rates = {"downloadThroughput": -1, "uploadThroughput": bytes_per_s}
    network.send("Network.emulateNetworkConditions", {"offline": False, "latency": 0, **rates})


def read_value(page: Page, selector: str) -> float:
    """Return the value of a bar of progress."""
    value: float = page.eval_on_selector(selector, "(bar) => bar.value")
    return value


def wait_for_value(page: Page, selector: str, value: float) -> None:
    """Wait until a bar of progress has at least this value."""
    end_s = time.monotonic() + 60
    while read_value(page, selector) < value:
        assert time.monotonic() < end_s
        page.wait_for_timeout(20)
