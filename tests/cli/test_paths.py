"""Inputs and results: pairs, folders, patterns, and names that would collide."""

import os
import sys
from pathlib import Path

import pytest

import filmgate
from filmgate.cli.main import main
from filmgate.cli.paths import check_paths, pair_paths
from filmgate.core.job import Job
from filmgate.errors import BadInput, BadSetting, Exit, OutputExists, UserError
from filmgate.media.images.numbering import parse_output
from filmgate.media.sinks import ImageOutput, RecordOutput, VideoOutput
from filmgate.media.sources import VideoFile
from filmgate.models.families.compact import CompactOptions
from filmgate.tasks.job_config import job_from_toml, make_sink, refuse_existing_folder
from filmgate.tasks.upscale import Upscale
from tests.cli.test_main import FakeEvents, runs
from tests.videos import VIDEOS, Video, make

__all__ = ["runs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.mp4", "a.MKV", "c.avi", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def test_one_input_has_one_result() -> None:
    assert pair_paths([Path("a"), Path("b")], None, None) == [(Path("a"), Path("b"))]


def test_folders_and_patterns_go_into_a_folder(folder: Path) -> None:
    out = folder / "made"
    videos = [folder / "a.MKV", folder / "b.mp4", folder / "c.avi"]
    wanted = list(zip(videos, [out / "a.MKV", out / "b.mp4", out / "c.mp4"], strict=True))
    assert pair_paths([folder], out, None) == wanted
    assert pair_paths([folder / "[a-c].*"], out, None) == wanted
    assert pair_paths(videos, out, None) == wanted
    assert out.is_dir()
    assert pair_paths([videos[2]], out, "mkv") == [(videos[2], out / "c.mkv")]


@pytest.mark.parametrize(
    ("paths", "out", "text"),
    [
        (["a"], None, "there is 1 path: pass IN and OUT, or inputs and -o DIR"),
        (["a", "b", "c"], None, "there are 3 paths"),
        ([], "made", "there is no path"),
        (["b.mp4"], "notes.txt", "is a file: pass a folder"),
        (["no*.mp4"], "made", "no file matches"),
        (["x/c.mp4", "c.avi"], "made", "would both become"),
        (["b.mp4"], "no/made", "the folder .*no does not exist: create it first"),
    ],
)
def test_impossible_paths_are_refused(
    folder: Path, paths: list[str], out: str | None, text: str
) -> None:
    with pytest.raises(BadSetting, match=text):
        pair_paths([folder / path for path in paths], folder / out if out else None, None)
    assert not (folder / "made").exists()


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="contains no video"):
        pair_paths([tmp_path], tmp_path / "made", None)


def test_folder_takes_videos_by_content_and_names_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make(Video(frames=2), tmp_path / "made.mp4").read_bytes()
    stream = make(Video(frames=2, suffix=".ts"), tmp_path / "made.ts").read_bytes()
    folder = tmp_path / "camera"
    folder.mkdir()
    (folder / "00001.MTS").write_bytes(stream)
    (folder / "clip").write_bytes(made)
    (folder / "phone.3GP").write_bytes(made)
    (folder / "broken.mov").write_bytes(b"")
    (folder / "voice.m4a").write_bytes(made[:8] + b"M4A " + made[12:])
    (folder / "notes.txt").write_text("words")
    (folder / ".hidden.mp4").write_bytes(made)
    (folder / "clip.mp4.filmgate").mkdir()
    (folder / "more").mkdir()
    out = folder / "out"
    wanted = ["00001.MTS", "broken.mov", "clip", "phone.3GP"]
    for _ in range(2):  # the second time the folder of the results exists
        pairs = pair_paths([folder], out, None)
        assert [video.name for video, _ in pairs] == wanted
        assert [result.name for _, result in pairs] == [
            "00001.mp4", "broken.mov", "clip.mp4", "phone.mp4",
        ]  # fmt: skip
        assert capsys.readouterr().err == (
            f"warning: {folder}: more/, notes.txt, voice.m4a are left out: wanted videos\n"
        )


