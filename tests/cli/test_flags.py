"""Flags are made from dataclasses: each has one owner, and its value reaches only that one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from filmgate.cli.commands import find_command
from filmgate.cli.explain import RENAMED
from filmgate.cli.flags import Owner, build_flags, keep_named_flags, to_flag
from filmgate.cli.main import main
from filmgate.cli.request import Request
from filmgate.cli.task_flags import SHARED, TaskFlags, build_task_command
from filmgate.core.frame import Frame, StreamSpec
from filmgate.core.job import Job
from filmgate.core.model_cache import ModelCache
from filmgate.errors import BadSetting, Exit
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.models.registry import find_family, load_families
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.registry import load_tasks
from filmgate.tasks.settings import field_names
from tests.cli.test_main import FakeEvents, runs

__all__ = ["runs"]


def test_every_field_of_task_model_input_and_output_is_a_flag(
    runs: FakeEvents, tmp_path: Path
) -> None:
    (tmp_path / "w").touch()
    words = ("interpolate in.mp4 out.mkv --factor 5/2 --slow 2 --sound drop --ends drop "
             "--model film --device cpu --weights w --dtype bfloat16 --tile 64 --stream 3 "
             "--start 1.5 --end 3 --max-frames 9 --deinterlace --tonemap --keep-going "
             "--in-fps 30 --max-pixels 5 --codec hevc --crf 20 --preset fast --pix-fmt gray "
             "--container mkv --fit pad --overwrite --drop data --drop audio:1 --audio encode "
             "--subtitles drop --seed 7 --quiet")  # fmt: skip
    assert main(words.split()) == Exit.DONE
    output = VideoOutput(Path("out.mkv"), codec="hevc", crf=20, preset="fast", pix_fmt="gray",
                         container="mkv", fit="pad", overwrite=True,
                         drop=("data", "audio:1"), audio="encode", subtitles="drop")  # fmt: skip
    source = VideoFile(Path("in.mp4"), 3, True, True, True, start=Fraction(3, 2), end=Fraction(3),
                       max_frames=9, max_pixels=5, in_fps=Fraction(30))  # fmt: skip
    options = find_family("film").options
    values = {"weights": Path("w"), "dtype": "bfloat16", "tile": 64}
    known = {name: value for name, value in values.items() if name in field_names(options)}
    assert known == values
    task = Interpolate(factor=Fraction(5, 2), slow=2, sound="drop", ends="drop", model="film",
                       device="cpu", options=options(**values))  # fmt: skip
    assert runs.jobs == [Job(source, output, (task,), 7)]
    classes = (Interpolate, options, VideoFile, VideoOutput)
    names = {name for cls in classes for name in field_names(cls)} - {"path", "fps", "join"}
    assert all(to_flag(name) in words for name in names)


def test_without_flags_the_defaults_of_the_definitions_hold(runs: FakeEvents) -> None:
    assert main(["interpolate", "in.mp4", "out.mp4", "--quiet"]) == Exit.DONE
    assert runs.jobs == [
        Job(VideoFile(Path("in.mp4")), VideoOutput(Path("out.mp4")), (Interpolate(),), 0)
    ]


@pytest.mark.parametrize(("words", "guard"), [((), True), (("--no-guard",), False)])
def test_flag_that_is_on_by_default_can_be_turned_off(
    words: tuple[str, ...], guard: bool, runs: FakeEvents
) -> None:
    """--no-guard was documented, and the command line had no such flag."""
    assert main(["interpolate", "in.mp4", "out.mp4", "--quiet", *words]) == Exit.DONE
    assert runs.options["limits"].guard is guard


@pytest.mark.parametrize("task", load_tasks())
def test_no_flag_has_two_owners(task: str) -> None:
    for family in load_families():
        words = [word for role in ("model", "detector", "pose", "tracker")
                 for word in (f"--{role}", family.name)]  # fmt: skip
        flags = TaskFlags.choose(load_tasks()[task], words)
        assert build_flags((*flags.owners, *SHARED), documented=False), family.name


def test_two_owners_of_one_flag_are_refused() -> None:
    @dataclass(frozen=True)
    class Task:
        max_frames: int = 3

    owners = (Owner("Task", (Task,)), Owner("Input", (VideoFile,)))
    with pytest.raises(TypeError, match=r"--max-frames has two owners, Task and Input: rename"):
        build_flags(owners)


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("interpolate a b --crf=20 --fps 30 -o made", {"--crf", "--fps", "--out"}),
        ("plan upscale a --no-guard --scale 2", {"--scale", "--guard"}),
        ("upscale a b --crff 1", set[str]()),
    ],
)
def test_a_command_is_read_with_the_flags_that_are_named(words: str, kept: set[str]) -> None:
    split = words.split()
    command = find_command(split[0])(split)
    below = command["upscale"] if split[0] == "plan" else command

    def list_flags() -> set[str]:
        return {argument.name for argument in below.assemble_argument_collection()
                if argument.name.startswith("--")}  # fmt: skip

    complete = list_flags()
    with keep_named_flags(command, split):
        assert list_flags() == kept | {"--in-process"}  # the environment may turn it on
    assert list_flags() == complete > kept
    with keep_named_flags(command, [*split, "--help"]):
        assert list_flags() == complete


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_name_of_a_flag_is_answered_with_the_new_one(
    old: str, new: str, runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "in.mp4", "out.mp4", old, "1"]) == Exit.USER
    assert f"there is no {old}: it is called {new} now" in capsys.readouterr().err
    assert not runs.jobs


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--factor", "two"), "'two' is not a number: pass one such as 2, 2.5 or 5/2"),
        (("--factor", "1/0"), "1/0 divides by 0"),
        (("--start", "abc"), "'abc' is not a time: pass seconds or 1:02:03.5"),
        (("--end", "1:xx"), "'1:xx' is not a time: pass seconds or 1:02:03.5"),
        (("--end", "1/0"), "'1/0' is not a time: pass seconds or 1:02:03.5"),
    ],
)
def test_invalid_number_or_time_is_an_error_with_examples(
    words: tuple[str, ...], message: str, runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["interpolate", "in.mp4", "out.mp4", *words]) == Exit.USER
    assert message in capsys.readouterr().err
    assert not runs.jobs


@pytest.mark.parametrize("words", [("jobs",), ("jobs", "clean"), ("check",), ("probe",)])
def test_help_shows_no_default_of_python(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == Exit.DONE
    assert "[default:" not in capsys.readouterr().out


def test_help_shows_the_options_of_the_model_that_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["upscale", "--model", "diffvsr", "--help"]) == Exit.DONE
    text = capsys.readouterr().out
    assert "Model: diffvsr" in text
    for field in fields(find_family("diffvsr").options):
        assert to_flag(field.name) in text
    titles = ["Paths", "Task", "Model", "Model: diffvsr", "Input", "Output", "Run", "Resources",
              "Display"]  # fmt: skip
    places = [text.index(f"─ {title} ─") for title in titles]
    assert places == sorted(places)
    assert main(["upscale", "--help"]) == Exit.DONE
    text = capsys.readouterr().out
    assert "Model: compact" in text
    assert "--steps" not in text


def test_help_has_no_options_that_the_task_cannot_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["track", "--detector", "blazepose", "--help"]) == Exit.DONE
    text = capsys.readouterr().out
    assert "--threshold" in text
    assert "--every" not in text
    assert "--smooth" not in text


def test_help_of_guidance_names_the_limits_that_are_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["lipsync", "--help"]) == Exit.DONE
    text = " ".join(capsys.readouterr().out.replace("\N{BOX DRAWINGS LIGHT VERTICAL}", "").split())
    options = find_family("latentsync").options
    with pytest.raises(BadSetting, match="guidance is 21: pass 1 to 20") as caught:
        options(guidance=Fraction(21))
    limits = str(caught.value).partition("pass ")[2].partition(",")[0]
    assert f"How closely lips follow the audio, {limits}. Its authors use 1 to 3" in text


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ("lipsync", "lipsync IN SPEECH OUT [OPTIONS]"),
        ("upscale", "upscale IN OUT [OPTIONS], or IN ... -o DIR [OPTIONS]"),
        ("plan animate", "plan animate PORTRAIT DRIVING [OUT] [OPTIONS]"),
        ("bench generate", "bench generate IMAGE [OUT] [OPTIONS]"),
        ("submit lipsync", "submit lipsync IN SPEECH [OUT] [OPTIONS]"),
        ("prepare lipsync", "prepare lipsync VIDEO ... [OPTIONS]"),
    ],
)
def test_help_names_the_inputs_of_the_task(
    words: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words.split(), "--help"]) == Exit.DONE
    text = capsys.readouterr().out
    assert text.partition("\n")[0] == f"Usage: filmgate {usage}"
    assert ("-o PATH" in text) == ("-o DIR" in usage)
    assert "flashing, shuffled. [default: on]" in " ".join(text.replace("│", " ").split())


def test_plan_of_a_task_with_two_inputs_needs_no_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "in.mp4"
    assert main(["plan", "lipsync", str(missing), str(tmp_path / "a.wav")]) == Exit.USER
    assert "number of paths" not in capsys.readouterr().err


def test_option_of_another_family_is_an_error_that_names_it(
    runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", "in.mp4", "out.mp4", "--steps", "2"]) == Exit.USER
    error = capsys.readouterr().err
    assert "steps is an option of diffvsr, and the model is compact" in error
    assert "pass --model diffvsr" in error
    words = ["upscale", "in.mp4", "out.mp4", "--scale", "4", "--model=diffvsr", "--steps", "2"]
    assert main(words) == Exit.DONE


@pytest.mark.parametrize("task", load_tasks())
def test_every_task_has_a_device(
    task: str, runs: FakeEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_tasks()[task], "check_weights", lambda _: None)
    inputs = getattr(load_tasks()[task], "inputs", ("in",))
    paths = [f"{name}.mp4" for name in (*inputs, "out")]
    for path in paths[:-1]:
        Path(path).touch()
    assert main([task, *paths, "--device", "cpu", "--quiet"]) == Exit.DONE
    (job,) = runs.jobs
    assert job.tasks[0].device == "cpu"  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """Merge two videos: a task with a second input."""

    inputs = ("main", "second")

    second: VideoFile
    """The other video."""

    amount: Fraction = Fraction(1, 2)
    """Share of the other video."""

    @property
    def time_scale(self) -> Fraction:
        return Fraction(1)

    def stages(self, spec: StreamSpec, models: ModelCache | None = None) -> tuple[Any, ...]:
        return ()

    def timeline(self, shown: Iterable[Frame]) -> Iterator[Frame]:
        yield from shown


def test_inputs_of_a_task_are_its_positional_arguments(tmp_path: Path) -> None:
    requests: list[Request] = []

    def run(request: Request) -> Exit:
        requests.append(request)
        return Exit.DONE

    from cyclopts import App

    command = build_task_command(Merge, "Merge.", run, ["merge"])
    app = App(name="merge", default_command=command, result_action="return_value")
    app(["a.mp4", "b.mp4", "out.mp4", "--amount", "0.25"], exit_on_error=False, print_error=False)
    (job,) = requests[0].build_jobs().values()
    assert job.source == VideoFile(Path("a.mp4"))
    assert job.sink == VideoOutput(Path("out.mp4"))
    (task,) = job.tasks
    assert task == Merge(second=VideoFile(Path("b.mp4")), amount=Fraction(1, 4))
