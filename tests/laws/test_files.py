"""Law 1, grade *file*: other chunks and queues give the same decoded video.

With other batches frames leave the chain later, so segments end elsewhere: the frames are the same,
but a lossy encoder's output is not.
"""

from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.core.serialization import dumps
from tests import videos
from tests.cases import mark_slow_cases

PLANS = {
    "other chunks": [fg.Plan(chunk=1, queue_bytes=1, segment_frames=8), fg.Plan(segment_frames=8)],
    "other batches": [fg.Plan(chunk=1), fg.Plan(chunk=8, batches=(2, 4, 2), segment_frames=8)],
}


def decode(path: Path) -> list[Any]:
    return [(f.time, f.duration, dumps(f.image)) for f in fg.frames((), path)]


@pytest.mark.parametrize(
    ("codec", "plans"),
    mark_slow_cases(
        [("ffv1", "other batches")],
        [("h264", "other chunks"), ("hevc", "other chunks"), ("ffv1", "other batches")],
    ),
)
def test_law_1_file_with_another_plan(tmp_path: Path, codec: Any, plans: str) -> None:
    source = videos.make(videos.Video(frames=20, times=()), tmp_path / "in.mp4")
    preset = None if codec == "ffv1" else "veryfast"
    results = []
    for i, plan in enumerate(PLANS[plans]):
        sink = fg.VideoOutput(tmp_path / f"{i}.mkv", codec=codec, preset=preset)
        fg.run(fg.Interpolate(factor=2), source, sink, plan=plan)
        results.append(decode(sink.path))
    assert len(results[0]) == 40
    assert results[0] == results[1]
