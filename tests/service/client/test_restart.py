"""The client while its server is killed and started again."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import pytest

from filmgate.core.job import Job
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.planning.limits import Limits
from filmgate.service.client import Client
from filmgate.tasks.upscale import Upscale
from tests.service.page.server_process import HELD, Server
from tests.videos import Video, make


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_watch_survives_that_the_server_is_killed(tmp_path: Path) -> None:
    clip = make(Video(frames=75, size=(96, 64)), tmp_path / "clip.mp4")
    job = Job(VideoFile(clip), VideoOutput(tmp_path / "out.mp4"), (Upscale(),))
    server = Server(tmp_path, os.environ)
    server.start(HELD)
    try:
        with Client(server.address) as client:
            job_id = client.submit(job, limits=Limits(segment=Fraction(1))).id
            numbers, is_killed = [], False
            for event in client.watch(job_id):
                numbers += [event.number] * (event.number > 0)
                if event.kind == "segment" and not is_killed:
                    server.kill()
                    server.start()
                    is_killed = True
            assert is_killed
            assert numbers == list(range(1, len(numbers) + 1))
            client.wait(job_id)
            client.download(job_id, tmp_path / "out.mp4")
    finally:
        server.kill()
    with VideoFile(tmp_path / "out.mp4").open(threads=1) as video:
        assert (video.spec.frames, video.spec.width) == (75, 192)
