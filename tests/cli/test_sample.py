"""A sample: three snippets, an image of before and after, an estimate; OUT is not touched."""

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from filmgate.cli.main import main
from filmgate.cli.sample import Estimate, Snippet, choose_places, find_image_path
from filmgate.core.events import Done
from filmgate.errors import Exit
from filmgate.media.sinks import ImageOutput, VideoOutput
from tests import videos

HERE = ["--in-process", "--json"]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return videos.make(videos.Video(frames=40, sounds=("aac",)), tmp_path / "in.mp4")


def test_three_snippets_estimate_the_complete_run_and_only_an_image_stays(
    video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = video.with_name("out.mp4")
    out.write_bytes(b"was here before")
    words = ["interpolate", str(video), str(out), "--sample", "0.4s", "--preset", "ultrafast"]
    assert main([*words, *HERE]) == Exit.DONE
    assert out.read_bytes() == b"was here before"
    assert sorted(path.name for path in video.parent.iterdir()) == [
        "in.mp4", "out.mp4", "out.mp4.sample.png",
    ]  # fmt: skip
    estimate = json.loads(capsys.readouterr().out)
    assert [(s["place"], s["read"], s["written"]) for s in estimate["snippets"]] == [
        ("beginning", 10, 20), ("middle", 10, 20), ("end", 10, 20),
    ]  # fmt: skip
    assert [s["begin_s"] for s in estimate["snippets"]] == pytest.approx([0, 0.6, 1.2])
    seconds = sum(s["seconds"] for s in estimate["snippets"])
    assert estimate["frames"] == 40
    assert estimate["seconds"] == pytest.approx(seconds * 4 / 3)
    assert estimate["disk"]["at_most_bytes"] > estimate["disk"]["result_bytes"] > 0
    with Image.open(estimate["image"]) as sheet:
        assert sheet.size[0] == (1 + 4) * 360
        assert sheet.size[1] % 6 == 0


def test_frame_is_above_the_result_of_the_same_time(tmp_path: Path) -> None:
    video, out = videos.make(videos.Video(), tmp_path / "in.mp4"), tmp_path / "out.mp4"
    words = ["interpolate", str(video), str(out), "--sample", "0.48", "--codec", "ffv1"]
    words[2] = str(out.with_suffix(".mkv"))
    assert main([*words, *HERE]) == Exit.DONE
    with Image.open(video.with_name("out.mkv.sample.png")) as sheet:
        height = sheet.size[1] // 2
        rows = [[sheet.crop((x * 360, y, x * 360 + 60, y + 40)).tobytes() for x in range(1, 5)]
                for y in (0, height)]  # fmt: skip
    shown = [k for k in range(4) if rows[0][k] == rows[1][k]]  # the video's own, untouched by ffv1
    assert shown in ([0, 2], [1, 3])
    assert all(rows[0][k] == rows[0][k + 1] for k in shown if k < 3)


def test_image_output_is_sampled_too(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = video.with_name("frames")
    words = ["convert", str(video), str(frames / "%06d.png"), "--sample", "0.8", "--in-process"]
    assert main(words) == Exit.DONE
    assert sorted(path.name for path in video.parent.iterdir()) == [
        "frames.sample.png", "in.mp4",
    ]  # fmt: skip
    text = capsys.readouterr().out
    assert "beginning (at 0:00), end (at 0:01): 40 frames" in text
    for word in ("time ", "result ", "disk ", "speed "):
        assert f"\n{word}" in text


@pytest.mark.parametrize(
    ("length", "wanted"),
    [
        (Fraction(1), [("beginning", 0)]),
        (Fraction(9), [("beginning", 0)]),
        (Fraction(10), [("beginning", 0), ("end", 5)]),
        (Fraction(15), [("beginning", 0), ("middle", 5), ("end", 10)]),
        (Fraction(100), [("beginning", 0), ("middle", Fraction(95, 2)), ("end", 95)]),
    ],
)
def test_short_video_has_fewer_places(
    length: Fraction, wanted: Sequence[tuple[str, Fraction]]
) -> None:
    assert choose_places(length, Fraction(5)) == list(wanted)


def test_trimmed_video_of_uneven_times_is_sampled_inside_its_trim(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = videos.make(videos.VIDEOS["uneven"], tmp_path / "in.mp4")
    words = [
        "convert",
        str(video),
        str(tmp_path / "out.mp4"),
        "--start",
        "0.1",
        "--max-frames",
        "6",
    ]
    assert main([*words, "--sample", "9", *HERE]) == Exit.DONE
    estimate = json.loads(capsys.readouterr().out)
    assert (estimate["frames"], estimate["snippets"][0]["read"]) == (6, 6)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("convert - out.mp4 --sample 5", "a pipe can only be read once. Pass a file"),
        ("convert in.mp4 - --sample 5", "cannot sample into a pipe"),
        ("convert in.mp4 out.mp4 --sample 0", "sample is 0: wanted more than 0"),
        ("convert in.mp4 none/out.mp4 --sample 1", "none does not exist: create it first"),
    ],
)
def test_input_that_cannot_be_sampled_is_refused_with_what_to_do(
    words: str, text: str, video: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(video.parent)
    assert main(words.split()) == Exit.USER
    assert text in capsys.readouterr().err


def test_estimate_takes_as_much_per_second_as_the_snippets() -> None:
    snippet = Snippet("beginning", Fraction(0), Fraction(5), Done(125, 250, 10.0), 125, 1000, 7)
    estimate = Estimate.of([snippet, snippet], Fraction(100), VideoOutput(Path("out.mp4")))
    assert (estimate.frames, estimate.seconds, estimate.disk.result) == (2500, 200.0, 20_000)
    assert estimate.disk.segments == 22_000 + 2 * 7
    assert "3:20 for all 2500 frames" in estimate.describe()[1]


def test_image_is_next_to_the_result_or_next_to_its_folder() -> None:
    assert find_image_path(VideoOutput(Path("a/out.mp4"))) == Path("a/out.mp4.sample.png")
    place = Path("/a").absolute()  # with a drive on Windows
    assert find_image_path(ImageOutput(place / "f" / "%06d.png")) == place / "f.sample.png"
    assert find_image_path(ImageOutput(place / "f")) == place / "f.sample.png"
