"""The client with a real server in this process: what it submits, sees, and brings home."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx2
import pytest

from filmgate.core.job import Job
from filmgate.errors import (
    BadInput,
    BadSetting,
    Exit,
    NotConnected,
    OutputExists,
    UnknownJob,
    Unsupported,
)
from filmgate.jobs.queue.values import JobState
from filmgate.media.frame_counter import FrameCounter
from filmgate.media.records.record_file import RecordFile
from filmgate.media.sinks import ImageOutput, RecordOutput, VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.planning.limits import Limits
from filmgate.service.client import Client, RetryPolicy
from filmgate.service.client.answers import JobFailed, parse_job
from filmgate.service.keys import KeyStore, Scope
from filmgate.tasks.track import Track
from filmgate.tasks.upscale import Upscale
from tests.service.api.helpers import serve
from tests.service.client.helpers import FaultyNetwork
from tests.service.fakes import FakeRun, FakeWorkers, make_service

RESULT = bytes(range(256)) * 40
GENERATED = Job(FrameCounter(frames=48, fps=Fraction(24)), VideoOutput(Path("out.mp4")), ())


def play(run: FakeRun) -> None:
    """Run a job in two segments, with a preview."""
    run.progress(10)
    run.segment(0)
    run.segment(1)
    run.finish(RESULT, 2)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service whose jobs are done at once."""
    workers = FakeWorkers(play)
    folder = tmp_path_factory.mktemp("service")
    with make_service(folder, workers) as service, serve(service) as address:
        yield address


def connect(server: str, network: FaultyNetwork | None = None, **options: Any) -> Client:
    return Client(server, transport=network or FaultyNetwork(), wait=lambda _: None, **options)


@pytest.fixture
def raw() -> Iterator[httpx2.Client]:
    """HTTP without our client."""
    with httpx2.Client(transport=FaultyNetwork()) as raw:
        yield raw


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    path.write_bytes(hashlib.sha256(str(tmp_path).encode()).digest() * 1000)
    return path


def test_a_job_is_submitted_watched_and_its_result_downloaded(
    server: str, video: Path, tmp_path: Path
) -> None:
    task = Upscale(scale=4)
    job = Job(
        VideoFile(video, start=Fraction(1, 3)), VideoOutput(Path("o.mkv"), crf=30), (task,), 7
    )
    with connect(server) as client:
        assert client.plan(job).frames == 48
        sent = client.submit(job, limits=Limits(batch=2))
        assert sent.definition["source"]["start"] == "1/3"
        assert sent.definition["tasks"] == [{"task": "upscale", "scale": 4}]
        assert sent.definition["output"] == {"suffix": ".mkv", "crf": 30}
        assert (sent.definition["seed"], sent.definition["limits"]) == (7, {"batch": 2})
        events = [event for event in client.watch(sent.id) if event.number]
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        assert events[-1].kind == "done"
        done = client.wait(sent.id)
        assert (done.state, done.segments) == (JobState.DONE, 2)
        assert done.check().file_name == "in-upscale.mkv"
        path = client.download(sent.id, tmp_path / "out.mkv")
        assert path.read_bytes() == RESULT
        assert sent.id in [one.id for one in client.list_jobs()]
        assert sorted(tmp_path.iterdir()) == [video, path]