def test_many_files_that_are_left_out_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(9):
        (tmp_path / f"{n}.txt").write_text("words")
    with pytest.raises(BadSetting, match="contains no video"):
        pair_paths([tmp_path], tmp_path / "out", None)
    assert "4.txt and 4 more are left out" in capsys.readouterr().err


@pytest.mark.parametrize("end", ["/", os.sep])
def test_name_with_a_slash_is_a_folder_of_images(tmp_path: Path, end: str) -> None:
    folder = tmp_path / "new"
    assert parse_output(f"{folder}{end}") == folder / "%06d.png"
    assert parse_output(f"new{end}", tmp_path) == folder / "%06d.png"
    assert parse_output("-", tmp_path) == Path("-")
    folder.mkdir()
    (folder / "000007.png").touch()
    assert parse_output(f"{folder}{end}") == folder / "%06d.png"
    (folder / "holiday.jpg").touch()
    with pytest.raises(BadSetting, match=r"such as holiday\.jpg: .* or write .*%06d\.png"):
        parse_output(f"{folder}{end}")
    assert parse_output(str(folder)) == folder


def test_folder_that_exists_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(tmp_path, target_is_directory=True)
    for folder in (tmp_path, tmp_path / "linked"):
        with pytest.raises(BadSetting, match=r"a folder: write .*%06d\.png .* or .*in\.mp4 for"):
            refuse_existing_folder(make_sink(folder, {}), "in")
    refuse_existing_folder(make_sink(tmp_path / "%06d.png", {}))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("o.jpg", ImageOutput, r"o\.jpg, wanted .* \.png, \.webp, \.tif, \.tiff"),
        ("%d.bmp", ImageOutput, r"wanted .*\.png"),
        ("%d", ImageOutput, r"wanted .*\.png"),
        ("o.png", ImageOutput, r"names one image: write .*o-%06d\.png, or .*o/ for a folder"),
        ("o.gif", VideoOutput, r"o\.gif, wanted for a video .*\.mp4"),
        ("o.xyz", VideoOutput, r"o\.xyz, wanted for a video .*\.mp4.*images"),
        ("o", VideoOutput, r"is o, wanted for a video"),
        ("no/o.mp4", VideoOutput, "the folder .*no does not exist"),
        ("no/o.jsonl", RecordOutput, "the folder .*no does not exist"),
    ],
)
def test_output_names_are_checked_first(
    tmp_path: Path, name: str, kind: type, message: str
) -> None:
    sink = make_sink(tmp_path / name, {})
    assert isinstance(sink, kind)
    source = VideoFile(make(VIDEOS["one_frame"], tmp_path / "in.mp4"))
    with pytest.raises(BadSetting, match=message):
        check_paths(Job(source, sink))


def test_numbered_video_is_a_video(tmp_path: Path) -> None:
    assert isinstance(make_sink(tmp_path / "take%d.mp4", {}), VideoOutput)


@pytest.mark.parametrize("output", ["in.mp4", "link.mp4", "weights.mp4"])
def test_output_never_replaces_an_input(tmp_path: Path, output: str) -> None:
    source = VideoFile(make(VIDEOS["one_frame"], tmp_path / "in.mp4"))
    (tmp_path / "link.mp4").symlink_to("in.mp4")
    (tmp_path / "weights.mp4").write_bytes(b"precious")
    weights = CompactOptions(weights=tmp_path / "weights.mp4")
    task = Upscale(model="compact", options=weights)
    job = Job(source, VideoOutput(tmp_path / output, overwrite=True), (task,))
    with pytest.raises(BadSetting, match="is also an input: choose another name"):
        check_paths(job)


