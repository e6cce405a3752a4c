"""The page in Chromium, with a service whose workers do what a test says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from filmgate.errors import DoesNotFit
from filmgate.service.keys import KeyStore, Scope
from tests.service.api.helpers import serve
from tests.service.fakes import FakeWorkers, FixedPlanner, make_service
from tests.service.page.conftest import OpenPage
from tests.service.page.helpers import (
    download,
    drop,
    hold_upload,
    measure_overflow,
    wait_for_state,
)
from tests.videos import Video, make

pytestmark = pytest.mark.slow

# Controls without a name that a screen reader can say, and ids that exist twice.
_AUDIT = """() => {
    const named = (one) => one.labels?.length || one.getAttribute("aria-label") ||
        one.getAttribute("aria-labelledby") || one.textContent.trim();
    const shown = (one) => one.checkVisibility();
    const controls = [...document.querySelectorAll("a, button, input, select, summary, progress")];
    const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
    const referring = document.querySelectorAll("[aria-describedby], [aria-labelledby]");
    const referred = [...referring].flatMap(
        (one) => ["aria-describedby", "aria-labelledby"].flatMap(
            (name) => (one.getAttribute(name) ?? "").split(" ").filter(Boolean)));
    return {
        unnamed: controls.filter((one) => shown(one) && !named(one)).map((one) => one.outerHTML),
        small: controls.filter((one) => shown(one) && one.matches("button, select, .button") &&
            one.getBoundingClientRect().height < 32).map((one) => one.outerHTML),
        twice: ids.filter((id, index) => ids.indexOf(id) !== index),
        missing: referred.filter((id) => !document.getElementById(id) && !id.endsWith("-help")),
        headings: [...document.querySelectorAll("h1")].filter(shown).length,
    };
}"""
CLEAN = {"unnamed": [], "small": [], "twice": [], "missing": [], "headings": 1}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(Video(), tmp_path_factory.mktemp("clip") / "a clip ümlaut & <b>.mp4")


@pytest.fixture(scope="module")
def preview() -> bytes:
    """A frame before, black, and after, white, next to each other."""
    import cv2
    import numpy as np

    image = np.zeros((48, 128, 3), np.uint8)
    image[:, 64:] = 255
    return bytes(cv2.imencode(".jpg", image)[1].tobytes())


@pytest.fixture
def workers() -> FakeWorkers:
    return FakeWorkers(None)


@pytest.fixture
def server(workers: FakeWorkers, tmp_path: Path) -> Iterator[str]:
    with make_service(tmp_path, workers) as service, serve(service) as address:
        yield address


def test_a_job_is_seen_from_its_file_to_its_result(
    server: str, workers: FakeWorkers, open_page: OpenPage, clip: Path, preview: bytes,
    tmp_path: Path,
) -> None:  # fmt: skip
    page = open_page(server)
    assert page.is_disabled("#start")
    drop(page, clip)
    page.wait_for_selector("#plan dl")
    assert "1.1 GB" in page.inner_text("#plan")
    page.fill("#field-task-scale", "4")
    page.click("summary:text('Encoding of the result')")
    page.fill("#field-output-crf", "30")
    page.click("#start")
    page.wait_for_selector("#job h1:has-text('ümlaut & <b>')")
    run = workers.wait_for_run()
    assert run.request["definition"]["tasks"] == [{"task": "upscale", "scale": 4}]
    assert run.request["definition"]["output"]["crf"] == 30
    run.preview(preview)
    run.progress(12)
    page.wait_for_selector("#job .meter:has-text('12 of 48 frames')")
    assert page.get_attribute("#job progress", "value") == "0.25"
    page.wait_for_selector("#job .compare")
    page.focus("#job .compare input")
    page.keyboard.press("End")
    assert page.get_attribute("#job .compare input", "aria-valuetext") == "100 % before, 0 % after"
    run.segment(0)
    page.wait_for_selector("#job a:text('Download what is finished')")
    run.finish(b"the result", 1)
    wait_for_state(page, "Done")
    page.wait_for_selector("#jobs .pill:text('Done')")
    saved = download(page, tmp_path)
    assert saved.read_bytes() == b"the result"
    assert saved.name.endswith("-upscale.mp4")
    page.reload()
    wait_for_state(page, "Done")


def test_a_job_that_crashes_tells_why_and_what_to_do(
    server: str, workers: FakeWorkers, open_page: OpenPage, clip: Path
) -> None:
    page = open_page(server)
    drop(page, clip)
    page.click("#start:enabled")
    workers.wait_for_run().die()
    page.wait_for_selector("#job .caution:has-text('Interrupted once, and continues')")
    assert "a user or another program killed it" in page.inner_text("#job .caution")
    for count in (2, 3):
        workers.wait_for_run(count).die()
    wait_for_state(page, "Failed")
    text = page.inner_text("#job .problem")
    for words in ("Three processes in a row crashed", "Try another model", "Reference"):
        assert words in text
    page.click("#job .problem summary >> nth=2")
    assert "the last line" in page.inner_text("#job .problem")


def test_a_job_is_cancelled_and_the_queue_has_positions(
    server: str, workers: FakeWorkers, open_page: OpenPage, clip: Path
) -> None:
    page = open_page(server)
    for _ in range(2):
        drop(page, clip)
        page.click("#start:enabled")
        page.wait_for_selector("#job h1:has-text('a clip')")
        page.click("#new-link")
        page.click("#chosen button")
    page.wait_for_selector("#jobs :text('Number 1 in the queue')")
    page.click("#jobs a:has-text('Number 1')")
    page.click("#job button:text('Cancel job')")
    wait_for_state(page, "Cancelled")
    assert len(workers.runs) == 1


def test_what_is_wrong_is_shown_where_it_is(
    server: str, open_page: OpenPage, clip: Path, tmp_path: Path
) -> None:
    page = open_page(server)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"bad")
    drop(page, bad)
    page.wait_for_selector("#chosen:has-text('bad.mp4 is not a video')")
    page.click("#chosen button")
    drop(page, clip)
    page.wait_for_selector("#plan dl")
    page.fill("#field-task-scale", "7")
    page.wait_for_selector("#field-task-scale[aria-invalid=true]")
    assert "pass 2 or 4" in page.inner_text("#field-task-scale-wrong")
    page.fill("#field-task-scale", "2")
    page.wait_for_selector("#plan dl")
    assert page.get_attribute("#field-task-scale", "aria-invalid") is None
    page.click("label:has-text('Interpolate')")
    page.fill("#field-task-factor", "5/2")
    page.wait_for_selector("#plan:not(.busy) dl")


def test_an_upload_continues_after_a_reload(
    server: str, open_page: OpenPage, tmp_path: Path
) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(30 << 20))
    page = open_page(server)
    with hold_upload(page, 1) as wait_until_held:
        page.set_input_files("#file", large)
        wait_until_held()
        page.reload()
    page.wait_for_selector("#settings .field")
    sent: list[int] = []
    page.on("request", lambda request: sent.append(int(request.headers.get("upload-offset", "-1"))))
    page.set_input_files("#file", large)
    page.wait_for_selector("#chosen:has-text('31 MB, uploaded')")
    assert min(offset for offset in sent if offset >= 0) >= 8 << 20


def test_a_job_that_never_fits_says_what_would(
    open_page: OpenPage, clip: Path, tmp_path: Path
) -> None:
    text = "the job needs 30 GB and 16 GB are there: choose scale 2"
    planner = FixedPlanner(error=DoesNotFit(text, 30 << 30))
    with make_service(tmp_path, planner=planner) as service, serve(service) as server:
        page = open_page(server)
        drop(page, clip)
        page.wait_for_selector("#plan .problem:has-text('choose scale 2')")


def test_the_page_works_with_the_keyboard_alone(
    server: str, workers: FakeWorkers, open_page: OpenPage, clip: Path
) -> None:
    page = open_page(server)
    # Listened to from the start: what begins with the key press may begin after it.
    page.on("filechooser", lambda chooser: chooser.set_files(clip))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.keyboard.press("Enter")
    page.wait_for_selector("#plan dl")
    page.focus("#task-list input:checked")
    page.keyboard.press("ArrowLeft")
    assert page.is_visible("#field-task-detector")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "start":
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#job h1:has-text('a clip')")
    assert workers.wait_for_run().request["definition"]["tasks"][0]["task"] == "track"


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1280, "dark")])
def test_it_fits_and_everything_has_a_name(
    server: str, workers: FakeWorkers, open_page: OpenPage, clip: Path, preview: bytes,
    width: int, scheme: str,
) -> None:  # fmt: skip
    page = open_page(server, width, scheme)
    drop(page, clip)
    page.wait_for_selector("#plan dl")
    for task in page.query_selector_all("#task-list label"):
        task.click()
        for summary in page.query_selector_all("#settings summary"):
            summary.click()
        assert (measure_overflow(page), page.evaluate(_AUDIT)) == (0, CLEAN)
    page.click("label:has-text('Upscale')")
    page.click("#start:enabled")
    run = workers.wait_for_run()
    run.preview(preview)
    run.progress(12)
    page.wait_for_selector("#job .compare")
    assert (measure_overflow(page), page.evaluate(_AUDIT)) == (0, CLEAN)
    run.fail("bad_input", "x" * 300)
    wait_for_state(page, "Failed")
    for summary in page.query_selector_all("#job summary"):
        summary.click()
    assert (measure_overflow(page), page.evaluate(_AUDIT)) == (0, CLEAN)


def test_a_key_is_asked_for_and_used(open_page: OpenPage, clip: Path, tmp_path: Path) -> None:
    workers = FakeWorkers(lambda run: run.finish(b"the result"))
    with make_service(tmp_path / "s", workers) as service, serve(service) as server:
        key = KeyStore(tmp_path / "s").add("ann", (Scope.READ, Scope.SUBMIT), 6000)[1]
        page = open_page(server, wait_for="#key-dialog[open]")
        page.fill("#key", key[:-1] + "!")
        page.click("#key-form .primary")
        page.wait_for_selector("#key-problem:has-text('not valid')")
        page.fill("#key", key)
        page.keyboard.press("Enter")
        page.wait_for_selector("#settings .field")
        drop(page, clip)
        page.click("#start:enabled")
        wait_for_state(page, "Done")
        assert download(page, tmp_path).read_bytes() == b"the result"
        assert key not in page.content()


def test_a_full_queue_says_when_to_try_again(
    open_page: OpenPage, clip: Path, tmp_path: Path
) -> None:
    workers = FakeWorkers(None)
    with make_service(tmp_path, workers, max_waiting=1) as service, serve(service) as server:
        page = open_page(server)
        drop(page, clip)
        for _ in range(3):
            page.click("#start:enabled")
            page.wait_for_selector("#job h1:has-text('a clip'), #plan .problem")
            if page.is_visible("#plan .problem"):
                break
            page.click("#new-link")
        page.wait_for_selector("#plan .problem:has-text('Try again in')")


def test_a_video_that_a_job_reads_is_not_deleted(
    server: str, workers: FakeWorkers, open_page: OpenPage, clip: Path
) -> None:
    page = open_page(server)
    drop(page, clip)
    page.click("#start:enabled")
    run = workers.wait_for_run()
    page.click("#new-link")
    page.click("#chosen button")
    page.wait_for_selector("#drop")
    drop(page, clip)
    page.wait_for_selector("#plan dl")
    assert Path(run.request["definition"]["source"]["path"]).exists()
