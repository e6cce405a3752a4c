"""What processes of a service ask of their system."""

from __future__ import annotations

import sys

import pytest

from filmgate.service.worker.process_limits import allow_many_files


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_as_many_files_as_the_system_allows_may_be_open() -> None:
    if sys.platform != "win32":
        import resource

        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 200), before[1]))
        try:
            allow_many_files()
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            assert hard == before[1]
            assert soft == min(hard, 65_536) or hard == resource.RLIM_INFINITY
            assert soft >= 200
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
