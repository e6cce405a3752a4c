"""Print hashes of the decoded outputs of each job of `tests.net`, as lines.

The first is of everything that the outputs hold, the second of their video frames, the third of
everything but the samples of AAC audio. `make windows` compares those of Linux and Windows.
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
            parts = (lines, keep_frames(lines), leave_out_aac(lines))
            print("hash", name, *map(hash_lines, parts), flush=True)
        except Exception as error:  # noqa: BLE001 - the next job runs all the same
            traceback.print_exc()
            print("hash", name, "failed", type(error).__name__, flush=True)


def hash_lines(lines: list[str]) -> str:
    return sha256("\n".join(lines).encode()).hexdigest()


def keep_frames(lines: list[str]) -> list[str]:
    """Return the lines on frames of video streams: times, format and hash of the samples."""
    return [line for kind, line in _iter_contents(lines) if kind == "video"]


def leave_out_aac(lines: list[str]) -> list[str]:
    """Return the lines, those on frames of AAC audio without the hash of their samples."""
    return [line.rpartition(" ")[0] if kind == "aac" else line
            for kind, line in _iter_contents(lines)]  # fmt: skip


def _iter_contents(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Yield "video" or the codec of the audio stream that a line is on, "" for others."""
    kinds: dict[str, str] = {}
    for line in lines:
        first, *rest = line.split(" ", 4)
        if first == "file":
            kinds = {}
        elif first == "stream":
            index, kind, codec = rest[:3]
            kinds[index] = {"video": "video", "audio": codec}.get(kind, "")
        yield kinds.get(first, ""), line


if __name__ == "__main__":
    main()
