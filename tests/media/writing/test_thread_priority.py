"""An encoder does not make this process a real-time one."""

import os
import sys
import threading
from pathlib import Path

import pytest

from filmgate.media.writing.encoder_probe import explain_encoder
from filmgate.media.writing.thread_priority import keep_priority
from tests import videos

if sys.platform != "linux":
    pytest.skip("only Linux has scheduling policies", allow_module_level=True)


def list_policies() -> set[int]:
    return {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}


def test_changed_threads_get_their_scheduling_back() -> None:
    before, end = os.sched_getscheduler(0), threading.Event()
    other = threading.Thread(target=end.wait)
    with keep_priority():
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        other.start()  # inherits it
        assert os.SCHED_BATCH in list_policies()
    assert list_policies() == {before}
    end.set()
    other.join()


def test_av1_does_not_make_the_process_a_real_time_one(tmp_path: Path) -> None:
    """As root it did, and the machine hardly ran anything else."""
    import filmgate as fg

    source = videos.make(videos.Video(frames=2), tmp_path / "in.mp4")
    before, seen = os.sched_getscheduler(0), set[int]()
    job = fg.Job(fg.VideoFile(source), fg.VideoOutput(tmp_path / "out.mkv", codec="av1"))
    for _ in fg.events(job):
        seen |= list_policies()
    assert seen == {before}
    assert explain_encoder("av1") == ""
    assert list_policies() == {before}
