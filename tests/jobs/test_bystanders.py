"""The user's files survive every command that deletes: only names that a run wrote ever go."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from tests import videos
from tests.cases import mark_slow_cases

VIDEO = videos.Video(frames=30, times=(), sounds=("aac",))
RUN = ["--preset", "ultrafast", "--segment", "0.3", "--in-process", "--quiet"]
PAUSED = [*RUN, "--pause-after", "0"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(VIDEO, tmp_path_factory.mktemp("film") / "in.mp4")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: Path) -> Path:
    shutil.copy(video, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fill(folder: Path, *more: str) -> dict[str, bytes]:
    """A user's files, some with names that look like those of a run."""
    folder.mkdir(exist_ok=True)
    names = ("thesis.txt", "system.snapshot", "holiday.nut", "result.txt.bak", ".plan.json", *more)
    for name in names:
        (folder / name).write_text(f"precious {name}")
    (folder / "letters").mkdir()
    (folder / "letters" / "000001.nut").write_text("precious")
    return contents(folder)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*")) if path.is_file()}  # fmt: skip


MORE = [
    (),
    pytest.param(("lock",), marks=pytest.mark.slow),
    pytest.param(("job.json",), marks=pytest.mark.slow),
    ("lock", "job.json", "commits.json", "000001.nut"),
]


