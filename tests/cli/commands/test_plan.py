"""The plan as it is shown: to a person, and to a machine."""

import json
from fractions import Fraction
from io import StringIO
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

import filmgate as fg
from filmgate.cli.main import main
from filmgate.cli.views.plan_view import drawn, show
from filmgate.errors import Exit
from filmgate.planning.disk import Disk, foreseen
from filmgate.planning.fit import Fit, fit
from filmgate.planning.limits import Limits
from tests import videos


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    folder = tmp_path_factory.mktemp("plan")
    source = videos.make(videos.Video(frames=20), folder / "in.mp4")
    job = fg.Job(
        fg.VideoFile(source), fg.VideoOutput(folder / "out.mp4"), (fg.Interpolate(factor=2),)
    )
    return fit(job, Limits(chunk=2))


def test_a_person_sees_what_goes_where_and_why(found: Fit) -> None:
    console = Console(width=80, file=StringIO())
    console.print(drawn(found, foreseen(found)))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "64x48 yuv420p, 25 fps, 20 frames  ->  64x48 yuv420p, 50 fps, 40 frames" in text
    for part in ("cuts", "interpolate", "until next", *found.host):
        assert f"\n{part} " in text
    assert "yours" in text
    assert "in all" in text
    assert " before the join, " in text
    assert "expected" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_machine_reads_the_same(found: Fit, capsys: pytest.CaptureFixture[str]) -> None:
    show(found, True, foreseen(found))
    said = json.loads(capsys.readouterr().out)
    assert said["plan"]["chunk"] == 2
    assert said["reasons"]["chunk"] == "yours"
    assert said["predicted"]["host_bytes"] == sum(said["predicted"]["host_parts"].values())
    assert [stage["name"] for stage in said["stages"]] == ["cuts", "interpolate", "until next"]
    assert said["made"]["rate"] == "50"
    disk = said["predicted"]["disk"]
    assert 0 < disk["result_bytes"] < disk["before_join_bytes"] < disk["at_most_bytes"]
    assert set(said["reasons"]) < set(said["plan"])
    assert Path(found.job.sink.path).name == "out.mp4"  # type: ignore[attr-defined]


def test_disk_is_at_most_pieces_and_snapshots_and_then_the_result_beside_them() -> None:
    disk = Disk.of(fg.VideoOutput(Path("out.mp4")), 1000, 10)
    assert (disk.result, disk.pieces, disk.joining) == (1000, 1120, 2120)
    pictures = Disk.of(fg.ImageOutput(Path("frames/%06d.png")), 1000, 10)
    assert (pictures.pieces, pictures.joining) == (0, 1000)


def test_the_plan_of_pictures_counts_the_pictures_that_are_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = videos.make(videos.Video(frames=6), tmp_path / "in.mp4")
    words = ["plan", "convert", str(source), str(tmp_path / "made" / "%06d.png"), "--json"]
    assert main(words) == Exit.DONE
    said = json.loads(capsys.readouterr().out)["predicted"]
    assert said["seconds_each"]["encode"] > 0
    assert said["disk"]["result_bytes"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_the_plan_of_images_to_a_film_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        picture = videos.picture(number, 64, 48)
        Image.fromarray(picture).convert("RGB").save(tmp_path / "frames" / f"{number:06d}.png")
    assert main(["plan", "interpolate", str(tmp_path / "frames")]) == Exit.DONE
    assert "64x48 gbrp, 25 fps, 3 frames  ->  64x48 yuv420p, 50 fps, 6 frames" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-"], "a pipe can be read only once: give a file"),
        (["in.mp4", "--ram", "1MB"], "give --ram"),
    ],
)
def test_a_plan_that_cannot_be_made_is_refused_with_what_to_do(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    videos.make(videos.Video(frames=6), tmp_path / "in.mp4")
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "interpolate", *words]) == Exit.USER
    out, error = capsys.readouterr()
    assert said in error
    assert not out


def test_knobs_can_be_fixed_by_hand(found: Fit) -> None:
    limits = Limits(chunk=4, batch=2, threads=1, segment=Fraction(1))
    plan = fit(found.job, limits)
    assert (plan.plan.chunk, plan.plan.batches, plan.plan.segment_frames) == (4, (2, 2, 2), 24)
    assert (plan.plan.decode_threads, plan.plan.encode_threads, plan.plan.opencv_threads) == (
        1, 1, 1,
    )  # fmt: skip
    fixed = ("chunk", "batches", "segment_frames", "decode_threads", "encode_threads")
    assert {plan.choice.reasons[knob] for knob in fixed} == {"yours"}
