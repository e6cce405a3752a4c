"""A run that writes records in every format is killed before any file operation, and resumes."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

import filmgate as fg
from filmgate.errors import OutputExists
from filmgate.jobs.run_directory import RunDirectory
from filmgate.media.records.formats import SUFFIXES
from filmgate.media.sinks import RecordOutput
from tests.media.records.people import Walk
from tests.processes import KILLED
from tests.stories.test_death_images import FORKS, PLAN, STRIDE, run_until
from tests.videos import Video, make


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_before_any_file_operation_all_formats_resume(tmp_path: Path) -> None:
    source = fg.VideoFile(make(Video(frames=16), tmp_path / "in.mp4"))
    folder = tmp_path / "results"
    folder.mkdir()
    sinks = [RecordOutput(folder / f"out{suffix}") for suffix in SUFFIXES]
    job = fg.Job(source, sinks[0], (Walk(),), more_sinks=tuple(sinks[1:]))
    list(fg.events(job, PLAN))
    reference = [sink.path.read_bytes() for sink in sinks]
    code, number = KILLED, 0
    while code:
        for sink in sinks:
            sink.path.unlink()
        number += 10 * STRIDE
        process = FORKS.Process(target=run_until, args=(number, job, str(folder)))
        process.start()
        process.join()
        code = process.exitcode or 0
        assert code in (0, KILLED), f"operation {number}"
        named = [sink.path.exists() for sink in sinks]
        if not all(named) or RunDirectory.for_result(job.sink.path).path.exists():
            with suppress(OutputExists):  # killed while the finished run's directory was removed
                list(fg.events(job, PLAN))
        assert [sink.path.read_bytes() for sink in sinks] == reference, f"operation {number}"
        assert len(os.listdir(folder)) == len(sinks), f"operation {number}"
    assert number > 100
