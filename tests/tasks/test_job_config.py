"""Forms: settings come in from text exactly, go out again, and wrong ones are told in words."""

import json
from fractions import Fraction
from pathlib import Path
from re import escape

import pytest

from filmgate.core.job import Job
from filmgate.errors import BadSetting
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.tasks import job_config
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.job_config import (
    fill,
    job_from_toml,
    sink_from,
    source_from,
    task_from,
    task_to,
)
from filmgate.tasks.provenance import Provenance, job_tag, read_tag
from filmgate.tasks.registry import registry

TOML = """
input = "in.mp4"
seed = 7
[output]
path = "made/out.mkv"
codec = "hevc"
crf = 20
[[tasks]]
task = "interpolate"
factor = 2.1
[[tasks]]
task = "interpolate"
fps = "60000/1001"
ends = "drop"
weights = "w"
"""


def test_tasks_are_found_by_themselves() -> None:
    assert registry()["interpolate"] is Interpolate
    assert "forms" not in registry()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (2, Fraction(2)),
        ("5/2", Fraction(5, 2)),
        ("60000/1001", Fraction(60000, 1001)),
        (0.1, Fraction(1, 10)),
        ("59.94", Fraction(5994, 100)),
    ],
)
def test_fractions_are_exact(given: object, wanted: Fraction) -> None:
    assert task_from({"task": "interpolate", "factor": given}) == Interpolate(factor=wanted)


@pytest.mark.parametrize(
    "task",
    [
        Interpolate(),
        Interpolate(factor=2),
        Interpolate(fps=Fraction(60000, 1001), ends="drop"),
        Interpolate(slow=Fraction(3, 2)),
    ],
)
def test_a_task_comes_back_from_its_form(task: Interpolate) -> None:
    form = task_to(task)
    assert task_from(json.loads(json.dumps(form))) == task
    assert len(form) == 1 + sum(
        getattr(task, name) != getattr(Interpolate(), name) for name in Interpolate.__slots__
    )


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"task": "interpolat"}, "task is 'interpolat': did you mean 'interpolate'?"),
        ({}, "a task does not say which it is: known are interpolate"),
        ({"task": "interpolate", "factr": 2}, "no setting 'factr': did you mean 'factor'?"),
        ({"task": "interpolate", "zzz": 2}, "known are factor, fps, slow"),
        (
            {"task": "interpolate", "factor": "1/0"},
            "factor is '1/0': Input is not a",
        ),
        ({"task": "interpolate", "ends": "x"}, "ends is 'x': Input should be 'hold' or 'drop'"),
        ({"task": "interpolate", "factor": -1}, "factor is -1: wanted more than 0"),
    ],
)
def test_wrong_forms_are_told_in_words(form: dict[str, object], said: str) -> None:
    with pytest.raises(BadSetting, match=escape(said)):
        task_from(form)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("1:02:03.5", Fraction(7447, 2)), ("2:03", 123), ("0:00.1", Fraction(1, 10)), (1.1, "11/10")],
)
def test_a_time_may_be_written_as_on_a_clock(given: object, wanted: int | str | Fraction) -> None:
    source = source_from({"path": "a.mp4", "from": given})
    assert source == VideoFile(Path("a.mp4"), from_=Fraction(wanted))


def test_a_setting_of_films_is_told_so_where_the_input_is_images() -> None:
    with pytest.raises(BadSetting, match=r"video is a setting for a film, and input is x\.png, im"):
        source_from({"path": "x.png", "video": 1})
    with pytest.raises(
        BadSetting, match=r"png_level is a setting for images, and output is o\.mp4"
    ):
        sink_from({"path": "o.mp4", "png_level": 1})


def test_a_tag_tells_settings_and_never_places(tmp_path: Path) -> None:
    source = VideoFile(tmp_path / "in.mp4", from_=Fraction(1, 3), keep_going=True)
    sink, task = (
        VideoOutput(tmp_path / "out.mp4", crf=3, overwrite=True),
        Interpolate(weights=tmp_path),
    )
    tag = job_tag(Job(source, sink, (task,)))
    assert str(tmp_path) not in tag
    told = read_tag(tag)
    assert (told.input, told.output) == ({"from": "1/3", "keep_going": True}, {"crf": 3})
    assert source_from({**told.input, "path": source.path}) == source


def test_a_job_file_is_read_with_paths_beside_it(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(TOML)
    job = job_from_toml(tmp_path / "job.toml")
    assert job == Job(
        VideoFile(tmp_path / "in.mp4"),
        VideoOutput(tmp_path / "made" / "out.mkv", codec="hevc", crf=20),
        (
            Interpolate(factor=Fraction(21, 10)),
            Interpolate(fps=Fraction(60000, 1001), ends="drop", weights=tmp_path / "w"),
        ),
        seed=7,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input = 3", "input is 3: wanted a path"),
        ("input = 'a'", "output is None: wanted a path"),
        ("inptu = 'a'", "a job has no setting 'inptu': did you mean 'input'?"),
        ("input = 'a'\noutput = {path = 'b', codec = 'vp8'}", "codec is 'vp8': Input should be"),
        ("input = 'a'\noutput = 'b'\nseed = 'x'", "seed is 'x': wanted a whole number"),
        ("input = 'a'\noutput = 'b'\ntasks = 'interpolate'", "wanted a list of tables"),
        ("input = ", "is no TOML"),
    ],
)
def test_wrong_job_files_are_told_in_words(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(BadSetting, match=escape(said)):
        job_from_toml(tmp_path / "job.toml")


def test_a_missing_job_file_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="can't be read"):
        job_from_toml(tmp_path / "none.toml")


def test_the_tag_tells_the_job_and_no_path() -> None:
    job = Job(
        VideoFile(Path("/home/me/in.mp4"), 3),
        VideoOutput(Path("secret.mp4")),
        (Interpolate(fps=60),),
    )
    tag = job_tag(job)
    assert read_tag(tag) == Provenance((Interpolate(fps=60),), {"video": 3}, {})
    assert not any(word in tag for word in ("home", "in.mp4", "secret"))


@pytest.mark.parametrize("tag", ["", "3", "{}", '{"tasks": 3}', '{"tasks": [{"task": "x"}]}'])
def test_a_tag_that_is_none_of_ours_is_refused(tag: str) -> None:
    with pytest.raises(BadSetting):
        read_tag(tag)


def test_plain_values_are_json() -> None:
    assert json.dumps(job_config.plain(fill(Interpolate, {"factor": "5/2"}, "it")))
    assert job_config.plain({"time": Fraction(5, 2)}) == {"time": "5/2"}
