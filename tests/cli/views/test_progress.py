"""The redrawn line: its text, its width, and plain lines where there is no terminal."""

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from filmgate.cli.views.progress import ProgressView, draw_summary
from filmgate.core.events import Committed, Died, Done, Event, Progress, Replanned, Started, Warned
from filmgate.core.frame import StreamSpec
from filmgate.core.snapshot import Cursor, Snapshot
from filmgate.jobs.event_log import format_event
from filmgate.units import format_duration

SPEC = StreamSpec(
    width=64, height=48, rate=Fraction(25), time_base=Fraction(1, 25), pixels="yuv420p", frames=2400
)


def progress(second: float) -> Progress:
    """After so many seconds of a run that takes 24 frames a second, mostly in "interpolate"."""
    read = round(24 * second)
    busy = {"decode": 0.1 * second, "shots": 0.2 * second, "interpolate": 0.97 * second}
    return Progress(read, 2 * read, Fraction(read, 25), second, 412_000_000, busy)


def render(events: list[Event], terminal: bool, width: int = 80, quiet: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=width, highlight=False)
    with ProgressView(console, None, quiet) as view:
        for event in events:
            view.show(event)
    return out.getvalue()


def render_line(events: list[Event], width: int) -> str:
    """Return the redrawn line after these events."""
    console = Console(file=io.StringIO(), width=width)
    view = ProgressView(console, None)
    for event in events:
        view.show(event)
    with console.capture() as capture:
        console.print(view.draw_line(width))
    return capture.get().removesuffix("\n")


RUN: list[Event] = [Started(SPEC, SPEC, ("shots", "interpolate"))]
RUN += [progress(0.05 * step) for step in range(1, 801)]
DONE = Done(960, 1920, 40.0, {"decode": 4.0, "shots": 8.0, "interpolate": 38.8, "encode": 20.0})


def test_line_has_frames_speed_time_left_memory_and_the_busiest_part() -> None:
    text = "40 %  960/2400 frames  48.0 fps  1:00 left  412.0 MB  interpolate 97 % busy"
    assert render_line(RUN, 80).strip() == text
    assert render_line(RUN, 120).split(" ")[0] == 8 * "━"  # 40 % of 20
    assert render_line(RUN, 120).strip().endswith(text)


def test_busiest_part_is_that_of_the_last_seconds() -> None:
    late = progress(30)
    now = Progress(730, 1460, late.time, 40.0, 1, {**late.busy, "encode": 9.0})
    assert "encode 90 % busy" in render_line([RUN[0], late, now], 120)


@pytest.mark.parametrize("width", [20, 40, 80, 120])
def test_line_stays_one_line_on_narrow_terminals(width: int) -> None:
    assert "\n" not in render_line(RUN, width)
    assert cell_len(render_line(RUN, width)) <= width


def test_line_is_redrawn_at_most_ten_times_a_second() -> None:
    count = render(RUN, terminal=True).count(" frames")
    assert 200 <= count <= 400  # of 800 events in 40 seconds


def test_without_terminal_a_line_is_printed_every_ten_seconds_and_a_table_at_the_end() -> None:
    lines = render([*RUN, DONE], terminal=False).splitlines()
    assert len([line for line in lines if "frames " in line and "left" in line]) == 4
    assert "\x1b" not in "".join(lines)
    table = "\n".join(lines[4:])
    assert "busy 97 % of the time" in table
    assert "1.03 x the busiest part" in table
    assert "1920 out" in table
    assert "interpolate was busy 97% of the time: a faster machine" in table


def test_unknown_length_has_neither_percent_nor_time_left() -> None:
    started = Started(StreamSpec(width=64, height=48, rate=None, time_base=Fraction(1, 1000),
                           pixels="yuv420p"), SPEC, ())  # fmt: skip
    line = render([started, progress(20)], terminal=False)
    assert "480 frames" in line
    assert "%" not in line.split("MB")[0]
    assert "left" not in line


def test_more_frames_than_the_header_says_have_neither_percent_nor_time_left() -> None:
    spec = replace(SPEC, frames=100)
    line = render_line([Started(spec, spec, ("interpolate",)), *RUN[1:]], 80)
    assert line.strip() == "960 frames  48.0 fps  412.0 MB  interpolate 97 % busy"


def test_quiet_prints_warnings_only() -> None:
    events: list[Event] = [*RUN, Warned("sound is [left] out"), Died("BadInput", "why", 3)]
    assert render(events, terminal=False, quiet=True) == "warning: sound is [left] out\n"


def test_smaller_batch_is_printed() -> None:
    assert "from frame 8 on, flow takes batches of 2" in render(
        [Replanned(8, "flow", 2, "big")], False
    )


def test_events_as_json_have_their_fields() -> None:
    line = json.loads(format_event(progress(10)))
    assert line["event"] == "Progress"
    assert (line["read"], line["written"], line["time"]) == (240, 480, "48/5")
    assert json.loads(format_event(RUN[0]))["source"]["rate"] == "25"
    committed = format_event(Committed(Snapshot(Cursor(240, 1), None, (), 3)))
    assert json.loads(committed) == {
        "event": "Committed",
        "index": 240,
        "segment": 3,
        "ended": True,
    }
    died = json.loads(format_event(Died("BadInput", "no video", 0)))
    fields = {"error": "BadInput", "message": "no video", "read": 0, "crash": None, "final": True}
    assert died == {"event": "Died", **fields}


def test_every_field_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "events.md").read_text()
    events = [RUN[0], progress(1), DONE, Warned(""), Died("", "", 0), Replanned(0, "", 1, ""),
              Committed(Snapshot(Cursor(0, 0), (), (), 0))]  # fmt: skip
    for event in events:
        for field in json.loads(format_event(event)):
            assert f"`{field}`" in text, field
        assert f"`{type(event).__name__}`" in text
    for field in json.loads(format_event(RUN[0]))["source"]:
        assert f"`{field}`" in text, field


def test_durations_are_formatted_like_clocks() -> None:
    assert [format_duration(s) for s in (0, 9.6, 75, 3675)] == ["0:00", "0:10", "1:15", "1:01:15"]


def test_summary_says_where_the_result_is(tmp_path: Path) -> None:
    video, images = tmp_path / "out.mp4", tmp_path / "%06d.png"
    video.write_bytes(bytes(1000))
    lines = {
        video: f"done: 1.0 kB, {video}",
        images: f"done: 1920 images, {images}",
        tmp_path / "none.mp4": "done",
        None: "done",
    }
    for path, line in lines.items():
        console = Console(width=300)
        with console.capture() as capture:
            console.print(draw_summary(DONE, path))
        assert capture.get().splitlines()[-1] == line
