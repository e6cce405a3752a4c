"""The command line from words to exit code: flags, messages, signals, and nothing left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from inspect import Parameter as Argument
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest
from cyclopts import App, Parameter

import filmgate as fg
from filmgate.cli.app import build_app
from filmgate.cli.commands import SUMMARIES, find_command, list_commands
from filmgate.cli.flags import to_flag
from filmgate.cli.main import main
from filmgate.cli.views.tables import escape_text
from filmgate.core.events import Done, Event
from filmgate.core.job import Job
from filmgate.errors import BadInput, Exit
from tests import videos

ROOT = Path(__file__).parents[2]


@dataclass
class FakeEvents:
    """Replaces `filmgate.events`: records the jobs, then raises or yields one Done."""

    jobs: list[Job]
    error: BaseException | None = None
    closed: bool = False
    concealed: int = 0
    is_complete: bool = True
    options: dict[str, Any] = field(default_factory=dict)  # of the last job

    def __call__(self, job: Job, **options: Any) -> Generator[Event, None, None]:
        self.jobs.append(job)
        self.options = options
        try:
            if self.error is not None:
                raise self.error
            yield Done(1, 2, 0.5, {"decode": 0.1}, self.concealed, self.is_complete)
        finally:
            self.closed = True


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEvents:
    """No job runs; in.mp4 and a exist in the current folder."""
    fake = FakeEvents([])
    monkeypatch.setattr(fg, "events", fake)
    monkeypatch.chdir(tmp_path)
    for name in ("in.mp4", "a"):
        (tmp_path / name).touch()
    return fake


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return videos.make(videos.VIDEOS["sound"], tmp_path / "in.mp4")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("interpolat a b", 'unknown command "interpolat": did you mean "interpolate"?'),
        ("interpolate a", "there is 1 path: pass IN and OUT, or inputs and -o DIR"),
        ("interpolate a b --factr 2", "there is no --factr: did you mean --factor?"),
        ("interpolate a b --factor 1/0", "Invalid value for --factor"),
        ("interpolate a b --ends x", "hold"),
        ("interpolate a b --factor -1", "factor is -1"),
        ("interpolate a b --factor 2 --fps 60", "factor is 2 and fps is 60"),
        ("interpolate none.mp4 b.mp4", "none.mp4 does not exist"),
        ("interpolate a none/b.mp4", "the folder none does not exist: create it first"),
        ("run none.toml", "none.toml does not exist: check the name"),
        ("check a", "--against"),
        ("convert a - --json", "both use standard output"),
    ],
)
def test_user_error_is_one_message_with_code_2(
    words: str, text: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").touch()
    assert main(words.split()) == Exit.USER
    out, error = capsys.readouterr()
    assert text in error
    assert "Traceback" not in error
    assert not out


@pytest.mark.parametrize("where", [["--in-process"], []])
def test_trace_is_written_in_both_processes(video: Path, where: list[str]) -> None:
    path = video.with_name("trace.json")
    words = ["interpolate", str(video), str(video.with_name("out.mp4")), "--trace", str(path)]
    assert main([*words, "--quiet", *where]) == Exit.DONE
    entries = [entry for entry in json.loads(path.read_text()) if entry]
    lanes = {entry["args"]["name"] for entry in entries if entry["name"] == "thread_name"}
    assert lanes == {"decode", "shots", "interpolate", "durations", "encode"}
    assert entries[-1]["name"] == "done"


def test_one_trace_for_several_videos_is_refused(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(video, other := video.with_name("other.mp4"))
    words = ["convert", str(video), str(other), "-o", str(video.with_name("made")), "--trace", "t"]
    assert main(words) == Exit.USER
    assert "--trace names one place and there are 2 videos: omit it" in capsys.readouterr().err


def test_streams_that_were_lost_at_the_end_have_the_same_exit_code(runs: FakeEvents) -> None:
    runs.is_complete = False
    assert main(["convert", "in.mp4", "out.mp4"]) == Exit.REPAIRED


def test_concealed_damage_has_its_own_exit_code(runs: FakeEvents) -> None:
    runs.concealed = 2
    assert main(["convert", "a", "b.mp4", "--keep-going", "--quiet"]) == Exit.REPAIRED


def test_of_several_videos_each_is_run_and_the_first_error_is_the_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    videos.make(videos.VIDEOS["even"], tmp_path / "b.mp4")
    words = ["convert", str(tmp_path / "*.mp4"), "-o", str(tmp_path / "made"), "--preset"]
    assert main([*words, "ultrafast"]) == Exit.USER
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["b.mp4"]
    assert "a.mp4 is not a supported video" in capsys.readouterr().err


def test_unexpected_error_asks_for_a_report(
    runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.error = ZeroDivisionError("deep down")
    assert main(["interpolate", "a", "b.mp4"]) == Exit.OURS
    error = capsys.readouterr().err
    assert "deep down" in error
    assert "please report" in error


def test_with_json_an_error_is_an_event_too(
    runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.error = BadInput("in.mp4 is damaged")
    assert main(["interpolate", "a", "b.mp4", "--json"]) == Exit.USER
    out, error = capsys.readouterr()
    fields = {"error": "BadInput", "message": "in.mp4 is damaged", "read": 0, "crash": None,
              "final": True}  # fmt: skip
    assert json.loads(out) == {"event": "Died", **fields}
    assert error == "filmgate: in.mp4 is damaged\n"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_signal_stops_a_real_run_and_leaves_nothing_behind(
    name: str, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inner, before = fg.events, signal.getsignal(signal.SIGTERM)

    def interrupt(job: Job, **_: object) -> Iterator[Event]:
        for event in inner(job):
            if type(event).__name__ == "Progress":
                signal.raise_signal(getattr(signal, name))
            yield event

    def events(job: Job, **_: object) -> Generator[Event, None, None]:
        yield from interrupt(job)

    monkeypatch.setattr(fg, "events", events)
    (video.parent / "job.toml").write_text('input = "in.mp4"\noutput = "out.mp4"\n')
    assert main(["run", str(video.parent / "job.toml"), "--json"]) == Exit.INTERRUPTED
    assert sorted(p.name for p in video.parent.iterdir()) == ["in.mp4", "job.toml"]
    out, error = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["error"] == "Interrupted"
    assert error.startswith("filmgate: stopped")
    assert signal.getsignal(signal.SIGTERM) is before


def test_job_file_is_run_and_its_result_checked(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (video.parent / "job.toml").write_text('input = "in.mp4"\noutput = "out.mp4"\n')
    assert main(["run", str(video.parent / "job.toml"), "--json"]) == Exit.DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in (lines[0], lines[-1])] == ["Started", "Done"]
    assert lines[-1]["written"] == 12
    out = str(video.parent / "out.mp4")
    assert main(["check", out, "--against", str(video)]) == Exit.DONE
    assert "passes all checks" in capsys.readouterr().out
    longer = videos.make(videos.Video(frames=13), video.parent / "longer.mp4")
    assert main(["check", out, "--against", str(longer), "--json"]) == Exit.VERDICT_NO
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert {f["name"] for f in report["findings"] if not f["ok"]} >= {"frames", "duration"}


def test_example_job_file_runs_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("examples", "demo"):
        (tmp_path / folder).mkdir()
    text = (ROOT / "examples" / "job.toml").read_text()
    (tmp_path / "examples" / "job.toml").write_text(text)
    (source, result) = re.findall(r"demo/([\w.]+)", text)[:2]
    video = videos.make(videos.VIDEOS["uneven"], tmp_path / "demo" / source)
    assert main(["run", str(tmp_path / "examples" / "job.toml")]) == Exit.DONE
    assert "x the busiest part" in capsys.readouterr().err
    assert main(["check", str(video.with_name(result)), "--against", str(video)]) == Exit.DONE


def test_probe_shows_every_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = videos.make(videos.VIDEOS["rich"], tmp_path / "rich.mkv")
    assert main(["probe", str(video)]) == Exit.DONE
    text = capsys.readouterr().out
    for word in ("h264", "64x48", "aac", "opus", "subrip", "attachment", "A film", "chapter"):
        assert word in text
    assert main(["probe", str(video), "--json"]) == Exit.DONE
    info: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [track["kind"] for track in info["streams"]][:3] == ["video", "audio", "audio"]


def test_untrusted_metadata_does_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = videos.Video(metadata={"title": "\x1b[31mred"}, suffix=".mkv")
    video = videos.make(replace(kind, tick=Fraction(1, 1000)), tmp_path / "video.mkv")
    assert main(["probe", str(video)]) == Exit.DONE
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "[31mred" in text
    assert escape_text("bad bytes \udcff").encode()


def test_doctor_finds_this_machine_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == Exit.DONE
    text = capsys.readouterr().out
    for word in ("python", "torch", "FFmpeg", "h264", "OpenCV", "free of"):
        assert word in text


def test_closed_standard_output_ends_the_command_silently(video: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "filmgate", "probe", str(video), "--json"]
    result = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (result.returncode, result.stderr) == (Exit.INTERRUPTED, b"")


def iter_commands(app: App, above: str = "") -> Iterator[tuple[str, App]]:
    for name in app:
        if not name.startswith("-"):
            yield f"{above}{name}", app[name]
            yield from iter_commands(app[name], f"{above}{name} ")


def test_every_command_and_flag_is_documented() -> None:
    document = (ROOT / "docs" / "cli.md").read_text()
    app = build_app(*(find_command(name)([name, "--help"]) for name in list_commands()))
    for name, command in iter_commands(app):
        words = name.split()
        first = words[0] if words[0] in ("plan", "bench", "prepare", "submit") else name
        assert re.search(rf"^\| `{first}`", document, re.M), name
        if command.default_command is None:
            continue
        for argument in signature(command.default_command, eval_str=True).parameters.values():
            notes = [one for one in get_args(argument.annotation) if isinstance(one, Parameter)]
            names = [named for one in notes for named in one.name or ()]
            flag = (names or [to_flag(argument.name)])[0].strip("-")
            assert any(one.help for one in notes), f"{name} {flag} has no help"
            is_path = argument.kind in (Argument.POSITIONAL_ONLY, Argument.VAR_POSITIONAL)
            assert is_path or f"`--{flag}`" in document, f"{name} {flag}"


def test_top_help_has_the_first_line_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == Exit.DONE
    text = capsys.readouterr().out
    for name, summary in list_commands().items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", text, re.M), name
        if name in SUMMARIES:
            app = find_command(name)([name])
            help = app.help if app.help else str(app.default_command.__doc__)
            assert help.partition("\n")[0] == summary, name
