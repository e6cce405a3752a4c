"""Print two hashes of the decoded outputs of each job of `tests.net`, as lines.

The first is of everything that the outputs hold, the second of their video frames alone.
`make windows WINDOWS=frames` compares those of Linux and Windows.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from hashlib import sha256

import torch

from tests.net.decoded import describe_outputs
from tests.net.jobs import JOBS, run_job


def main() -> None:
    """Run the jobs one after the other; what fails is a line as well."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or JOBS:
        try:
            with run_job(name) as folder:
                lines = list(describe_outputs(folder))
            print("hash", name, hash_lines(lines), hash_lines(keep_frames(lines)), flush=True)
        except Exception as error:  # noqa: BLE001 - the next job runs all the same
            traceback.print_exc()
            print("hash", name, "failed", type(error).__name__, flush=True)


def hash_lines(lines: list[str]) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()


def keep_frames(lines: list[str]) -> list[str]:
    """Return the lines on frames of video streams: times, format and hash of the samples."""
    return list(_iter_frames(lines))


def _iter_frames(lines: list[str]) -> Iterator[str]:
    video: set[str] = set()
    for line in lines:
        first, *rest = line.split(" ", 3)
        if first == "file":
            video = set()
        elif first == "stream" and rest[1] == "video":
            video.add(rest[0])
        elif first in video:
            yield line


if __name__ == "__main__":
    main()
