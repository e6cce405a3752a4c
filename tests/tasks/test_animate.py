"""The task `animate`: settings, job forms, its portrait, and runs from files to a file."""

import json
from fractions import Fraction as F
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.core.frame import StreamSpec
from filmgate.device.host_speed import measure_host_speed
from filmgate.errors import BadInput, BadSetting, Exit, Unsupported
from filmgate.jobs.identity import describe_run
from filmgate.media.images.image_file import ImageFile
from filmgate.media.records.record_file import RecordFile
from filmgate.models.families.personalive import PersonaLiveOptions
from filmgate.models.families.personalive.published import describe_time
from filmgate.planning.limits import Limits
from filmgate.quality.verify import check
from filmgate.tasks.animate import Animate, parse_box, parse_region
from filmgate.tasks.job_config import job_from
from filmgate.tasks.job_form import job_to
from tests.models import tiny_personalive
from tests.videos import Video, make

PLAN = fg.Plan(chunk=2, segment_frames=8, torch_threads=1)


def write_portrait(path: Path, width: int = 80, height: int = 64) -> Path:
    """A portrait with a gradient, so that every pixel tells where it is."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([3 * x, 3 * y, x + y], 2).astype(np.uint8)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 500}, "size is 500: pass 64, 128 ... 1024"),
        ({"keyframes": 4}, "keyframes is 4: pass 0 to 3"),
        ({"region": "1,2"}, "region is '1,2', wanted left,top,side"),
        ({"region": "0,0,nan"}, "region is '0,0,nan'"),
        ({"box": "1,2,3,4"}, "box is '1,2,3,4', wanted left,top,width,height"),
        ({"box": "9,9,99,99", "finder": "own"}, "there are box and finder"),
        ({"finder": "hog"}, "finder is 'hog'"),
        ({"model": "compact"}, "the model compact is for upscale: animate has personalive"),
        ({"device": "tpu"}, "device is 'tpu'"),
    ],
)
def test_settings_are_checked_when_the_task_is_made(settings: Any, message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Animate(**settings)


def test_boxes_and_regions_are_read_as_they_are_written() -> None:
    assert parse_region("40,0,480") == (40, 0, 480)
    assert parse_box("-1.5,2,30,40") == (-1.5, 2, 30, 40)
    assert (parse_region(None), parse_box(None)) == (None, None)


def test_missing_weights_are_refused_with_size_and_licence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path / "models"))
    portrait = write_portrait(tmp_path / "face.png")
    driving = make(Video(frames=2), tmp_path / "drive.mp4")
    command = ["animate", str(portrait), str(driving), str(tmp_path / "out.mp4"), "--in-process"]
    assert main(command) == Exit.USER
    said = capsys.readouterr().err
    for part in ("denoising_unet.pth is missing", "--weights FOLDER",
                 "models pull personalive", "6.1 GB", "Apache-2.0",
                 "research only", "TFLOP (predicted)", "TFLOP/s (measured)"):  # fmt: skip
        assert part in said.replace("\n", " ")
    assert not (tmp_path / "out.mp4").exists()


def test_the_hours_are_those_of_this_machine() -> None:
    said = describe_time(0.05e12)
    assert "174 s a frame, 72 hours for a minute" in said
    assert 1e8 < measure_host_speed() < 1e14


def test_the_portrait_is_an_input_that_identifies_a_run(tmp_path: Path) -> None:
    portrait = write_portrait(tmp_path / "face.png")
    job = fg.Job(
        fg.VideoFile(make(Video(frames=2), tmp_path / "drive.mp4")),
        fg.VideoOutput(tmp_path / "out.mp4"),
        (Animate(portrait=ImageFile(portrait), faces=RecordFile(tmp_path / "boxes.jsonl")),),
    )
    form = json.loads(json.dumps(job_to(job)))
    assert job_from(form, tmp_path) == job
    (tmp_path / "boxes.jsonl").write_text('{"frame": 0, "box": [0, 0, 20, 20]}\n')
    described = describe_run(job, Limits())
    portrait.write_bytes(portrait.read_bytes() + b"\0")
    assert describe_run(job, Limits())["inputs"] != described["inputs"]


def test_a_portrait_is_read_upright_and_refused_with_alpha(tmp_path: Path) -> None:
    path = write_portrait(tmp_path / "face.png")
    planes = ImageFile(path).read()
    assert planes.size == (80, 64)
    blue, green = planes.to_rgb()[2], planes.to_rgb()[1]
    assert [float(blue[0, 40]), float(green[30, 0])] == pytest.approx([120 / 255, 90 / 255])
    clear = np.zeros((8, 8, 4), np.uint8)
    assert cv2.imwrite(str(tmp_path / "clear.png"), clear)
    with pytest.raises(Unsupported, match="has transparent pixels"):
        ImageFile(tmp_path / "clear.png").read()
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(BadInput, match=r"text\.png"):
        ImageFile(tmp_path / "text.png").read()


def test_the_result_is_a_square_or_has_the_portraits_size(tmp_path: Path) -> None:
    spec = make_spec()
    portrait = ImageFile(write_portrait(tmp_path / "face.png"))
    made = Animate(portrait=portrait, size=256).describe_output(spec)
    assert (made.width, made.height, made.rate) == (256, 256, spec.rate)
    pasted = Animate(portrait=portrait, paste_back=True).describe_output(spec)
    assert (pasted.width, pasted.height) == (80, 64)


def make_spec() -> StreamSpec:
    return StreamSpec(width=64, height=48, rate=F(25), time_base=F(1, 25), pixels="yuv420p")


def run(tmp_path: Path, name: str, frames: int = 9, **settings: Any) -> Path:
    """Run with small networks; return the result."""
    driving = tmp_path / "drive.mp4"
    if not driving.exists():
        make(Video(frames=frames, sounds=("aac",)), driving)
    options = PersonaLiveOptions(weights=tiny_personalive.folder())
    task = Animate(
        portrait=ImageFile(write_portrait(tmp_path / "face.png")), options=options, size=64,
        **{"finder": "own", **settings},
    )  # fmt: skip
    out = tmp_path / name
    job = fg.Job(fg.VideoFile(driving), fg.VideoOutput(out), (task,))
    assert any(isinstance(event, fg.Done) for event in fg.events(job, PLAN))
    return out


@pytest.mark.slow
def test_a_driving_video_becomes_a_portrait_of_the_same_times_with_its_audio(
    tmp_path: Path,
) -> None:
    out = run(tmp_path, "out.mp4")
    report = check(tmp_path / "drive.mp4", out)
    assert report.ok, report
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (64, 64)
        assert len(list(container.decode(stream))) == 9
        assert len(container.streams.audio) == 1


@pytest.mark.slow
def test_a_sample_is_of_a_part_of_the_driving_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(Video(frames=12), tmp_path / "drive.mp4")
    portrait = write_portrait(tmp_path / "face.png")
    words = ["animate", str(portrait), str(tmp_path / "drive.mp4"), str(tmp_path / "out.mkv")]
    words += ["--weights", str(tiny_personalive.folder()), "--size", "64", "--finder", "own"]
    words += ["--sample", "0.32", "--in-process", "--json"]
    assert main(words) == Exit.DONE
    estimate = json.loads(capsys.readouterr().out)
    assert [snippet["read"] for snippet in estimate["snippets"]] == [8]
    assert estimate["frames"] == 12
    assert Path(estimate["image"]).name == "out.mkv.sample.png"
    assert not (tmp_path / "out.mkv").exists()


@pytest.mark.slow
def test_the_animated_square_is_put_back_into_the_portrait(tmp_path: Path) -> None:
    out = run(tmp_path, "out.mkv", paste_back=True, region="16,0,64")
    (frame, *_) = list(fg.frames((), out))
    rgb = frame.image.to_rgb()  # type: ignore[attr-defined]
    assert rgb.shape == (3, 64, 80)
    portrait = ImageFile(tmp_path / "face.png").read().to_rgb()
    assert float((rgb[:, :, :14] - portrait[:, :, :14]).abs().mean()) < 0.05
    assert float((rgb[:, :, 24:] - portrait[:, :, 24:]).abs().mean()) > 0.1
    with pytest.raises(BadSetting, match="region is 40,0,64 and the portrait is 80x64"):
        run(tmp_path, "no.mp4", region="40,0,64")


@pytest.mark.slow
def test_a_box_or_a_file_of_boxes_says_where_the_face_is(tmp_path: Path) -> None:
    lines = [json.dumps({"frame": n, "box": [10, 4, 30, 30]}) for n in range(9)]
    (tmp_path / "boxes.jsonl").write_text("\n".join(lines))
    by_hand = run(tmp_path, "hand.mkv", box="10,4,30,30", finder="auto")
    by_file = run(tmp_path, "file.mkv", faces=RecordFile(tmp_path / "boxes.jsonl"), finder="auto")
    own = run(tmp_path, "own.mkv")
    one, other, third = (
        [frame.image.arrays[0] for frame in fg.frames((), path)]  # type: ignore[attr-defined]
        for path in (by_hand, by_file, own)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, third, strict=True))
