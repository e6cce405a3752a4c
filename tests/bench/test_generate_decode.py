"""Files and batches, or one pass: both give the same frames, and only one has files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCH)
    import generate_decode

    return generate_decode


@pytest.mark.slow  # imports diffusers
def test_both_ways_encode_the_same_frames(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = list[list[Any]]()

    def take(_: Path, images: Iterable[Any], size: tuple[int, int]) -> int:
        assert size == (64, 32)
        taken.append(list(images))
        return len(taken[-1])

    monkeypatch.setattr(bench, "encode", take)
    vae, latents = bench.build_vae("rows"), bench.make_latents(9, 64, 32)
    count, size = bench.run_files(bench.decode_all(vae, latents), tmp_path, 1)
    assert (count, size > 0) == (17, True)
    assert bench.run_stream(vae, latents, tmp_path) == (17, 0)
    for a, b in zip(*taken, strict=True):  # the library computes colours in 16 bits
        assert np.abs(a.astype(int) - b).max() <= 2


def test_predictions_name_every_model_and_size(bench: Any) -> None:
    rows = bench.predict()
    assert len(rows) == 6
    for row in rows.values():
        assert row["at once (GB)"] > row["4 bands, parked (GB)"] > row["8 bands, parked (GB)"]


def test_every_size_and_length_has_a_placement_on_every_gpu(bench: Any) -> None:
    rows = bench.place()
    assert len(rows) == 2 * 3 * 4
    for row in rows.values():
        for gpu, cell in row.items():
            steps, decode = map(float, cell.partition(";")[0].split(", "))
            assert 0 < max(steps, decode) <= 0.9 * float(gpu.split()[0]) + 0.05  # rounded
