"""The bench of memory while people are followed: what is counted, and how growth is judged."""

import json
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"
KIB = 1 << 10


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import track_memory

    return track_memory


@pytest.mark.slow
def test_chunks_break_the_number_of_everyone_and_the_others_of_no_one(
    bench: Any, tmp_path: Path
) -> None:
    bench.make_scene(tmp_path, 250)
    rows = {
        way: bench.summarize(way, tmp_path, bench.run_way(way, tmp_path), 250) for way in bench.WAYS
    }
    assert {way: row["numbers_broken"] for way, row in rows.items()} == {
        "all": 0, "chunks": 12, "stream": 0
    }  # fmt: skip
    assert [rows[way]["idf1"] for way in ("all", "stream")] == [1, 1]


@pytest.mark.parametrize(
    ("growth", "longest"), [(0, "any"), (100, "any"), (64 * KIB, "64,000 frames")]
)
def test_the_longest_video_follows_from_the_growth(
    bench: Any, tmp_path: Path, growth: int, longest: str
) -> None:
    """1,536,000 KiB of 4 GiB do not depend on the video."""
    line = json.dumps({"frame": 0, "id": 1, "box": [1, 1, 5, 5]}) + "\n"
    for name in ("truth.jsonl", "out-all.jsonl"):
        (tmp_path / name).write_text(line)
    fixed = bench.LIMIT - 64_000 * 64 * KIB
    frames = list(range(0, 10_000, 100))
    measured = bench.Measurement(frames, [fixed + growth * n for n in frames], 2.0)
    row = bench.summarize("all", tmp_path, measured, 10_000)
    assert row["longest_in_4_gib"] == longest
    assert row["frames_per_second"] == 5000
