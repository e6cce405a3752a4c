"""For authors of stages: the laws as functions, a sample video, and a device that fails."""

from filmgate.testing.fake_device import FakeDevice
from filmgate.testing.laws import (
    SampleVideo,
    assert_same_frames,
    check_batch,
    check_bound,
    check_chain,
    check_cut,
    check_retry,
    check_sleep,
    check_stage,
    check_time,
    make_sample_video,
    run_chain,
)

__all__ = [
    "FakeDevice",
    "SampleVideo",
    "assert_same_frames",
    "check_batch",
    "check_bound",
    "check_chain",
    "check_cut",
    "check_retry",
    "check_sleep",
    "check_stage",
    "check_time",
    "make_sample_video",
    "run_chain",
]
