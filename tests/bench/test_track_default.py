"""The bench of the default tracker: a small video of any length, and how its growth is judged."""

from pathlib import Path
from typing import Any

import av
import pytest

from tests.videos import Video, make

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import track_default

    return track_default


def test_a_clip_is_repeated_to_and_fro_in_the_small_size(bench: Any, tmp_path: Path) -> None:
    clip = make(Video(frames=5, size=(96, 64)), tmp_path / "in.mp4")
    bench.shrink(clip, tmp_path / "small.mp4", 12)
    with av.open(str(tmp_path / "small.mp4")) as container:
        frames = list(container.decode(video=0))
    assert {(frame.width, frame.height) for frame in frames} == {bench.SMALL}
    assert [frame.time for frame in frames] == pytest.approx([n / 25 for n in range(12)])
    means = [frame.to_ndarray(format="gray").mean() for frame in frames]
    assert means[4] == pytest.approx(means[5], abs=1), "backwards from the last one"
    assert means[3] == pytest.approx(means[6], abs=1)


@pytest.mark.parametrize("growth", [0, 5000])
def test_growth_is_that_of_the_second_half(bench: Any, growth: int) -> None:
    frames = list(range(100, 2100, 100))
    held = [10**8 + 10**6 * min(8, n) + growth * max(0, frame - 1100)
            for n, frame in enumerate(frames)]  # fmt: skip
    written = [0, 0, *(700 * (n // 2) for n in range(18))]
    one = bench.Measurement(frames, held, written, 10.0, 3)
    row = bench.summarize(one, "a video")
    assert row["bytes_per_frame"] == pytest.approx(growth, rel=0.05)
    assert row["peak_mb"] == pytest.approx(108 + growth * 900 / 1e6)
    assert (row["writes"], row["people"], row["frames_per_second"]) == (8, 3, 200)


def test_records_are_counted_wherever_they_are_now(bench: Any, tmp_path: Path) -> None:
    (run := tmp_path / "out.jsonl.filmgate").mkdir()
    for name, size in ((".000000.jsonl", 5), ("000001.jsonl", 7), ("events.jsonl", 100)):
        (run / name).write_bytes(b"x" * size)
    assert bench.count_written(tmp_path) == 12
