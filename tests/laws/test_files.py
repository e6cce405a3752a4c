"""Law 1 in its second grade, *file*: other chunks, other queues, the same decoded film."""

from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.core.store import dumps
from tests import films

PLANS = [fg.Plan(chunk=1, queue_bytes=1), fg.Plan(chunk=8, batches=(2, 4, 2), segment_frames=8)]


def decoded(path: Path) -> list[Any]:
    return [(f.time, f.duration, dumps(f.image)) for f in fg.frames((), path)]


@pytest.mark.parametrize("codec", ["h264", "hevc", "ffv1"])
def test_law_1_file_however_it_is_planned(tmp_path: Path, codec: Any) -> None:
    source = films.make(films.Film(frames=20, times=()), tmp_path / "in.mp4")
    preset = None if codec == "ffv1" else "veryfast"
    results = []
    for i, plan in enumerate(PLANS):
        sink = fg.Output(tmp_path / f"{i}.mkv", codec=codec, preset=preset)
        fg.run(fg.Interpolate(factor=2), source, sink, plan=plan)
        results.append(decoded(sink.path))
    assert len(results[0]) == 40
    assert results[0] == results[1]