def test_further_inputs_are_uploaded_too(server: str, video: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.jsonl"
    boxes.write_text('{"frame": 0, "box": [1, 2, 3, 4], "score": 0.5}\n')
    job = Job(VideoFile(video), RecordOutput(Path("o.jsonl")), (Track(boxes=RecordFile(boxes)),))
    with connect(server) as client:
        definition = client.submit(job).definition
        assert definition["tasks"][0]["boxes"]["upload"] != definition["source"]["upload"]


@pytest.mark.parametrize("fault", ["lost", "unheard"])
def test_every_third_request_may_fail_and_there_is_one_job(
    server: str, video: Path, tmp_path: Path, fault: str
) -> None:
    network = FaultyNetwork(lambda number, _: fault if number % 3 == 0 else "")
    with connect(server, network) as client:
        before = {job.id for job in client.list_jobs()}
        job = client.submit(Job(VideoFile(video), VideoOutput(Path("o.mp4")), (Upscale(),)))
        client.wait(job.id)
        assert client.download(job.id, tmp_path / "o.mp4").read_bytes() == RESULT
        assert {one.id for one in client.list_jobs()} - before == {job.id}


def test_a_watch_that_breaks_again_and_again_misses_nothing(server: str) -> None:
    def cut(number: int, request: httpx2.Request) -> str:
        return "cut" if request.url.path.endswith("/events") and number < 12 else ""

    with connect(server) as client:
        job = client.submit(GENERATED)
        complete = [event for event in client.watch(job.id) if event.number]
    with connect(server, FaultyNetwork(cut)) as client:
        assert [event for event in client.watch(job.id) if event.number] == complete
        assert [event.number for event in client.watch(job.id, after=2)][:1] == [3]
        assert list(client.watch(job.id, after=complete[-1].number)) == []


def test_an_upload_continues_where_another_process_stopped(
    server: str, video: Path, raw: httpx2.Client
) -> None:
    with connect(server) as client:
        size, head = video.stat().st_size, video.read_bytes()[:20_000]
        form = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size),
                "Upload-Metadata": "filename aW4ubXA0"}  # fmt: skip
        place = raw.post(f"{server}/v1/tus", headers=form).headers["location"]
        part = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0",
                "Content-Type": "application/offset+octet-stream"}  # fmt: skip
        raw.patch(server + place, headers=part, content=head).raise_for_status()
        network = FaultyNetwork()
        with connect(server, network) as other:
            upload = other.upload(video)
            assert (place.endswith(upload), network.count_sent("PATCH")) == (True, size - 20_000)
            network.requests.clear()
            assert other.upload(video) == upload, "what is there is sent again"
            assert network.count_sent("PATCH") == 0
        assert client.upload(video) == upload