@pytest.mark.parametrize("link", [False, True])
def test_images_never_replace_a_second_input(tmp_path: Path, link: bool) -> None:
    source = VideoFile(make(VIDEOS["one_frame"], tmp_path / "in.mp4"))
    second = tmp_path / "images" / "7.png"
    second.parent.mkdir()
    second.write_bytes(b"precious")
    if link:
        (tmp_path / "link.png").symlink_to(second)
    weights = CompactOptions(weights=tmp_path / "link.png" if link else second)
    sink = ImageOutput(second.with_name("%d.png"), overwrite=True)
    with pytest.raises(BadSetting, match="png is both an input and an output"):
        check_paths(Job(source, sink, (Upscale(model="compact", options=weights),)))


def test_pipe_in_place_of_any_file_is_refused(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no pipes and sockets as files")
    os.mkfifo(tmp_path / "pipe.mp4")
    made = VideoFile(make(VIDEOS["one_frame"], tmp_path / "in.mp4"))
    pipe, output = VideoFile(tmp_path / "pipe.mp4"), VideoOutput(tmp_path / "out.mp4")
    weights = CompactOptions(weights=pipe.path)
    for job in (
        Job(pipe, output),
        Job(made, VideoOutput(pipe.path, overwrite=True)),
        Job(made, output, (Upscale(model="compact", options=weights),)),
    ):
        with pytest.raises(UserError, match=r"pipe\.mp4 is a pipe, wanted"):
            check_paths(job)
    with pytest.raises(BadInput, match="does not exist: check the name, or pass a video file"):
        check_paths(Job(VideoFile(tmp_path / "none.mp4"), output))


def test_slash_means_images_and_an_existing_folder_is_refused(
    runs: FakeEvents, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("shots").mkdir()
    assert main(["convert", "in.mp4", "new/", "--quiet"]) == Exit.DONE
    assert main(["convert", "in.mp4", "shots/", "--quiet"]) == Exit.DONE
    outputs = [job.sink for job in runs.jobs]
    assert outputs == [ImageOutput(Path(f"{name}/%06d.png")) for name in ("new", "shots")]
    assert main(["convert", "in.mp4", "shots", "--quiet"]) == Exit.USER
    shown = capsys.readouterr().err.replace("\\", "/")
    assert "write shots/%06d.png for images, or shots/in.mp4 for a video" in shown
    with pytest.raises(BadSetting, match="shots is a folder"):
        filmgate.run((), "in.mp4", "shots")
    Path("job.toml").write_text("input = 'in.mp4'\noutput = 'new/'\n")
    assert job_from_toml(Path("job.toml")).sink == ImageOutput(Path.cwd() / "new" / "%06d.png")
    Path("job.toml").write_text("input = 'in.mp4'\noutput = 'shots'\n")
    with pytest.raises(BadSetting, match="shots is a folder"):
        job_from_toml(Path("job.toml"))
    assert list(Path("shots").iterdir()) == []


@pytest.mark.parametrize("name", ["out.mp4", "out.jsonl"])
def test_link_that_leads_nowhere_counts_as_a_file(tmp_path: Path, name: str) -> None:
    source = make(VIDEOS["one_frame"], tmp_path / "in.mp4")
    (tmp_path / name).symlink_to("nowhere")
    with pytest.raises(OutputExists, match="exists: choose another output"):
        filmgate.run((), source, tmp_path / name)
    assert (tmp_path / name).is_symlink()
    assert not (tmp_path / "nowhere").exists()


def test_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    source = make(VIDEOS["one_frame"], tmp_path / "in.mp4")
    (tmp_path / "other.mp4").write_bytes(b"precious")
    (tmp_path / "out.mp4").symlink_to("other.mp4")
    filmgate.run((), source, VideoOutput(tmp_path / "out.mp4", overwrite=True))
    assert not (tmp_path / "out.mp4").is_symlink()
    assert (tmp_path / "other.mp4").read_bytes() == b"precious"
