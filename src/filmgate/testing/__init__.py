"""For authors of stages: the laws as functions, and a device that fails."""

from filmgate.testing.laws import (
    SampleVideo,
    check_batch,
    check_bound,
    check_chain,
    check_cut,
    check_retry,
    check_sleep,
    check_stage,
    check_time,
)

__all__ = [
    "SampleVideo",
    "check_batch",
    "check_bound",
    "check_chain",
    "check_cut",
    "check_retry",
    "check_sleep",
    "check_stage",
    "check_time",
]