def test_the_beginning_of_another_file_of_that_name_is_thrown_away(
    server: str, video: Path, raw: httpx2.Client
) -> None:
    size = video.stat().st_size
    form = {"Tus-Resumable": "1.0.0", "Upload-Length": str(size),
            "Upload-Metadata": "filename aW4ubXA0"}  # fmt: skip
    place = raw.post(f"{server}/v1/tus", headers=form).headers["location"]
    part = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream"}  # fmt: skip
    raw.patch(server + place, headers=part, content=b"other").raise_for_status()
    with connect(server) as client:
        upload = client.upload(video)
        assert not place.endswith(upload)
        answer = raw.get(f"{server}/v1/uploads/{upload}").json()
        assert answer["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
        assert raw.get(f"{server}/v1/uploads/{place[-32:]}").status_code == 404


def test_a_file_that_is_refused_or_missing_is_named(server: str, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"bad")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with connect(server) as client:
        for name, text in (("bad", "is not a video"), ("empty", "empty"), ("none", "No such file")):
            with pytest.raises(BadInput, match=text):
                client.upload(tmp_path / f"{name}.mp4")


def test_a_download_continues_by_range_in_another_process(server: str, tmp_path: Path) -> None:
    target = tmp_path / "o.mp4"
    broken = FaultyNetwork(
        lambda _, request: "cut" if request.url.path.endswith("/result") else "", 3000
    )
    with connect(server) as client:
        job = client.submit(GENERATED)
        client.wait(job.id)
    with (
        connect(server, broken, policy=RetryPolicy(total_s=0)) as client,
        pytest.raises(NotConnected),
    ):
        client.download(job.id, target)
    [part] = tmp_path.iterdir()
    assert part.read_bytes() == RESULT[:3000]
    network = FaultyNetwork()
    with connect(server, network) as client:
        client.download(job.id, target)
    assert network.requests[-1].headers["range"] == "bytes=3000-"
    assert target.read_bytes() == RESULT
    assert list(tmp_path.iterdir()) == [target]


def test_a_download_whose_beginning_is_damaged_starts_over(server: str, tmp_path: Path) -> None:
    with connect(server) as client:
        job = client.submit(GENERATED)
        client.wait(job.id)
        sha256 = hashlib.sha256(RESULT).hexdigest()
        (tmp_path / f".o.mp4.{sha256[:16]}.part").write_bytes(b"x" * 5000)
        assert client.download(job.id, tmp_path / "o.mp4").read_bytes() == RESULT
        (tmp_path / f".o.mp4.{sha256[:16]}.part").write_bytes(RESULT * 2)
        client.download(job.id, tmp_path / "o.mp4", overwrite=True)
        assert [path.name for path in tmp_path.iterdir()] == ["o.mp4"]


def test_a_file_that_exists_is_kept(server: str, tmp_path: Path) -> None:
    (tmp_path / "o.mp4").write_text("mine")
    with connect(server) as client:
        job = client.submit(GENERATED)
        client.wait(job.id)
        with pytest.raises(OutputExists):
            client.download(job.id, tmp_path / "o.mp4")
    assert (tmp_path / "o.mp4").read_text() == "mine"


def test_the_same_key_is_the_same_job(server: str) -> None:
    with connect(server) as client:
        first = client.submit(GENERATED, key="order-17")
        assert client.submit(GENERATED, key="order-17").id == first.id
        assert client.submit(GENERATED).id != first.id


def test_jobs_that_end_without_a_result_have_the_exit_code_of_their_error(tmp_path: Path) -> None:
    workers = FakeWorkers(
        lambda run: run.fail("bad_input", "it ends at frame 3: get an intact copy")
    )
    with (
        make_service(tmp_path, workers) as service,
        serve(service) as server,
        connect(server) as client,
    ):
        job = client.submit(GENERATED)
        with pytest.raises(JobFailed, match="ends at frame 3") as failed:
            client.wait(job.id)
        assert failed.value.exit_code == Exit.USER
        with pytest.raises(JobFailed, match="ends at frame 3"):
            client.download(job.id, tmp_path / "o.mp4")


@pytest.mark.parametrize(
    ("state", "reason", "code"),
    [
        ("failed", "poison", Exit.OURS), ("failed", "out_of_memory", Exit.OURS),
        ("failed", "bad_weights", Exit.USER), ("failed", "filmgate_error", Exit.OURS),
        ("failed", "exit", Exit.OURS), ("failed", "", Exit.OURS),
        ("cancelled", "", Exit.INTERRUPTED), ("expired", "", Exit.BUSY),
    ],
)  # fmt: skip
def test_a_failed_job_tells_its_latest_crash(state: str, reason: str, code: Exit) -> None:
    crash = {"cause": "SIGKILL", "hint": "the machine ran out of memory\x1b[2J"}
    metadata: dict[str, Any] = {
        "id": "j1", "state": state, "correlation_id": "c0ffee", "definition": {}, "position": None,
        "start_s": None, "segments": 0, "events": 9, "submitted_ms": 1,
        "attempts": [{"number": 1, "device": "cpu", "end": "died", "crash": crash}],
    }  # fmt: skip
    error = {"reason": reason, "detail": "it was stopped"}
    job = parse_job({"name": "jobs/j1", "done": True, "metadata": metadata, "error": error}, "h")
    with pytest.raises(JobFailed) as failed:
        job.check()
    assert failed.value.exit_code == code
    assert ("SIGKILL, the machine ran out of memory\ufffd" in str(failed.value)) == (
        state == "failed"
    )
    assert "\x1b" not in str(failed.value)


def test_what_a_service_cannot_take_is_refused_before_anything_is_sent() -> None:
    network = FaultyNetwork()
    with connect("http://127.0.0.1:1", network) as client:
        for job in (
            Job(VideoFile(Path("a.mp4")), ImageOutput(Path("f/%06d.png")), ()),
            Job(VideoFile(Path("a.mp4")), VideoOutput(Path("b.mp4")), (Track(),), 0,
                (RecordOutput(Path("c.jsonl")),)),
        ):  # fmt: skip
            with pytest.raises(Unsupported):
                client.submit(job)
        for job_id in ("", "a/b", "../x", "a" * 65, "\x1b[31m"):
            with pytest.raises(BadSetting, match="no id of a job"):
                client.get(job_id)
    assert not network.requests


def test_keys_are_sent_and_their_absence_is_explained(tmp_path: Path) -> None:
    with make_service(tmp_path) as service, serve(service) as server:
        key = KeyStore(tmp_path).add("ann", (Scope.READ,), 600)[1]
        with connect(server) as client, pytest.raises(BadSetting, match="FILMGATE_KEY"):
            client.list_jobs()
        with connect(server, key=key) as client:
            assert client.list_jobs() == []
            with pytest.raises(BadSetting, match="scopes"):
                client.submit(GENERATED)
            with pytest.raises(UnknownJob):
                client.get("no-such-job")
