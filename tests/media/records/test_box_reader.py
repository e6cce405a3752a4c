"""Boxes from JSON Lines and from MOT text, in any order; damaged files are refused by line."""

import json
from pathlib import Path
from typing import Any

import pytest

from filmgate.errors import BadInput
from filmgate.media.records import box_reader
from filmgate.media.records.box_reader import read_boxes


def read(tmp_path: Path, *lines: str | bytes | dict[str, Any]) -> box_reader.BoxTable:
    data = b""
    for line in lines:
        text = json.dumps(line) if isinstance(line, dict) else line
        data += (text.encode() if isinstance(text, str) else text) + b"\n"
    (tmp_path / "boxes.txt").write_bytes(data)
    return read_boxes(tmp_path / "boxes.txt")


def list_rows(table: box_reader.BoxTable) -> list[Any]:
    return [
        (int(table.frames[k]), int(table.ids[k]), table.boxes[k].tolist(),
         pytest.approx(float(table.scores[k])))
        for k in range(len(table.frames))
    ]  # fmt: skip


def test_records_of_a_run_are_read_and_those_without_a_box_passed_over(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        {"frame": 2, "time": 0.08, "kind": "person", "id": 7, "box": [1, 2, 3, 4], "score": 0.5},
        {"frame": 2, "kind": "scene"},
        "",
        {"frame": 0, "box": [5, 6, 7, 8.5]},
    )
    assert list_rows(table) == [(0, 0, [5, 6, 7, 8.5], 1), (2, 7, [1, 2, 3, 4], 0.5)]
    assert [list(table.find_rows(n)) for n in range(4)] == [[0], [], [1], []]


def test_mot_frames_count_from_one_and_truth_has_only_people_that_count(tmp_path: Path) -> None:
    table = read(
        tmp_path,
        "# detections: ten columns, or seven",
        "3,-1,10,20,30,40,0.75,-1,-1,-1",
        "1, 4, 1.5, 2, 3, 4, -1",
        "1 5 1 2 3 4",
        "2,6,1,2,3,4,1,1,0.5",
        "2,7,1,2,3,4,0,1,1",
        "2,8,1,2,3,4,1,3,1",
        "2,9,1,2,3,4,7.5,-1,-1,-1",
    )
    assert list_rows(table) == [
        (0, 4, [1.5, 2, 3, 4], 1), (0, 5, [1, 2, 3, 4], 1), (1, 6, [1, 2, 3, 4], 1),
        (1, 9, [1, 2, 3, 4], 1), (2, 0, [10, 20, 30, 40], 0.75),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("hello", "1 columns"),
        ("1,2,3,4,5", "5 columns"),
        ("1,2,x,4,5,6", "could not convert"),
        ("1.5,2,3,4,5,6", "must be integers"),
        ("0,2,3,4,5,6", "frame is -1"),
        ("1,2,3,4,0,6", "the box is 0 x 6 pixels"),
        ("1,2,nan,4,5,6", "the box is"),
        ("inf,2,3,4,5,6", "infinity"),
        ("1,2,3,4,5,6,nan", "the score is nan"),
        ("99999999999999,2,3,4,5,6", "frame is"),
        ('{"frame": 1, "box": [1, 2, 3]}', "not enough values"),
        ('{"frame": "1", "box": [1, 2, 3, 4]}', "must be integers"),
        ('{"box": [1, 2, 3, 4]}', "frame"),
        ('{"frame": 1, "box": null}', "not iterable"),
        ('{"frame": 1, "box"', "Expecting"),
        ('{"frame": 1e400, "box": [1, 2, 3, 4]}', "must be integers"),
        (b"{\xff}", "utf-8"),
        ('{"a":' + "[" * 100_000, "recursion|Expecting"),
    ],
)
def test_damaged_lines_are_refused_with_their_number(
    tmp_path: Path, line: str | bytes, reason: str
) -> None:
    with pytest.raises(BadInput, match=rf"boxes\.txt, line 2 is .*({reason}).*wanted JSON Lines"):
        read(tmp_path, "1,1,1,1,1,1", line)


def test_files_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match=r"boxes\.txt has no boxes"):
        read(tmp_path, {"frame": 1})
    with pytest.raises(BadInput, match=r"cannot be read: No such file"):
        read_boxes(tmp_path / "missing.txt")
    monkeypatch.setattr(box_reader, "_MAX_LINE_BYTES", 20)
    with pytest.raises(BadInput, match=r"has a line 2 of more than 20 bytes"):
        read(tmp_path, "1,1,1,1,1,1", "1," * 40)
