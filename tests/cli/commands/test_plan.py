"""The plan as tables and as JSON."""

import json
from fractions import Fraction
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

import filmgate as fg
from filmgate.cli.main import main
from filmgate.cli.views.plan_view import draw, print_plan
from filmgate.errors import Exit
from filmgate.planning.disk import DiskUse, predict_disk_use
from filmgate.planning.fit import Fit, fit
from filmgate.planning.limits import Limits
from tests import videos


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    folder = tmp_path_factory.mktemp("plan")
    source = videos.make(videos.Video(frames=20), folder / "in.mp4")
    job = fg.Job(
        fg.VideoFile(source), fg.VideoOutput(folder / "out.mp4"), (fg.Interpolate(factor=2),)
    )
    return fit(job, Limits(chunk=2))


def test_plan_shows_time_and_memory_with_reasons(fitted: Fit) -> None:
    console = Console(width=80, file=StringIO())
    console.print(draw(fitted, predict_disk_use(fitted)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "64x48 yuv420p, 25 fps, 20 frames  ->  64x48 yuv420p, 50 fps, 40 frames" in text
    for part in ("shots", "interpolate", "durations", *fitted.host):
        assert f"\n{part} " in text
    assert "set by you" in text
    assert "\ntotal " in text
    assert " before segments are joined, " in text
    assert "source frames per second" in text
    assert max(map(len, text.splitlines())) <= 80


def test_json_has_the_same_values(fitted: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(fitted, True, predict_disk_use(fitted))
    values = json.loads(capsys.readouterr().out)
    assert values["plan"]["chunk"] == 2
    assert values["reasons"]["chunk"] == "set by you"
    assert values["predicted"]["host_bytes"] == sum(values["predicted"]["host_parts"].values())
    assert [stage["name"] for stage in values["stages"]] == ["shots", "interpolate", "durations"]
    assert values["made"]["rate"] == "50"
    disk = values["predicted"]["disk"]
    assert 0 < disk["result_bytes"] < disk["before_join_bytes"] < disk["at_most_bytes"]
    assert set(values["reasons"]) < set(values["plan"])
    assert Path(fitted.job.sink.path).name == "out.mp4"


def test_disk_use_is_segments_and_snapshots_plus_the_result() -> None:
    disk = DiskUse.of(fg.VideoOutput(Path("out.mp4")), 1000, 10)
    assert (disk.result, disk.segments, disk.joining) == (1000, 1120, 2120)
    images = DiskUse.of(fg.ImageOutput(Path("frames/%06d.png")), 1000, 10)
    assert (images.segments, images.joining) == (0, 1000)


def test_plan_of_image_output_counts_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = videos.make(videos.Video(frames=6), tmp_path / "in.mp4")
    words = ["plan", "convert", str(source), str(tmp_path / "made" / "%06d.png"), "--json"]
    assert main(words) == Exit.DONE
    values = json.loads(capsys.readouterr().out)["predicted"]
    assert values["seconds_each"]["encode"] > 0
    assert values["disk"]["result_bytes"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_plan_of_images_to_a_video_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        image = videos.draw_image(number, 64, 48)
        Image.fromarray(image).convert("RGB").save(tmp_path / "frames" / f"{number:06d}.png")
    assert main(["plan", "interpolate", str(tmp_path / "frames")]) == Exit.DONE
    assert "64x48 gbrp, 25 fps, 3 frames  ->  64x48 yuv420p, 50 fps, 6 frames" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-"], "a pipe can only be read once"),
        (["in.mp4", "--ram", "1MB"], "pass --ram"),
    ],
)
def test_impossible_plan_is_refused_with_what_to_do(
    words: list[str], text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    videos.make(videos.Video(frames=6), tmp_path / "in.mp4")
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "interpolate", *words]) == Exit.USER
    out, error = capsys.readouterr()
    assert text in error
    assert not out


def test_settings_can_be_fixed_by_the_user(fitted: Fit) -> None:
    limits = Limits(chunk=4, batch=2, threads=1, segment=Fraction(1))
    plan = fit(fitted.job, limits)
    assert (plan.plan.chunk, plan.plan.batches, plan.plan.segment_frames) == (4, (2, 2, 2), 24)
    assert (plan.plan.decode_threads, plan.plan.encode_threads, plan.plan.opencv_threads) == (
        1, 1, 1,
    )  # fmt: skip
    fixed = ("chunk", "batches", "segment_frames", "decode_threads", "encode_threads")
    assert {plan.choice.reasons[name] for name in fixed} == {"set by you"}
