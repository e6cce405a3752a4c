"""The command line from words to exit code: flags, messages, signals, and nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

import filmgate as fg
from filmgate.cli.flags import flag_of
from filmgate.cli.main import command_line, main
from filmgate.cli.views.tables import safe
from filmgate.core.events import Done, Event
from filmgate.core.job import Job
from filmgate.errors import BadInput, Exit
from filmgate.media.sinks import VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.tasks.interpolate import Interpolate
from tests import videos

ROOT = Path(__file__).parents[2]


@dataclass
class Runs:
    """Stands where `filmgate.events` does: keeps the jobs, and then does what it is told."""

    jobs: list[Job]
    error: BaseException | None = None
    closed: bool = False
    concealed: int = 0
    more: dict[str, Any] = field(default_factory=dict)  # what came with the last job

    def __call__(self, job: Job, **more: Any) -> Generator[Event, None, None]:
        self.jobs.append(job)
        self.more = more
        try:
            if self.error is not None:
                raise self.error
            yield Done(1, 2, 0.5, {"decode": 0.1}, self.concealed)
        finally:
            self.closed = True


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    stand_in = Runs([])
    monkeypatch.setattr(fg, "events", stand_in)
    return stand_in


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return videos.make(videos.VIDEOS["sound"], tmp_path / "in.mp4")


def test_every_field_of_task_file_and_output_is_a_flag(runs: Runs) -> None:
    said = ("interpolate in.mp4 out.mkv --factor 5/2 --slow 2 --sound drop --ends drop --model dis "
            "--weights w --dtype bfloat16 --tile 64 --video 3 --from 1.5 --to 3 --frames 9 "
            "--deinterlace --tonemap --keep-going --max-pixels 5 --codec hevc --crf 20 "
            "--preset fast --pix-fmt gray --container mkv --fit pad --overwrite --seed 7 "
            "--quiet")  # fmt: skip
    assert main(said.split()) == Exit.DONE
    output = VideoOutput(Path("out.mkv"), codec="hevc", crf=20, preset="fast", pix_fmt="gray",
                    container="mkv", fit="pad", overwrite=True)  # fmt: skip
    source = VideoFile(Path("in.mp4"), 3, Fraction(3, 2), Fraction(3), 9, True, True, True, 5)
    task = Interpolate(factor=Fraction(5, 2), slow=2, sound="drop", ends="drop", model="dis",
                       weights=Path("w"), dtype="bfloat16", tile=64)  # fmt: skip
    assert runs.jobs == [Job(source, output, (task,), 7)]
    flags = {f.name for part in (Interpolate, VideoFile, VideoOutput) for f in fields(part)} - {
        "path",
        "fps",
    }
    assert all(flag_of(flag) in said for flag in flags)


def test_without_flags_the_definitions_defaults_hold(runs: Runs) -> None:
    assert main(["interpolate", "in.mp4", "out.mp4", "--quiet"]) == Exit.DONE
    assert runs.jobs == [
        Job(VideoFile(Path("in.mp4")), VideoOutput(Path("out.mp4")), (Interpolate(),), 0)
    ]


@pytest.mark.parametrize(("words", "guard"), [((), True), (("--no-guard",), False)])
def test_what_is_on_where_nobody_says_has_a_flag_that_leaves_it_out(
    words: tuple[str, ...], guard: bool, runs: Runs
) -> None:
    """--no-guard was promised, and the command line knew no such flag."""
    assert main(["interpolate", "in.mp4", "out.mp4", "--quiet", *words]) == Exit.DONE
    assert runs.more["limits"].guard is guard


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("interpolat a b", 'Did you mean "interpolate"?'),
        ("interpolate a", "there is 1 path: wanted IN and OUT, or films and -o DIR"),
        ("interpolate a b --factr 2", "Did you mean --factor?"),
        ("interpolate a b --factor 1/0", "Invalid value for --factor"),
        ("interpolate a b --ends x", "hold"),
        ("interpolate a b --factor -1", "factor is -1: wanted more than 0"),
        ("interpolate a b --factor 2 --fps 60", "give one of them"),
        ("interpolate none.mp4 b.mp4", "none.mp4 does not exist: check the name"),
        ("run none.toml", "none.toml can't be read"),
        ("check a", "--against"),
        ("convert a - --json", "both want standard output"),
    ],
)
def test_a_mistake_is_told_in_one_breath_with_code_2(
    words: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words.split()) == Exit.USER
    out, error = capsys.readouterr()
    assert said in error
    assert "Traceback" not in error
    assert not out


@pytest.mark.parametrize("where", [["--in-process"], []])
def test_a_trace_is_drawn_wherever_the_run_is(video: Path, where: list[str]) -> None:
    path = video.with_name("trace.json")
    words = ["interpolate", str(video), str(video.with_name("out.mp4")), "--trace", str(path)]
    assert main([*words, "--quiet", *where]) == Exit.DONE
    entries = [entry for entry in json.loads(path.read_text()) if entry]
    lanes = {entry["args"]["name"] for entry in entries if entry["name"] == "thread_name"}
    assert lanes == {"decode", "cuts", "interpolate", "until next", "encode"}
    assert entries[-1]["name"] == "done"


def test_one_trace_is_not_for_several_films(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["convert", str(video), str(video), "-o", str(video.with_name("made")), "--trace", "t"]
    shutil.copy(video, other := video.with_name("other.mp4"))
    words[2] = str(other)
    assert main(words) == Exit.USER
    assert "--trace names one place and there are 2 films" in capsys.readouterr().err


def test_a_mended_film_ends_with_a_code_of_its_own(runs: Runs) -> None:
    runs.concealed = 2
    assert main(["convert", "a", "b", "--keep-going", "--quiet"]) == Exit.REPAIRED


def test_of_several_films_each_is_done_and_the_first_bad_end_is_the_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film")
    videos.make(videos.VIDEOS["even"], tmp_path / "b.mp4")
    words = ["convert", str(tmp_path / "*.mp4"), "-o", str(tmp_path / "made"), "--preset"]
    assert main([*words, "ultrafast"]) == Exit.USER
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["b.mp4"]
    assert "a.mp4 is not a film" in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_asks_to_be_reported(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.error = ZeroDivisionError("deep down")
    assert main(["interpolate", "a", "b"]) == Exit.OURS
    error = capsys.readouterr().err
    assert "deep down" in error
    assert "please report" in error


def test_as_json_an_error_is_a_line_too(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs.error = BadInput("in.mp4 is damaged")
    assert main(["interpolate", "a", "b", "--json"]) == Exit.USER
    out, error = capsys.readouterr()
    said = {"error": "BadInput", "message": "in.mp4 is damaged", "read": 0, "crash": None}
    assert json.loads(out) == {"event": "Died", **said}
    assert error == "filmgate: in.mp4 is damaged\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_stops_a_real_run_and_leaves_nothing_behind(
    name: str, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner, before = fg.events, signal.getsignal(signal.SIGTERM)

    def interrupted(job: Job, **_: object) -> Iterator[Event]:
        for event in inner(job):
            if type(event).__name__ == "Progress":
                signal.raise_signal(getattr(signal, name))
            yield event

    def events(job: Job, **_: object) -> Generator[Event, None, None]:
        yield from interrupted(job)

    monkeypatch.setattr(fg, "events", events)
    (video.parent / "job.toml").write_text('input = "in.mp4"\noutput = "out.mp4"\n')
    assert main(["run", str(video.parent / "job.toml"), "--json"]) == Exit.INTERRUPTED
    assert sorted(p.name for p in video.parent.iterdir()) == ["in.mp4", "job.toml"]
    out, error = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["error"] == "Interrupted"
    assert error.startswith("filmgate: stopped")
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_job_file_is_run_and_its_result_checked(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (video.parent / "job.toml").write_text('input = "in.mp4"\noutput = "out.mp4"\n')
    assert main(["run", str(video.parent / "job.toml"), "--json"]) == Exit.DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in (lines[0], lines[-1])] == ["Started", "Done"]
    assert lines[-1]["written"] == 12
    out = str(video.parent / "out.mp4")
    assert main(["check", out, "--against", str(video)]) == Exit.DONE
    assert "is as it should be" in capsys.readouterr().out
    longer = videos.make(videos.Video(frames=13), video.parent / "longer.mp4")
    assert main(["check", out, "--against", str(longer), "--json"]) == Exit.VERDICT_NO
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert {f["name"] for f in report["findings"] if not f["ok"]} >= {"frames", "duration"}


def test_the_example_of_a_job_file_runs_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("examples", "demo"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "examples" / "job.toml", tmp_path / "examples")
    video = videos.make(videos.VIDEOS["uneven"], tmp_path / "demo" / "film.mp4")
    assert main(["run", str(tmp_path / "examples" / "job.toml")]) == Exit.DONE
    told = capsys.readouterr().err
    assert "x the busiest part" in told
    assert main(["check", str(video.with_name("slow.mkv")), "--against", str(video)]) == Exit.DONE


def test_probe_shows_every_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = videos.make(videos.VIDEOS["rich"], tmp_path / "rich.mkv")
    assert main(["probe", str(video)]) == Exit.DONE
    shown = capsys.readouterr().out
    for word in ("h264", "64x48", "aac", "opus", "subrip", "attachment", "A film", "chapter"):
        assert word in shown
    assert main(["probe", str(video), "--json"]) == Exit.DONE
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [track["kind"] for track in told["tracks"]][:3] == ["video", "audio", "audio"]


def test_a_strangers_metadata_does_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = videos.Video(metadata={"title": "\x1b[31mred"}, suffix=".mkv")
    video = videos.make(replace(kind, tick=Fraction(1, 1000)), tmp_path / "film.mkv")
    assert main(["probe", str(video)]) == Exit.DONE
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[31mred" in shown
    assert safe("bad bytes \udcff").encode()


def test_doctor_finds_this_machine_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == Exit.DONE
    shown = capsys.readouterr().out
    for word in ("python", "torch", "FFmpeg", "h264", "OpenCV", "free of"):
        assert word in shown


def test_doctor_says_how_to_get_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["doctor"]) == Exit.VERDICT_NO
    assert "pip install" in capsys.readouterr().out


def test_help_loads_no_heavy_library() -> None:
    script = ("import sys; from filmgate.cli.main import main; assert main(['--help']) == 0; "
              "sys.exit(str({'av', 'torch', 'cv2'} & set(sys.modules) or '') or 0)")  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "interpolate" in ran.stdout


def test_a_reader_that_goes_away_ends_it_without_a_word(video: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "filmgate.cli.main", "probe", str(video), "--json"]
    ran = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ran.returncode, ran.stderr) == (Exit.INTERRUPTED, b"")


def verbs_below(app: App) -> Iterator[tuple[str, App]]:
    for name in app:
        if not name.startswith("-"):
            yield name, app[name]
            yield from verbs_below(app[name])


def test_every_verb_and_flag_has_its_words() -> None:
    document = (ROOT / "docs" / "cli.md").read_text()
    for verb, app in verbs_below(command_line()):
        assert re.search(rf"^\| `(\w+ )?{verb}`", document, re.M), verb
        if app.default_command is None:
            continue
        for argument in app.assemble_argument_collection(parse_docstring=True):
            name = argument.name.strip("-")
            assert argument.parameter.help, f"{verb} {name} has no help"
            assert f"`--{name}`" in document or name.isupper(), f"{verb} {name}"
