"""A large upload is tracked, its worker is killed at frame 21, and the client gets its result."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from filmgate.jobs.queue.values import AttemptEnd, JobState
from filmgate.service.schema import JobDefinition
from tests.processes import KILL_CAUSE
from tests.service import real
from tests.service.real import finish, hash_result, list_events, open_service, set_faults

WIDTH, HEIGHT, COUNT = 1280, 720, 152  # frames of raw video: 200 MB


def make_raw_video(path: Path, width: int, height: int, count: int) -> Path:
    """Write a Matroska file of uncompressed frames with a bright box that moves."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        grey = np.full((height * 3 // 2, width), 128, np.uint8)
        for number in range(count):
            image = grey.copy()
            left = number * 4 % (width // 2)
            image[height // 8 : height * 7 // 8, left : left + width // 6] = 220
            frame = av.VideoFrame.from_ndarray(image, format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.slow
@pytest.mark.fault(1)
@pytest.mark.timeout(600)
def test_client_of_a_killed_worker_reads_why_and_gets_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(real, "WAIT_S", 300.0)
    clip = make_raw_video(tmp_path / "upload", WIDTH, HEIGHT, COUNT)
    assert clip.stat().st_size >= 200_000_000
    definition = JobDefinition.from_json({
        "source": {"path": str(clip), "max_frames": 32},
        "tasks": [{"task": "track", "detector": "opencv_hog"}],
        "limits": {"segment": "8/25", "chunk": 1, "threads": 1},
    })  # fmt: skip
    with open_service(tmp_path / "undisturbed") as service:
        job = service.submit("ann", definition).job
        view = finish(service, job.id)
        assert view.state is JobState.DONE, view.message
        wanted = hash_result(service, job.id)
    set_faults(monkeypatch, "encode.before_write=kill@22")  # 21 frames are written by then
    with open_service(tmp_path / "service") as service:
        job = service.submit("ann", definition, correlation_id="request-1").job
        view = finish(service, job.id)
        [died] = list_events(service, job.id, "worker_died")
        assert died["cause"] == KILL_CAUSE
        assert died["read"] in (20, 21)
        [first, second] = view.attempts
        assert (first.end, second.end) == (AttemptEnd.DIED, AttemptEnd.DONE)
        assert first.crash["correlation_id"] == "request-1"
        assert "kill on purpose" in first.crash["lines"][-1]
        assert list_events(service, job.id, "resumed") == [{"segments": 2}], "after frame 16"
        assert view.state is JobState.DONE
        assert hash_result(service, job.id) == wanted
