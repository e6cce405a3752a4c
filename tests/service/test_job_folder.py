"""What killed processes have left in the folders of jobs, and whose files stay."""

from __future__ import annotations

from pathlib import Path

from filmgate.service.job_folder import find_orphans, remove_leftovers, remove_run


def test_only_unfinished_files_of_ours_are_removed(tmp_path: Path) -> None:
    kept = (".filmgate-12345678.txt", ".hidden", "result.mp4", "filmgate-12345678.new")
    for name in (*kept, ".filmgate-12345678.new"):
        (tmp_path / name).touch()
    (tmp_path / ".filmgate-abcdef00.new").mkdir()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*kept, ".filmgate-abcdef00.new"}
    remove_leftovers(tmp_path / "missing")


def test_folders_of_removed_jobs_are_found_and_files_of_the_user_stay(tmp_path: Path) -> None:
    for name in ("known", "orphan", "not a job"):
        (tmp_path / name / "run").mkdir(parents=True)
    (tmp_path / "orphan" / "run" / "notes.txt").touch()
    found = find_orphans(tmp_path, ["known"])
    assert [path.name for path in found] == ["orphan"]
    remove_run(found[0])
    assert (tmp_path / "orphan" / "run" / "notes.txt").exists()
    (tmp_path / "orphan" / "run" / "notes.txt").unlink()
    remove_run(found[0])
    assert not found[0].exists()
