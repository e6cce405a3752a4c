"""A run that is killed when its results are complete: the next one names them and ends alike."""

import os
from pathlib import Path

import av
import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.core.instrumentation import fault_injection
from filmgate.core.snapshot import Commit, Cursor, Snapshot
from filmgate.errors import Exit
from filmgate.jobs.checkpoints import Checkpoints
from filmgate.jobs.run_directory import MAX_MESSAGE, MAX_MESSAGES, RunDirectory
from tests.media.streams.sources import make_video

PLAN = fg.Plan(chunk=4)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose audio is damaged: a part of it is lost when it is encoded, at the end."""
    video = make_video(tmp_path_factory.mktemp("damaged") / "in.mkv", ["flac"])
    with av.open(str(video)) as container:
        packet = [bytes(packet) for packet in container.demux(audio=0) if packet.size][4]
    data = video.read_bytes()
    video.write_bytes(data.replace(packet, bytes(len(packet))))
    return video


def run(job: fg.Job) -> tuple[fg.Done, list[str]]:
    """Run a job; return its last event, and what it reports."""
    events = list(fg.events(job, PLAN))
    done = events[-1]
    assert isinstance(done, fg.Done)
    return done, [event.message for event in events if isinstance(event, fg.Warned)]


def run_until(point: str, job: fg.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a job until the process is as good as dead at a point of the code."""
    with monkeypatch.context() as patch:
        faults = fault_injection.parse_faults(f"{point}=raise")
        patch.setattr(fault_injection, "_read_faults", lambda: faults)
        with pytest.raises(fault_injection.Fault):
            list(fg.events(job, PLAN))


@pytest.mark.parametrize("point", ["join.complete", "join.named", "end.reported"])
def test_what_a_result_lacks_is_reported_again(
    point: str, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outs = tmp_path / "undisturbed.mp4", tmp_path / "out.mp4"
    sinks = [fg.VideoOutput(out, preset="ultrafast", audio="encode") for out in outs]
    undisturbed, job = (fg.Job(fg.VideoFile(damaged), sink, ()) for sink in sinks)
    done, reported = run(undisturbed)
    assert not done.is_complete
    assert "damaged at 0.3" in reported[-1]

    run_until(point, job, monkeypatch)
    again, (notice, *repeated) = run(job)
    assert repeated == reported
    assert "a run was stopped after its end" in notice
    assert (again.read, again.written, again.is_complete) == (done.read, done.written, False)
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted(out.name for out in outs)


def test_exit_code_is_repeated(
    damaged: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["convert", str(damaged), str(tmp_path / "out.mp4"), "--audio", "encode", "--json"]
    with monkeypatch.context() as patch:
        faults = fault_injection.parse_faults("join.named=memory")
        patch.setattr(fault_injection, "_read_faults", lambda: faults)
        assert main(line) == Exit.OURS
    capsys.readouterr()
    assert main(line) == Exit.REPAIRED
    assert "damaged at 0.3" in capsys.readouterr().out


def test_list_of_commits_with_many_long_messages_is_read_again(tmp_path: Path) -> None:
    part = tmp_path / "result.mp4"
    part.write_bytes(b"result")
    checkpoints = Checkpoints(RunDirectory(tmp_path))
    checkpoints.save(Commit(Snapshot(Cursor(8, 0), None, (), 1), ((),)))
    messages = [str(k) * 10 * MAX_MESSAGE for k in range(2 * MAX_MESSAGES)]
    checkpoints.mark_complete([part], messages, is_complete=False)
    completion = Checkpoints(RunDirectory(tmp_path)).read_completion()
    assert completion is not None
    assert len(completion.dropped) == MAX_MESSAGES
    assert not completion.done.is_complete
