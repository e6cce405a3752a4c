"""How another run than the unfinished one is refused: names that the user knows, and what to do."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import filmgate as fg
from filmgate.errors import BadSetting
from filmgate.jobs.differences import explain_differences, find_differences
from filmgate.jobs.identity import describe_run
from filmgate.jobs.run_directory import RunDirectory
from filmgate.jobs.stored_run import write_stored_job
from filmgate.media.audio.audio_file import AudioFile
from filmgate.media.sinks import RecordOutput
from filmgate.planning.limits import Limits
from filmgate.tasks.lipsync import LipSync
from filmgate.tasks.upscale import Upscale


def describe(folder: Path, limits: Limits | None = None, **settings: Any) -> dict[str, Any]:
    task = LipSync(speech=AudioFile(folder / "speech.wav"), box="9,9,99,99", **settings)
    source, sink = fg.VideoFile(folder / "in.mp4"), fg.VideoOutput(folder / "out.mp4")
    return describe_run(fg.Job(source, sink, (task,)), limits or Limits())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("in.mp4", "speech.wav"):
        (tmp_path / name).write_bytes(bytes(1000))
    return tmp_path


@pytest.mark.parametrize("name", ["in.mp4", "speech.wav"])
@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda path: path.write_bytes(bytes(999)), "it had 1000 bytes and has 999"),
        (lambda path: path.write_bytes(b"x" * 1000), "its content is another"),
        (lambda path: os.utime(path, (5, 5)), "it was written again"),
    ],
)
def test_changed_file_is_named_and_what_to_do(
    name: str, change: Callable[[Path], object], how: str, folder: Path
) -> None:
    before = describe(folder)
    change(folder / name)
    assert explain_differences(before, describe(folder)) == (
        f"other files: {folder / name} was changed since that run began: {how}. Put the old file "
        "back to resume it, or run the command with --restart to start again"
    )


def test_settings_are_named_as_their_flags(folder: Path) -> None:
    before = describe(folder)
    other = describe(folder, Limits(guard=False), finder="insightface")
    other["job"]["tasks"][0]["speech"]["path"] = "/other.wav"
    other["job"] |= {"seed": 7, "input": {"path": "/in.mp4", "max_frames": 3}}
    other["versions"] = before["versions"] | {"device": "the GPU cuda"}
    found = explain_differences(before, other, ({"chunk": 1}, {"chunk": 2}))
    for text in (
        'the speech was "', '--finder was not set, is "insightface"', "--seed was 0, is 7",
        'the input was "', "--max-frames was not set, is 3", "--guard was not set, is false",
        "chunk of the plan was 1, is 2", "the device was not set", "other settings and versions: ",
        "Pass the same settings and use the same versions and device to resume it",
    ):  # fmt: skip
        assert text in found
    assert explain_differences(before, describe(folder)) == ""


def test_one_of_several_tasks_and_outputs_is_named(folder: Path) -> None:
    source = fg.VideoFile(folder / "in.mp4")
    first, page = RecordOutput(folder / "a.jsonl"), RecordOutput(folder / "a.html")
    tasks = (Upscale(), fg.Interpolate(factor=2))
    one = describe_run(fg.Job(source, first, tasks), Limits())
    tasks = (Upscale(scale=4), fg.Interpolate(factor=2))
    two = describe_run(fg.Job(source, first, tasks, more_sinks=(page,)), Limits())
    found = explain_differences(one, two)
    assert "output 2 was not set, is {" in found
    assert "--scale of upscale was not set, is 4" in found


def test_copy_of_weights_in_another_place_is_no_difference(folder: Path) -> None:
    one = describe(folder) | {"files": [{"bytes": 1, "sha256_of_samples": "a", "path": "/a"}]}
    two = describe(folder) | {"files": [{"bytes": 1, "sha256_of_samples": "a", "path": "/b"}]}
    assert explain_differences(one, two) == ""
    two["files"][0]["bytes"] = 2
    assert "/a was read and is not any more; /b is read and was not" in explain_differences(
        one, two
    )


def test_differences_are_found_at_any_depth() -> None:
    old = {"tasks": [{"factor": "2"}], "seed": 0, "input": {"path": "a"}}
    new = {"tasks": [{"factor": "3"}, {"fps": 60}], "seed": 0, "input": {"path": "a", "video": 1}}
    assert list(find_differences(old, new)) == [
        (("tasks", "0", "factor"), "2", "3"),
        (("tasks", "1"), None, {"fps": 60}),
        (("input", "video"), None, 1),
    ]


def test_changed_file_of_a_run_that_stored_no_path_is_named(folder: Path) -> None:
    before = describe(folder)
    for kind in ("videos", "inputs"):
        del before[kind][0]["path"]
    assert explain_differences(before, describe(folder)) == ""
    (folder / "in.mp4").write_bytes(bytes(999))
    assert f"{folder / 'in.mp4'} was changed" in explain_differences(before, describe(folder))


def test_only_the_first_of_many_changed_files_are_named(folder: Path) -> None:
    before, after = describe(folder), describe(folder)
    for run, size in ((before, 5), (after, 6)):
        run["videos"] = [{"path": f"{n}.png", "bytes": size} for n in range(10_000)]
    found = explain_differences(before, after)
    assert "2.png was changed" in found
    assert "; and 9997 more files. Put the old file" in found


def test_more_files_than_a_run_can_describe_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("filmgate.jobs.stored_run.MAX_JOB_BYTES", 100)
    directory = RunDirectory(folder / "out.mp4.filmgate")
    with pytest.raises(BadSetting, match=r"reads 2 files: .* wanted at most 100 bytes"):
        write_stored_job(directory, describe(folder))
