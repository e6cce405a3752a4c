"""FILM over a long film: two thousand frames, and memory that does not know how many there are."""

from pathlib import Path
from statistics import median

import pytest

import filmgate as fg
from tests import videos
from tests.models import tiny

FRAMES = 2000
KEPT = 64 * 48 * 3 // 2  # bytes of one picture's planes: the least that a leak of frames leaves


@pytest.mark.slow
def test_memory_does_not_know_how_many_frames_there_are(tmp_path: Path) -> None:
    """Resident bytes around frame 300 and at the end: less than half a picture a frame between."""
    source = videos.make(videos.Video(FRAMES), tmp_path / "in.mp4")
    seen = list[tuple[int, int]]()

    def look(event: object) -> None:
        if isinstance(event, fg.Progress):
            seen.append((event.read, event.resident_bytes))

    task = fg.Interpolate(factor=2, model="film", weights=tiny.weights("film"))
    sink = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast")
    # numbers drawn by rule draw what no right picture can be
    done = fg.run(task, source, sink, limits=fg.Limits(guard=False), on_event=look)
    assert (done.read, done.written) == (FRAMES, 2 * FRAMES)
    early = median(held for read, held in seen if 200 <= read <= 400)
    late = median(held for read, held in seen if read > FRAMES - 200)
    assert late - early < (FRAMES - 400) * KEPT / 2
