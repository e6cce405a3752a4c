"""The old ways: each gives a whole film with its sound, and what it weighs is seen from outside."""

from pathlib import Path
from typing import Any

import av
import pytest

from tests import videos

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import old_ways

    return old_ways


@pytest.mark.parametrize(("way", "frames"), [
    ("one pass", 24), ("png files", 23), ("frames in a list", 23)
])  # fmt: skip
def test_each_way_makes_a_film_with_its_sound(
    way: str, frames: int, bench: Any, tmp_path: Path
) -> None:
    source = videos.make(videos.VIDEOS["sound"], tmp_path / "in.mp4")
    (folder := tmp_path / "work").mkdir()
    assert bench.WAYS[way](source, folder) == frames
    with av.open(str(folder / "out.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == frames
        assert len(film.streams.audio) == 1
    assert bench._lying(folder) >= (folder / "out.mp4").stat().st_size


def test_seconds_are_medians_and_peaks_the_highest(bench: Any) -> None:
    rounds = [
        {way: {"seconds": 1.0 * n * k, "cpu_seconds": 1.0, "memory_mb": 10.0 * n, "disk_mb": 1.0,
               "frames": 4} for k, way in enumerate(bench.WAYS, 1)}
        for n in (1, 2, 6)
    ]  # fmt: skip
    row = bench.table(rounds)["png files"]
    assert (row["seconds"], row["seconds_x"], row["memory_mb"]) == (4.0, 2.0, 60.0)
    assert row["frames_out"] == 4
