"""MOTA, IDF1 and HOTA: by hand, and as two libraries compute them.

The figures of `REFERENCE` are those of trackeval 1.3.0 on the same tracks. With motmetrics 1.4.0
the same code gave its published figures of TUD-Campus and TUD-Stadtmitte, whose boxes may not be
copied: MOTA 0.526462 and 0.564014, IDF1 0.557659 and 0.644619, HOTA 0.391397 and 0.397849.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.media.records.box_reader import BoxTable
from filmgate.quality.metrics.tracking import TrackingScores, score_tracks

Row = tuple[int, int, float, float, float, float]
REFERENCE = {
    1: {"hota": 0.509601, "detection": 0.567964, "association": 0.457328, "localization": 0.814301,
        "mota": 0.690402, "motp": 0.778636, "switches": 7, "false": 30, "missed": 63,
        "idf1": 0.756933, "id_precision": 0.8, "id_recall": 0.718266},
    2: {"hota": 0.431061, "detection": 0.547501, "association": 0.33981, "localization": 0.802771,
        "mota": 0.682099, "motp": 0.774508, "switches": 10, "false": 34, "missed": 59,
        "idf1": 0.613162, "id_precision": 0.638796, "id_recall": 0.589506},
    4: {"hota": 0.220631, "detection": 0.270282, "association": 0.180815, "localization": 0.708151,
        "mota": 0.052147, "motp": 0.677845, "switches": 4, "false": 89, "missed": 216,
        "idf1": 0.31619, "id_precision": 0.417085, "id_recall": 0.254601},
}  # fmt: skip


def make_table(rows: Sequence[Row]) -> BoxTable:
    values = np.array(sorted(rows), np.float64).reshape(-1, 6)
    frames, ids = values[:, 0].astype(np.int64), values[:, 1].astype(np.int64)
    return BoxTable(frames, ids, values[:, 2:].astype(np.float32), np.ones(len(rows), np.float32))


def score(truth: Sequence[Row], found: Sequence[Row]) -> TrackingScores:
    return score_tracks(make_table(truth), make_table(found))


def walk(id: int, frames: Sequence[int], top: float = 0.0) -> list[Row]:
    return [(n, id, 10.0 * n, top, 20.0, 40.0) for n in frames]


def make_random(seed: int) -> tuple[list[Row], list[Row]]:
    """Return six people and tracks that drift, miss boxes, and switch numbers."""
    drift, miss = (8.0, 0.4) if seed == 4 else (3.0, 0.15)
    rng = np.random.RandomState(seed)
    places, speeds = rng.uniform(0, 200, (6, 2)), rng.uniform(-3, 3, (6, 2))
    truth, found, names = list[Row](), list[Row](), list(range(1, 7))
    for n in range(60):
        if rng.rand() < 0.05:
            a, b = rng.choice(6, 2, replace=False)
            names[a], names[b] = names[b], names[a]
        if rng.rand() < 0.05:
            names[rng.randint(6)] = max(names) + 1
        for k in range(6):
            left, top = places[k] + n * speeds[k]
            if rng.rand() < 0.9:
                truth.append((n, k + 1, left, top, 30.0, 60.0))
            if rng.rand() > miss:
                dx, dy = rng.normal(0, drift, 2)
                width = 30.0 + rng.uniform(-5, 5)
                found.append((n, names[k], left + dx, top + dy, width, 60.0))
    return truth, found


@pytest.mark.parametrize("seed", REFERENCE)
def test_figures_are_those_of_the_reference_implementation(seed: int) -> None:
    scores = score(*make_random(seed))
    for name, wanted in REFERENCE[seed].items():
        assert getattr(scores, name) == pytest.approx(wanted, abs=2e-6), name


def test_the_truth_itself_is_perfect() -> None:
    truth = walk(1, range(10)) + walk(2, range(4, 9), 100.0)
    scores = score(truth, truth)
    assert (scores.mota, scores.idf1, scores.motp) == (1, 1, 1)
    assert scores.hota == pytest.approx(1)
    assert (scores.missed, scores.false, scores.switches, scores.fragments) == (0, 0, 0, 0)
    assert (scores.mostly_tracked, scores.mostly_lost) == (2, 0)


def test_a_number_that_changes_in_the_middle() -> None:
    """Ten boxes, five of each number: one switch, half of the boxes have the right number."""
    scores = score(walk(1, range(10)), walk(7, range(5)) + walk(8, range(5, 10)))
    assert (scores.switches, scores.missed, scores.false) == (1, 0, 0)
    assert scores.mota == pytest.approx(1 - 1 / 10)
    assert scores.idf1 == pytest.approx(2 * 5 / 20)
    # of each pair: 5 boxes together, of 10 that either has
    assert scores.association == pytest.approx(0.5)
    assert scores.hota == pytest.approx(0.5**0.5)


def test_missed_and_false_boxes() -> None:
    """Of 10 boxes 4 are missed, and 2 are of no one."""
    truth = walk(1, range(10))
    scores = score(truth, walk(1, [0, 1, 2, 6, 7, 9]) + walk(2, [0, 1], 500.0))
    assert (scores.missed, scores.false, scores.switches, scores.fragments) == (4, 2, 0, 2)
    assert scores.mota == pytest.approx(1 - 6 / 10)
    assert scores.idf1 == pytest.approx(2 * 6 / (10 + 8))
    assert scores.detection == pytest.approx(6 / 12)
    assert scores.association == pytest.approx(6 / 10)


def test_an_overlap_of_half_counts_for_mota_and_below_only_for_hota() -> None:
    """Boxes that share 1/3 of their common area are pairs at 6 of the 19 thresholds of HOTA."""
    truth = walk(1, range(4))
    moved = [(n, 1, x + 10.0, y, w, h) for n, _, x, y, w, h in truth]
    scores = score(truth, moved)
    assert scores.mota == pytest.approx(-1)
    assert scores.idf1 == 0
    assert scores.hota == pytest.approx(6 / 19)


def test_someone_keeps_the_partner_while_it_overlaps_enough() -> None:
    """A second track that fits better from frame 2 on is no switch."""
    truth = walk(1, range(4))
    first = [(n, 5, x + 4.0, y, w, h) for n, _, x, y, w, h in truth]
    scores = score(truth, first + walk(6, [2, 3]))
    assert (scores.switches, scores.false) == (0, 2)


def test_many_people_who_never_meet_need_no_matrix_of_all() -> None:
    """4,000 people and as many tracks: a dense matrix of 19 thresholds would take 2.4 GB."""
    truth = [(n // 4, n + 1, 100.0 * (n % 4), 0.0, 20.0, 40.0) for n in range(4000)]
    scores = score(truth, truth)
    assert (scores.people, scores.idf1) == (4000, 1)
    assert scores.hota == pytest.approx(1)


def write_text(path: Path, rows: Sequence[Row]) -> Path:
    lines = [f"{n + 1},{id},{x},{y},{w},{h},1,-1,-1,-1\n" for n, id, x, y, w, h in rows]
    path.write_text("".join(lines))
    return path


def test_the_command_compares_text_with_json_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_text(tmp_path / "gt.txt", walk(1, range(10)))
    out = tmp_path / "out.jsonl"
    lines = [{"frame": n, "id": id, "box": box} for n, id, *box in walk(7, range(8))]
    out.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["compare", "--mot", str(truth), str(out), "--json"]) == Exit.DONE
    form = json.loads(capsys.readouterr().out)
    assert (form["mota"], form["missed"], form["people"]) == (0.8, 2, 1)
    assert main(["compare", "--mot", str(truth), str(out)]) == Exit.DONE
    text = capsys.readouterr().out
    assert "HOTA" in text
    assert "2 boxes missed, 0 false, 0 numbers switched" in text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(2, 0, 1.0, 1.0, 5.0, 5.0)], "a box of frame 2 has no number"),
        ([(3, 4, 1.0, 1.0, 5.0, 5.0), (3, 4, 9.0, 1.0, 5.0, 5.0)], "number 4 is in frame 3 twice"),
    ],
)
def test_files_that_are_no_tracks_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[Row], message: str
) -> None:
    truth = write_text(tmp_path / "gt.txt", walk(1, range(3)))
    found = write_text(tmp_path / "found.txt", rows)
    assert main(["compare", "--mot", str(truth), str(found)]) == Exit.USER
    assert message in capsys.readouterr().err


def test_a_report_of_tracks_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_text(tmp_path / "gt.txt", walk(1, range(3)))
    words = ["compare", "--mot", str(truth), str(truth), "--report", str(tmp_path / "r.html")]
    assert main(words) == Exit.USER
    assert "--mot makes none" in capsys.readouterr().err
