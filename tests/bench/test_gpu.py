"""bench/gpu.py: the newest checks of each part become rows."""

import json
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import gpu

    return gpu


def write(folder: Path, time: str, seconds: float, name: str = "speed some") -> None:
    ways = [{"check": f"some 8x8 {way}", "seconds_per_frame": seconds * factor, "gb": 1 / factor}
            for way, factor in (("ours", 1), ("plain", 2))]  # fmt: skip
    dtype = {
        "check": "upscale some: CUDA float16 and CPU float32",
        "status": "passed",
        "codes": 2.0,
    }
    parts = {name: {"checks": ways}, "family some": {"checks": [dtype]}, "late": {"checks": []}}
    (folder / f"z-{time}.json").write_text(json.dumps({"parts": parts}))


def test_the_newest_run_of_a_part_is_compared(bench: Any, tmp_path: Path) -> None:
    write(tmp_path, "20260102-120000", 3.0)
    write(tmp_path, "20260101-120000", 1.0)
    parts = bench.read_parts(tmp_path)
    assert parts.keys() == {"speed some", "family some"}
    ((name, row),) = bench.compare_ways(parts)
    assert (name, row["ours (s)"], row["seconds_x"], row["memory_x"]) == ("some 8x8", 3, 0.5, 2)
    assert dict(bench.list_dtypes(parts)) == {"upscale some": {"unit": "codes", "float16": "2"}}
