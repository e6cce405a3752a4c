"""Files of jobs: only those that the queue wrote are deleted, and only with their job."""

import os
from pathlib import Path

import pytest

from filmgate.errors import BadSetting, UnknownJob
from filmgate.jobs.queue import files
from tests.jobs.queue.queues import ManualClock, make_job, open_queue, start_job


def test_finished_jobs_are_removed_after_their_time_with_what_the_queue_wrote(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    result, notes = tmp_path / "result.mp4", tmp_path / "queue.db.files"
    result.write_text("a result in the user's folder")
    with open_queue(tmp_path, clock) as queue:
        lease = start_job(queue)
        queue.files.add(lease.job_id, "upload").write_text("an upload")
        own = queue.files.add(lease.job_id, "segment.nut")
        own.write_text("a segment")
        (own.parent / "notes.txt").write_text("the user's")
        queue.leases.finish(lease, 0, {"path": str(result)})
        waiting = queue.submit(make_job()).job
        queue.files.add(waiting.id, "upload").write_text("another")
        clock.wait(99)
        assert queue.files.remove_finished(100) == []
        clock.wait(2)
        assert queue.files.remove_finished(100) == [lease.job_id]
        assert queue.files.remove_finished(100) == []
        assert [job.id for job in queue.list_jobs()] == [waiting.id]
        assert queue.files.list_paths(waiting.id) == [notes / waiting.id / "upload"]
    assert os.listdir(notes / lease.job_id) == ["notes.txt"]
    assert (notes / waiting.id / "upload").read_text() == "another"
    assert result.exists()


@pytest.mark.parametrize("name", ["../a", "a/b", ".hidden", "", "a\0b", "a" * 101, "con:", "a\\b"])
def test_names_of_files_are_plain(tmp_path: Path, name: str) -> None:
    with open_queue(tmp_path) as queue:
        job = queue.submit(make_job()).job
        with pytest.raises(BadSetting, match="name of the file is"):
            queue.files.add(job.id, name)
        with pytest.raises(UnknownJob):
            queue.files.add("../..", "a")
        assert not queue.files.folder.exists()


def test_file_that_the_queue_did_not_write_is_never_its_own(tmp_path: Path) -> None:
    with open_queue(tmp_path) as queue:
        job = queue.submit(make_job()).job
        path = queue.files.add(job.id, "a")
        path.write_text("ours")
        assert queue.files.add(job.id, "a") == path
        foreign = path.with_name("b")
        foreign.write_text("the user's")
        with pytest.raises(BadSetting, match="exists, and the queue did not write it"):
            queue.files.add(job.id, "b")
        queue.cancel(job.id)
        queue.files.remove_finished(0)
        assert not path.exists()
        assert foreign.read_text() == "the user's"


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "a").write_text("the user's")
    with open_queue(tmp_path) as queue:
        file, folder = (queue.submit(make_job()).job.id for _ in range(2))
        queue.files.add(file, "a").symlink_to(tmp_path / "user" / "a")
        queue.files.add(folder, "a").parent.rmdir()
        (queue.files.folder / folder).symlink_to(tmp_path / "user")
        for job_id in (file, folder):
            queue.cancel(job_id)
        queue.files.remove_finished(0)
    assert (tmp_path / "user" / "a").read_text() == "the user's"


def test_interrupted_removal_is_completed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are gone, the files are not."""

    def fail(path: Path) -> bool:
        raise KeyboardInterrupt

    queue = open_queue(tmp_path)
    job = queue.submit(make_job()).job
    path = queue.files.add(job.id, "a")
    path.write_text("ours")
    queue.cancel(job.id)
    with monkeypatch.context() as patch:
        patch.setattr(files, "_delete_file", fail)
        with pytest.raises(KeyboardInterrupt):
            queue.files.remove_finished(0)
    queue.close()
    with open_queue(tmp_path) as queue:
        assert path.exists()
        assert queue.files.remove_finished(0) == []
        assert not path.parent.exists()
        assert queue.files.list_paths(job.id) == []
