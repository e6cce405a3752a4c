"""Job files and settings: exact values, a round trip, errors, and the paths in them."""

import json
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from re import escape

import pytest
from pydantic_core import to_jsonable_python

from filmgate.core.job import Job
from filmgate.errors import BadSetting, Exit
from filmgate.media.options import RENAMED_SETTINGS
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.models.families.film import FilmOptions
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.job_config import (
    job_from_toml,
    sink_from,
    source_from,
    task_from,
)
from filmgate.tasks.job_form import task_to
from filmgate.tasks.provenance import Provenance, read_tag, write_tag
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import (
    FLAT,
    fill,
    find_paths,
    list_settings,
    plain,
    resolve_paths,
)

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
model = "film"
weights = "w"
"""


def test_tasks_are_found_by_their_modules() -> None:
    assert load_tasks()["interpolate"] is Interpolate
    assert "settings" not in load_tasks()


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (2, Fraction(2)),
        ("5/2", Fraction(5, 2)),
        ("60000/1001", Fraction(60000, 1001)),
        (0.1, Fraction(1, 10)),
        ("59.94", Fraction(5994, 100)),
    ],
)
def test_fractions_are_exact(value: object, wanted: Fraction) -> None:
    assert task_from({"task": "interpolate", "factor": value}) == Interpolate(factor=wanted)


@pytest.mark.parametrize(
    "task",
    [
        Interpolate(),
        Interpolate(factor=2),
        Interpolate(fps=Fraction(60000, 1001), ends="drop"),
        Interpolate(slow=Fraction(3, 2)),
    ],
)
def test_a_task_survives_a_round_trip(task: Interpolate) -> None:
    form = task_to(task)
    assert task_from(json.loads(json.dumps(form))) == task
    assert len(form) == 1 + sum(
        getattr(task, name) != getattr(Interpolate(), name) for name in Interpolate.__slots__
    )


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"task": "interpolat"}, "task is 'interpolat': did you mean 'interpolate'?"),
        ({}, "a task has no name: set `task`: known are animate, generate, interpolate"),
        ({"task": "interpolate", "factr": 2}, "no setting 'factr': did you mean 'factor'?"),
        ({"task": "interpolate", "zzz": 2}, "known are factor, fps, slow"),
        (
            {"task": "interpolate", "factor": "1/0"},
            "factor is '1/0': pass a number such as 2, 2.5 or 30000/1001",
        ),
        ({"task": "upscale", "scale": "x"}, "scale is 'x': pass an integer"),
        ({"task": "upscale", "steady": "maybe"}, "steady is 'maybe': pass true or false"),
        ({"task": "interpolate", "ends": "x"}, "ends is 'x': it can be hold, drop"),
        ({"task": "interpolate", "factor": -1}, "factor is -1: wanted more than 0"),
    ],
)
def test_invalid_tasks_are_refused(form: dict[str, object], message: str) -> None:
    with pytest.raises(BadSetting, match=escape(message)):
        task_from(form)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [("1:02:03.5", Fraction(7447, 2)), ("2:03", 123), ("0:00.1", Fraction(1, 10)), (1.1, "11/10")],
)
def test_a_time_may_be_written_with_colons(value: object, wanted: int | str | Fraction) -> None:
    source = source_from({"path": "a.mp4", "start": value})
    assert source == VideoFile(Path("a.mp4"), start=Fraction(wanted))


def test_a_setting_of_another_kind_of_file_is_refused() -> None:
    with pytest.raises(
        BadSetting, match=r"stream is a setting for a video, and input is x\.png, im"
    ):
        source_from({"path": "x.png", "stream": 1})
    with pytest.raises(
        BadSetting, match=r"png_level is a setting for images, and output is o\.mp4"
    ):
        sink_from({"path": "o.mp4", "png_level": 1})


def test_a_tag_has_settings_without_paths(tmp_path: Path) -> None:
    source = VideoFile(tmp_path / "in.mp4", start=Fraction(1, 3), keep_going=True)
    sink, task = (
        VideoOutput(tmp_path / "out.mp4", crf=3, overwrite=True),
        Interpolate(model="film", options=FilmOptions(weights=tmp_path, tile=64)),
    )
    tag = write_tag(Job(source, sink, (task,)))
    assert str(tmp_path) not in tag
    provenance = read_tag(tag)
    assert provenance.tasks == (Interpolate(model="film", options=FilmOptions(tile=64)),)
    assert (provenance.input, provenance.output) == (
        {"start": "1/3", "keep_going": True},
        {"crf": 3},
    )
    assert source_from({**provenance.input, "path": source.path}) == source


@pytest.mark.parametrize(("old", "new"), RENAMED_SETTINGS.items())
def test_old_names_of_settings_are_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(BadSetting, match=f"no setting '{old}': it is called {new} now"):
        source_from({"path": "a.mp4", old: 1})


def test_paths_in_a_job_file_in_another_folder_are_relative_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.toml").write_text('input = "in.mp4"\noutput = "../out.mp4"\n')
    monkeypatch.chdir(tmp_path)
    job = job_from_toml(Path("jobs/job.toml"))
    assert (job.source.path, job.sink.path) == (  # type: ignore[attr-defined]
        tmp_path / "jobs" / "in.mp4",
        tmp_path / "jobs" / ".." / "out.mp4",
    )


def test_paths_in_a_job_file_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(TOML)
    job = job_from_toml(tmp_path / "job.toml")
    weights = FilmOptions(weights=tmp_path / "w")
    assert job == Job(
        VideoFile(tmp_path / "in.mp4"),
        VideoOutput(tmp_path / "made" / "out.mkv", codec="hevc", crf=20),
        (
            Interpolate(factor=Fraction(21, 10)),
            Interpolate(fps=Fraction(60000, 1001), ends="drop", model="film", options=weights),
        ),
        seed=7,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input = 3", "input is 3: pass a path"),
        ("input = 'a'", "output is None: pass a path"),
        ("inptu = 'a'", "a job has no setting 'inptu': did you mean 'input'?"),
        ("input = 'a'\noutput = {path = 'b', codec = 'vp8'}", "codec is 'vp8': did you mean vp9?"),
        ("input = 'a'\noutput = 'b'\nseed = 'x'", "seed is 'x': pass an integer"),
        ("input = 'a'\noutput = 'b'\ntasks = 'interpolate'", "pass a list of tables"),
        ("input = ", "is not TOML"),
    ],
)
def test_invalid_job_files_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(text)
    with pytest.raises(BadSetting, match=escape(message)):
        job_from_toml(tmp_path / "job.toml")


def test_a_missing_job_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="does not exist: check the name, or pass a job file"):
        job_from_toml(tmp_path / "none.toml")


def test_the_tag_describes_the_job_without_paths() -> None:
    job = Job(
        VideoFile(Path("/home/me/in.mp4"), 3),
        VideoOutput(Path("secret.mp4")),
        (Interpolate(fps=60),),
    )
    tag = write_tag(job)
    assert read_tag(tag) == Provenance((Interpolate(fps=60),), {"stream": 3}, {})
    assert not any(word in tag for word in ("home", "in.mp4", "secret"))


@pytest.mark.parametrize("tag", ["", "3", "{}", '{"tasks": 3}', '{"tasks": [{"task": "x"}]}'])
def test_a_foreign_tag_is_refused(tag: str) -> None:
    with pytest.raises(BadSetting):
        read_tag(tag)


def test_plain_values_are_json() -> None:
    assert json.dumps(plain(fill(Interpolate, {"factor": "5/2"}, "it")))
    assert plain({"time": Fraction(5, 2)}) == {"time": "5/2"}
    values = [fill(Interpolate, {"factor": "5/2"}, "it"), {3: Path("a")}, {1}, (2.5, None, True),
              b"text", Exit.DONE, [Fraction(1)]]  # fmt: skip
    assert plain(values) == to_jsonable_python(values, fallback=str)


@dataclass(frozen=True)
class SecondInput:
    """A definition with a path of its own, as a second input of a task would be."""

    path: Path
    start: int = 0


@dataclass(frozen=True)
class Mix:
    """Settings with paths at every level."""

    factor: int = 2
    other: SecondInput | None = None
    extra: tuple[Path, ...] = ()
    options: FilmOptions | None = field(default=None, metadata=FLAT)


def test_paths_are_found_and_resolved_by_type(tmp_path: Path) -> None:
    mix = Mix(
        3, SecondInput(Path("b.mp4"), 5), (Path("c"), Path("-")), FilmOptions(weights=Path("d"))
    )
    assert list(find_paths(mix)) == [Path("b.mp4"), Path("c"), Path("-"), Path("d")]
    resolved = resolve_paths(mix, tmp_path)
    assert list(find_paths(resolved)) == [tmp_path / "b.mp4", tmp_path / "c", Path("-"),
                                          tmp_path / "d"]  # fmt: skip
    assert resolved.other == SecondInput(tmp_path / "b.mp4", 5)
    assert resolve_paths(resolved, Path("/elsewhere")) == resolved


def test_options_are_listed_flat_and_without_paths_if_asked(tmp_path: Path) -> None:
    mix = Mix(3, options=FilmOptions(weights=tmp_path, tile=64))
    assert list_settings(mix) == {"factor": 3, "weights": str(tmp_path), "tile": 64}
    assert list_settings(mix, paths=False) == {"factor": 3, "tile": 64}
    assert list_settings(mix, paths=False, without=("factor",)) == {"tile": 64}
    second = Mix(other=SecondInput(tmp_path, 5))
    assert list_settings(second, paths=False) == {"other": {"start": 5}}
