"""Images whose results go into their own folder: sources stay, and every resumed run is right."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.errors import BadSetting, OutputExists, UserError
from tests.cases import mark_slow_combinations
from tests.videos import draw_image

PLAN = fg.Plan(chunk=2, segment_frames=4)
COUNT = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with in_0.png to in_11.png, and a note."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for n in range(COUNT):
        cv2.imwrite(str(folder / f"in_{n}.png"), np.repeat(draw_image(n, 64, 48)[..., None], 3, 2))
    (folder / "note.txt").write_text("precious")
    return folder


def hash_files(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def job_of(folder: Path, output: Path, *, overwrite: bool = False) -> fg.Job:
    source = fg.ImageSequence(folder / "in_%d.png")
    return fg.Job(source, fg.ImageOutput(output, overwrite=overwrite))


def stop_at_first_commit(job: fg.Job) -> None:
    events = fg.events(job, PLAN)
    while not isinstance(next(events), fg.Committed):
        pass
    events.close()


WAYS = ["same command", "other flag", "restart", "older images"]


@pytest.mark.parametrize(
    ("way", "overwrite"),
    mark_slow_combinations(
        [(WAYS[0], False), (WAYS[1], False), (WAYS[2], True), (WAYS[3], True)],
        WAYS,
        [False, True],
    ),
)
def test_run_into_the_folder_of_its_sources_is_resumed(
    folder: Path, tmp_path: Path, overwrite: bool, way: str
) -> None:
    list(fg.events(job_of(folder, tmp_path / "right" / "out_%d.png"), PLAN))
    right = hash_files(tmp_path / "right")
    assert len(right) == COUNT
    before = hash_files(folder)
    if way == "older images" and overwrite:
        for n in range(COUNT + 2):
            (folder / f"out_{n}.png").write_text("old")
    stop_at_first_commit(job_of(folder, folder / "out_%d.png", overwrite=overwrite))
    assert before.items() <= hash_files(folder).items()
    again = job_of(folder, folder / "out_%d.png", overwrite=overwrite != (way == "other flag"))
    list(fg.events(again, PLAN, resume_options=fg.ResumeOptions(restart=way == "restart")))
    found = hash_files(folder)
    assert before.items() <= found.items()
    assert right.items() <= found.items()
    more = found.keys() - before.keys() - right.keys()
    assert more == ({"out_12.png", "out_13.png"} if way == "older images" and overwrite else set())
    assert not (tmp_path / "frames.filmgate").exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("in_%d.png", "in_%d.png"),
        (".", "out_%d.png"),
        ("*.png", "out_%d.png"),
        ("in_1*.png", "in_%d.png"),
        ("in_3.png", "in_%d.png"),
    ],
)
def test_output_among_its_sources_is_refused_at_once(
    folder: Path, tmp_path: Path, source: str, output: str, overwrite: bool
) -> None:
    before = hash_files(folder)
    sink = fg.ImageOutput(folder / output, overwrite=overwrite)
    with pytest.raises(BadSetting, match="choose another folder for the output"):
        list(fg.events(fg.Job(fg.ImageSequence(folder / source), sink), PLAN))
    assert hash_files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["frames"]


def test_changed_source_is_not_mixed_into_a_resumed_run(folder: Path) -> None:
    job = job_of(folder, folder / "out_%d.png")
    stop_at_first_commit(job)
    cv2.imwrite(str(folder / "in_9.png"), np.zeros((48, 64, 3), np.uint8))
    before = hash_files(folder)
    with pytest.raises(UserError, match="--restart"):
        list(fg.events(job, PLAN))
    assert hash_files(folder) == before


def test_clean_says_which_images_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = job_of(folder, folder / "out_%d.png")
    stop_at_first_commit(job)
    count = len(list(folder.glob("out_*.png")))
    assert 0 < count < COUNT
    assert main(["jobs", "clean", str(folder)]) == 0
    said = capsys.readouterr().out
    assert f"{count} images stay in {folder}: delete them, or pass --overwrite" in said
    assert len(list(folder.glob("out_*.png"))) == count
    with pytest.raises(OutputExists, match="--overwrite"):
        list(fg.events(job, PLAN))
    list(fg.events(job_of(folder, folder / "out_%d.png", overwrite=True), PLAN))
    assert len(list(folder.glob("out_*.png"))) == COUNT
