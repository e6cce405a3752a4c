"""Complete stories in Chromium: a real server, its workers, and what kills them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from filmgate.media.pixels.planes import Planes
from filmgate.media.sources import VideoFile
from tests.service.page.conftest import OpenPage
from tests.service.page.helpers import (
    download,
    drop,
    hold_upload,
    read_value,
    wait_for_state,
)
from tests.service.page.server_process import HELD, Server
from tests.videos import Video, make

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
CLIP = Video(frames=75, size=(96, 64))


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server; the parameter is the fault of its workers."""
    server = Server(tmp_path, os.environ)
    server.start(getattr(request, "param", ""))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(CLIP, tmp_path_factory.mktemp("clip") / "clip.mp4")


def check_result(path: Path) -> None:
    """Check that the result has every frame once, in order; each shows its number."""
    numbers = []
    with VideoFile(path).open(threads=1) as video:
        assert (video.spec.width, video.spec.height) == (192, 128)
        for frames, _ in video.read(None, 8):
            for frame in frames:
                assert isinstance(frame.image, Planes)
                luma = frame.image.arrays[0][::2, ::2]
                blocks = [luma[4:12, 8 * bit + 2 : 8 * bit + 6].mean() for bit in range(8)]
                numbers.append(sum(1 << bit for bit, value in enumerate(blocks) if value > 128))
    assert numbers == list(range(CLIP.frames))


def start_job(page: object, clip: Path) -> None:
    """Upload the clip and start its job, in parts of a second."""
    from playwright.sync_api import Page

    assert isinstance(page, Page)
    drop(page, clip)
    page.click("summary:text('Memory and speed')")
    page.fill("#field-limits-segment", "1")
    page.fill("#field-limits-chunk", "4")
    page.wait_for_selector("#plan:not(.busy) dl", timeout=120_000)
    page.click("#start:enabled")
    page.wait_for_selector("#job h1:text('clip.mp4')")


def test_from_drop_to_download(
    server: Server, open_page: OpenPage, clip: Path, tmp_path: Path
) -> None:
    page = open_page(server.address)
    start_job(page, clip)
    wait_for_state(page, "Done")
    page.wait_for_selector("#job video")  # which plays it
    page.click("#job button:text('Compare')")
    page.wait_for_selector("#job .compare")
    check_result(download(page, tmp_path))


@pytest.mark.parametrize("server", ["encode.after_commit=kill@2"], indirect=True)
def test_the_worker_is_killed_in_the_middle(
    server: Server, open_page: OpenPage, clip: Path, tmp_path: Path
) -> None:
    page = open_page(server.address)
    start_job(page, clip)
    page.wait_for_selector("#job .caution:has-text('Interrupted')", timeout=120_000)
    wait_for_state(page, "Done", 300)
    assert "and complete" in page.inner_text("#job .caution")
    page.click("#job summary:text('What happened so far')")
    assert "another process continues" in page.inner_text("#job .log")
    check_result(download(page, tmp_path))


def test_the_server_is_killed_during_the_upload_and_during_the_job(
    server: Server, open_page: OpenPage, clip: Path, tmp_path: Path
) -> None:
    page = open_page(server.address)
    large = tmp_path / "clip.mp4"
    large.write_bytes(clip.read_bytes() + make_free_box(40 << 20))
    with hold_upload(page, 1) as wait_until_held:
        page.set_input_files("#file", large)
        wait_until_held()
        server.kill()
    page.wait_for_selector("#chosen:has-text('cannot be reached')")
    assert read_value(page, "#chosen progress") >= 8 << 20, "the upload starts over"
    server.start(HELD)
    page.wait_for_selector("#chosen:has-text('uploaded')")
    page.click("summary:text('Memory and speed')")
    page.fill("#field-limits-segment", "1")
    page.fill("#field-limits-chunk", "4")
    page.wait_for_selector("#plan:not(.busy) dl", timeout=120_000)
    page.click("#start:enabled")
    page.wait_for_selector("#job a:text('Download what is finished')", timeout=120_000)
    server.kill()
    page.wait_for_selector("#job :text('The job is safe')")
    page.wait_for_selector("#health:has-text('Not reachable')")
    server.start()
    wait_for_state(page, "Done", 300)
    page.wait_for_selector("#health:has-text('Ready')")
    check_result(download(page, tmp_path))


def make_free_box(size: int) -> bytes:
    """Return a box of an MP4 that players skip."""
    return size.to_bytes(4, "big") + b"free" + bytes(size - 8)
