"""The usual scripts: each gives a complete video with its audio, and is measured from outside."""

from pathlib import Path
from typing import Any

import av
import pytest

from tests import videos

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import alternatives

    return alternatives


@pytest.mark.parametrize(("way", "frames"), [
    ("one pass", 24), ("png files", 23), ("frames in a list", 23)
])  # fmt: skip
def test_each_method_writes_a_video_with_audio(
    way: str, frames: int, bench: Any, tmp_path: Path
) -> None:
    source = videos.make(videos.VIDEOS["sound"], tmp_path / "in.mp4")
    (folder := tmp_path / "work").mkdir()
    assert bench.METHODS[way](source, folder) == frames
    with av.open(str(folder / "out.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames
        assert len(container.streams.audio) == 1
    assert bench._folder_bytes(folder) >= (folder / "out.mp4").stat().st_size


def test_seconds_are_medians_and_peaks_are_maxima(bench: Any) -> None:
    rounds = [
        {way: {"seconds": 1.0 * n * k, "cpu_seconds": 1.0, "memory_mb": 10.0 * n, "disk_mb": 1.0,
               "frames": 4} for k, way in enumerate(bench.METHODS, 1)}
        for n in (1, 2, 6)
    ]  # fmt: skip
    row = bench.make_table(rounds)["png files"]
    assert (row["seconds"], row["seconds_x"], row["memory_mb"]) == (4.0, 2.0, 60.0)
    assert row["frames_out"] == 4
