"""For authors of stages and models: the laws as functions, sample videos, a device that fails."""

from filmgate.testing.fake_device import FakeDevice
from filmgate.testing.families import check_family
from filmgate.testing.laws import (
    assert_same_frames,
    check_batch,
    check_bound,
    check_chain,
    check_cut,
    check_memory,
    check_output,
    check_retry,
    check_sleep,
    check_stage,
    check_time,
    run_chain,
)
from filmgate.testing.sample_video import SampleVideo, make_sample_video, read_sample_video

__all__ = [
    "FakeDevice",
    "SampleVideo",
    "assert_same_frames",
    "check_batch",
    "check_bound",
    "check_chain",
    "check_cut",
    "check_family",
    "check_memory",
    "check_output",
    "check_retry",
    "check_sleep",
    "check_stage",
    "check_time",
    "make_sample_video",
    "read_sample_video",
    "run_chain",
]
