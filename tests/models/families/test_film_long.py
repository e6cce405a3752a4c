"""FILM on a long video: constant memory."""

from pathlib import Path
from statistics import median

import pytest

import filmgate as fg
from filmgate.models.families.film import FilmOptions
from tests import videos
from tests.models import tiny

FRAMES = 600
SIZE = (128, 96)  # four times the bytes of 64x48 in 1.2 times the seconds
KEPT = 128 * 96 * 3 // 2  # bytes of one image's planes: the least that a leak of frames leaves


@pytest.mark.slow
def test_memory_does_not_depend_on_the_number_of_frames(tmp_path: Path) -> None:
    """Resident bytes around frame 200 and at the end: less than half an image a frame between."""
    source = videos.make(videos.Video(FRAMES, size=SIZE), tmp_path / "in.mp4")
    seen = list[tuple[int, int]]()

    def look(event: object) -> None:
        if isinstance(event, fg.Progress):
            seen.append((event.read, event.resident_bytes))

    task = fg.Interpolate(factor=2, model="film", options=FilmOptions(weights=tiny.weights("film")))
    sink = fg.VideoOutput(tmp_path / "out.mp4", preset="ultrafast")
    # weights by rule make invalid images
    plan = fg.Plan(guard=False, torch_threads=1)
    done = fg.run(task, source, sink, plan=plan, on_event=look)
    assert (done.read, done.written) == (FRAMES, 2 * FRAMES)
    early = median(held for read, held in seen if 150 <= read <= 250)
    late = median(held for read, held in seen if read > FRAMES - 100)
    assert late - early < (FRAMES - 250) * KEPT / 2
