"""`--profile`: where a run's time went, in the table and in the file, and when it is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.cli.bare_flags import fill_bare_flags
from filmgate.cli.main import main
from filmgate.cli.views.profile_view import format_profile
from filmgate.core.events import Phase, Profiled
from filmgate.errors import Exit
from tests import videos
from tests.jobs.resumable_runs import FRAMES, PLAN, SEGMENT, VIDEO, job_of, run_until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(VIDEO, tmp_path_factory.mktemp("source") / "in.mp4")


@pytest.fixture
def source(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A video in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copy(made, "in.mp4"))


@pytest.mark.parametrize(
    ("words", "filled"),
    [
        ("convert --profile in.mp4 out.mp4", "convert --profile=- in.mp4 out.mp4"),
        ("convert in.mp4 out.mp4 --profile", "convert in.mp4 out.mp4 --profile=-"),
        ("convert in.mp4 out.mp4 --profile --quiet", "convert in.mp4 out.mp4 --profile=- --quiet"),
        ("convert --profile RUN.JSON in.mp4 out.mp4", "convert --profile RUN.JSON in.mp4 out.mp4"),
        ("convert in.mp4 out.mp4 --profile=x", "convert in.mp4 out.mp4 --profile=x"),
    ],
)
def test_a_file_is_what_ends_in_json(words: str, filled: str) -> None:
    assert fill_bare_flags(words.split()) == filled.split()


@pytest.mark.parametrize("where", [["--in-process"], []])
def test_results_are_the_same_and_the_file_has_all_phases(
    source: Path, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", str(source), "out.mp4", "--preset", "veryfast"]
    assert main([*words, "--in-process", "--quiet"]) == Exit.DONE
    plain = Path("out.mp4").read_bytes()
    words += ["--overwrite", "--profile", "run.json"]
    assert main([*words, *where]) == Exit.DONE
    assert Path("out.mp4").read_bytes() == plain
    _, _, table = capsys.readouterr().err.partition("\nphase ")
    lines = table.partition("\nDecode, ")[0].splitlines()[2:]
    rows = {row[0]: row for row in map(str.split, lines)}
    assert list(rows)[:-1] == ["load", "decode", "encode", "commit", "join"]
    assert rows["decode"][6] == rows["encode"][6] == rows["all"][3] == str(FRAMES)
    spans = {entry["name"] for entry in json.loads(Path("run.json").read_text())
             if entry.get("ph") == "X"}  # fmt: skip
    assert spans == {"load", "decode", "encode", "commit", "join"}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--profile=out.txt", "profile is out.txt: pass a name that ends in .json"),
        ("--profile a.json --trace b.json", "omit --trace"),
        ("--profile --quiet", "omit --quiet, or pass --profile FILE.json"),
        ("--profile --sample 1", "omit one of them"),
        ("--profile none/a.json", "the folder none does not exist"),
        ("--profile there.json", "there.json exists: choose another name for the profile"),
        ("--profile notes.json --overwrite", "notes.json exists and is not a profile"),
        ("--profile folder.json --overwrite", "folder.json is a folder"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    source: Path, words: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"there.json": "[\n{}]\n", "notes.json": '{"mine": 1}'}
    for name, content in files.items():
        Path(name).write_text(content, newline="\n")
    Path("folder.json").mkdir()
    assert main(["convert", str(source), "out.mp4", *words.split()]) == Exit.USER
    assert text in capsys.readouterr().err
    assert not Path("out.mp4").exists()
    assert {name: Path(name).read_text() for name in files} == files


def test_a_profile_is_not_the_result(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", str(source), "a.json", "--profile", "./a.json"]) == Exit.USER
    assert "is the profile and an output" in capsys.readouterr().err


def test_one_file_for_several_videos_is_refused(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", str(source), shutil.copy(source, "b.mp4"), "-o", "made"]
    assert main([*words, "--profile", "a.json"]) == Exit.USER
    assert "--profile names one place and there are 2 videos" in capsys.readouterr().err


@pytest.mark.slow
def test_each_of_several_videos_has_a_table_with_what_its_plan_predicted(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", str(source), shutil.copy(source, "b.mp4"), "-o", "made", "--ram", "2GB"]
    assert main([*words, "--profile", "--in-process"]) == Exit.DONE
    tables = capsys.readouterr().err.split("\nphase ")[1:]
    assert len(tables) == 2
    for table in tables:
        assert table.split()[:2] == ["seconds", "predicted"]
        rows = {row[0]: row for row in map(str.split, table.splitlines()[2:]) if row}
        assert float(rows["plan"][1]) > 0


def test_a_resumed_run_says_that_it_is_a_part_and_is_appended(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("out.mp4", "plain.mp4")
    job, plain = (replace(job_of(source, Path(name)), tasks=()) for name in names)
    path = Path("run.json")
    list(fg.events(plain, PLAN))
    run_until(job, 2, profile=True, trace=path)
    assert main(["resume", "out.mp4", "--profile", "run.json", "--in-process"]) == Exit.DONE
    shown = capsys.readouterr().err
    assert f"This process resumed from source frame {2 * SEGMENT}: what earlier" in shown
    assert Path("out.mp4").read_bytes() == Path("plain.mp4").read_bytes()
    entries = [entry for entry in json.loads(path.read_text()) if entry]
    assert {entry["pid"] for entry in entries} == {1, 2}
    Path("out.mp4").unlink()
    words = ["convert", str(source), "out.mp4", "--profile", "run.json"]
    assert main(words) == Exit.USER  # another run does not add to it
    assert "run.json exists" in capsys.readouterr().err


@pytest.mark.parametrize("where", [["--in-process"], []])
def test_a_run_that_is_paused_has_a_table_of_the_phases_so_far(
    source: Path, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", str(source), "out.mp4", "--pause-after", "0.001", "--segment", "0.4"]
    assert main([*words, "--profile", *where]) == Exit.INTERRUPTED
    said = capsys.readouterr().err
    assert said.count("\nphase ") == 1
    _, _, table = said.partition("\nphase ")
    assert "\ndecode " in table
    assert "The run stopped after 8 source frames" in table
    assert "paused at frame 8" in table  # below it


def test_the_table_has_the_columns_that_are_needed_and_is_not_cut_off() -> None:
    phases = (
        Phase(("load",), 1.5, 1.0, 1, 0, 5_000_000, 0, 2_000_000_000, 3_000_000_000, 2.0),
        Phase(("load", "weights " + 150 * "w"), 0.5, 0.25, 2, 7, 5_000_000),
        Phase(("encode",), 0.5, 0.5, 100, 100, 0, 1_000, 1_000_000, 0),
    )
    text = format_profile(Profiled(phases, 4.0, 6.0, 2_000_000_000, 3_000_000_000, 100, 40))
    head, _, load, weights, _, total, *notes = text.splitlines()
    assert head.split("  ")[0] == "phase"
    assert " ".join(head.split()).endswith("memory on GPU to device from device")
    assert " ".join(load.split()) == "load 1.50 2.00 1.00 1 1.50 s 2.0 GB 3.0 GB 5.0 MB 0 bytes"
    assert weights.startswith("  weights " + 150 * "w" + "  ")
    assert "250.0 ms" in weights
    assert " ".join(total.split()) == "all 4.00 6.00 100 2.0 GB 3.0 GB 5.0 MB 1.0 kB"
    assert "source frame 40" in notes[-1]
    plain = format_profile(Profiled(phases[2:], 4.0, 6.0, 1_000_000, 0, 100))
    assert "predicted" not in plain
    assert "GPU" not in plain
    assert len(plain.splitlines()) == 6