@pytest.mark.parametrize("more", MORE)
@pytest.mark.parametrize("flags", [(), ("--restart",)])
def test_work_folder_with_files_of_the_user_is_refused(
    place: Path, flags: tuple[str, ...], more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """--work DIR deleted everything in DIR at the end of the run."""
    before = fill(place / "thesis", *more)
    command = ["convert", "in.mp4", "out.mp4", "--work", "thesis", *flags, *RUN]
    assert main(command) == Exit.USER
    assert "is not the folder of a run" in capsys.readouterr().err
    assert contents(place / "thesis") == before
    assert not (place / "out.mp4").exists()


def test_folder_of_the_source_is_refused_as_work_folder(place: Path) -> None:
    """--work . deleted the source video and the finished result."""
    before = contents(place)
    for work in (".", str(place)):
        assert main(["convert", "in.mp4", "out.mp4", "--work", work, *RUN]) == Exit.USER
        assert contents(place) == before


def test_folder_that_only_looks_like_a_run_is_refused(place: Path) -> None:
    before = fill(place / "out.mp4.filmgate", "job.json")
    assert main(["convert", "in.mp4", "out.mp4", *RUN]) == Exit.USER
    assert main(["convert", "in.mp4", "out.mp4", "--restart", *RUN]) == Exit.USER
    assert main(["jobs", "clean", "out.mp4"]) == Exit.USER
    assert main(["jobs", "clean", "--all"]) == Exit.DONE
    assert contents(place / "out.mp4.filmgate") == before


@pytest.mark.parametrize("named", ["backup", "backup.filmgate"])
@pytest.mark.parametrize("more", [(), ("lock",)])
def test_folder_of_another_program_is_not_cleaned(
    place: Path, named: str, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = fill(place / named, "job.json", *more)
    for text in ('{"name": "nightly"}', '{"job": {}, "limits": null}', '["job", "versions"]'):
        (place / named / "job.json").write_text(text)
        before["job.json"] = text.encode()
        assert main(["jobs", "clean", named]) == Exit.USER
        assert "contains no run" in capsys.readouterr().err
        assert contents(place / named) == before


def test_files_that_the_user_adds_to_a_run_directory_stay(place: Path) -> None:
    """When the run finishes, starts again, and is cleaned."""
    for index, more in enumerate((RUN, [*RUN, "--restart"], None)):
        out = f"out{index}.mp4"
        assert main(["convert", "in.mp4", out, *PAUSED]) == Exit.INTERRUPTED
        folder = place / f"{out}.filmgate"
        written = set(os.listdir(folder))
        before = {name: data for name, data in fill(folder).items() if name not in written}
        if more is None:
            assert main(["jobs", "clean", out]) == Exit.DONE
        else:
            assert main(["convert", "in.mp4", out, *more]) == Exit.DONE
        assert contents(folder) == before
        assert not written & set(os.listdir(folder))


@pytest.mark.parametrize(
    "name",
    mark_slow_cases(
        ["lock", "000002.nut"], ["lock", "plan.json", "result.mp4", "events.jsonl", "000002.nut"]
    ),
)
def test_links_are_not_followed(place: Path, name: str) -> None:
    (place / "precious").write_text("precious")
    (place / "work").mkdir()
    (place / "work" / name).symlink_to(place / "precious")
    assert main(["convert", "in.mp4", "out.mp4", "--work", "work", *RUN]) == Exit.USER
    shutil.rmtree(place / "work")
    command = ["convert", "in.mp4", "out.mp4", "--work", "work"]
    assert main([*command, *PAUSED]) == Exit.INTERRUPTED
    (place / "work" / name).unlink(missing_ok=True)
    (place / "work" / name).symlink_to(place / "precious")
    assert main([*command, *RUN]) == Exit.USER
    assert main(["jobs", "clean", "work"]) == Exit.USER
    assert (place / "precious").read_text() == "precious"


def test_work_folder_is_removed_only_if_the_run_created_it(place: Path) -> None:
    """Also if another process than the first finishes the run."""
    (place / "given").mkdir()
    for name in ("given", "new"):
        command = ["convert", "in.mp4", f"{name}.mp4", "--work", name]
        assert main([*command, *PAUSED]) == Exit.INTERRUPTED
        assert main([*command, *RUN]) == Exit.DONE
    assert os.listdir(place / "given") == []
    assert not (place / "new").exists()
    (place / "link").symlink_to(place / "given")
    assert main(["convert", "in.mp4", "link.mp4", "--work", "link", *RUN]) == Exit.DONE
    assert (place / "given").is_dir()


def test_damaged_run_can_be_cleaned(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "in.mp4", "out.mp4", *PAUSED]) == Exit.INTERRUPTED
    (place / "out.mp4.filmgate" / "job.json").write_text("[" * 1000)
    assert main(["jobs"]) == Exit.DONE
    assert "out.mp4.filmgate" in capsys.readouterr().out
    assert main(["jobs", "clean", "out.mp4"]) == Exit.DONE
    assert os.listdir(place) == ["in.mp4"]


def hash_all(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in contents(folder).items()}


@pytest.mark.parametrize(
    "out", ["out.mp4", pytest.param("frames/%04d.png", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "way",
    mark_slow_cases(
        ["finish", "--work and --restart", "clean"],
        ["finish", "--restart", "--overwrite", "--work", "--work and --restart", "clean"],
    ),
)
def test_every_way_to_delete_leaves_bystanders(place: Path, out: str, way: str) -> None:
    """A folder of the user's files is the place of the result, and of the run's directory.

    Afterwards all of them are there, with the same content, and nothing else but the result.
    """
    (place / "in.mp4").rename(place.parent / "source.mp4")
    try:
        command = ["convert", str(place.parent / "source.mp4"), out]
        command += ["--work", "given"] if "--work" in way else []
        if out.endswith(".png"):
            (place / "frames").mkdir()
            (place / "frames" / "note.png").write_text("precious")
            (place / "frames" / "0001.jpg").write_text("precious")
            run, paused = (["--segment", "0.3", "--in-process", "--quiet", *more]
                           for more in ([], ["--pause-after", "0"]))  # fmt: skip
        else:
            run, paused = RUN, PAUSED
        (place / "given").mkdir()
        fill(place, "out.mp4.txt", "lock", "job.json", "commits.json", "000001.snapshot")
        result = place / out.replace("%04d", "0002")
        if way == "--overwrite":
            result.write_bytes(b"an older result")
        before = hash_all(place)
        before.pop(str(result.relative_to(place)), None)
        overwrite = ["--overwrite"] if way == "--overwrite" else []
        assert main([*command, *paused, *overwrite]) == Exit.INTERRUPTED
        if way == "clean":
            assert main(["jobs", "clean", out if "/" not in out else "frames"]) == Exit.DONE
        else:
            more = ["--restart"] if "--restart" in way else []
            assert main([*command, *run, *overwrite, *more]) == Exit.DONE
            assert result.stat().st_size > 100
    finally:
        (place.parent / "source.mp4").unlink()
    after = hash_all(place)
    assert {name: after.get(name) for name in before} == before
    new = after.keys() - before.keys()
    made = {"out.mp4"} if out == "out.mp4" else {f"frames/{n:04}.png" for n in range(30)}
    assert new <= made
    assert way == "clean" or new == made
    assert (place / "given").is_dir()
