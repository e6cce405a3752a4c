"""A real browser without a window; tests that use it are skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    api = pytest.importorskip("playwright.sync_api", reason="no browser tests without playwright")
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium: install it, or name it in CHROMIUM")
    with api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]  # it may run as root
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Return what opens a page; at the end no page may have had an error of its scripts."""
    contexts, problems = [], list[str]()

    def open_page(
        address: str,
        width: int = 1200,
        scheme: str = "light",
        wait_for: str = "#settings .field",
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme="dark" if scheme == "dark" else "light",
            accept_downloads=True,
            locale="en-GB",
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: _keep_violation(message.text, problems))
        page.on("request", lambda request: _keep_foreign(request.url, address, problems))
        page.goto(address)
        page.wait_for_selector(wait_for)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems


def _keep_violation(text: str, problems: list[str]) -> None:
    """Keep what breaks the policy of the page; answers that are errors are expected."""
    if "Content Security Policy" in text or "Refused to" in text:
        problems.append(text)


def _keep_foreign(url: str, address: str, problems: list[str]) -> None:
    if not url.removeprefix("blob:").startswith(address):
        problems.append(f"the page asks another host: {url}")
