"""`filmgate track` with several outputs: which are made, and what is refused."""

import json
import os
from pathlib import Path

import av
import numpy as np
import pytest

import filmgate as fg
from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.media.pixels.planes import Planes
from tests.videos import Video, make


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A video with audio, and boxes of someone in it, as a file."""
    path = make(Video(frames=20, size=(96, 64), sounds=("aac",)), tmp_path / "in.mp4")
    lines = [{"frame": n, "box": [10.0 + n, 8.0, 20.0, 30.0], "score": 0.9} for n in range(20)]
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def track(video: Path, *words: str) -> Exit:
    command = ["track", str(video), *words, "--boxes", str(video.with_name("boxes.jsonl"))]
    return Exit(main([*command, "--quiet", "--in-process"]))


def read_frames(path: Path) -> list[Planes]:
    images = [frame.image for frame in fg.frames((), path)]
    assert all(isinstance(image, Planes) for image in images)
    return images  # type: ignore[return-value]


def test_records_an_overlay_and_a_page_are_written_in_one_pass(video: Path) -> None:
    folder = video.parent
    names = [str(folder / name) for name in ("out.jsonl", "o.mkv", "r.html")]
    flags = ["--overlay", names[1], "--report", names[2], "--codec", "ffv1"]
    assert track(video, names[0], *flags) == Exit.DONE
    records = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert {record["id"] for record in records} == {1}
    assert len(records) == 20
    assert "1 track in" in (folder / "r.html").read_text()
    assert sorted(os.listdir(folder)) == ["boxes.jsonl", "in.mp4", "o.mkv", "out.jsonl", "r.html"]
    before, after = read_frames(video), read_frames(folder / "o.mkv")
    assert len(after) == 20
    for old, new in zip(before, after, strict=True):
        assert (new.arrays[0] != old.arrays[0]).any()
        np.testing.assert_array_equal(new.arrays[0][45:], old.arrays[0][45:])  # below the box
    with av.open(str(folder / "o.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio"]


def test_records_are_written_in_several_formats_at_once(video: Path) -> None:
    names = [str(video.with_name(name)) for name in ("out.jsonl", "out.txt", "coco.json")]
    assert track(video, names[0], "--also", names[1], "--also", names[2]) == Exit.DONE
    lines = video.with_name("out.txt").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines] == [[f"{n}", "1"] for n in range(1, 21)]
    assert len(json.loads(video.with_name("coco.json").read_text())["annotations"]) == 20
    alone = video.with_name("alone.txt")
    assert track(video, str(alone)) == Exit.DONE
    assert alone.read_bytes() == video.with_name("out.txt").read_bytes()


def test_a_video_as_the_only_result_shows_what_was_found(video: Path) -> None:
    out = video.with_name("out.mkv")
    assert track(video, str(out), "--codec", "ffv1") == Exit.DONE
    old, new = read_frames(video)[5], read_frames(out)[5]
    assert (new.arrays[0] != old.arrays[0]).any()


def test_results_in_a_folder_are_records(video: Path) -> None:
    assert track(video, "-o", str(video.with_name("results"))) == Exit.DONE
    assert os.listdir(video.with_name("results")) == ["in.jsonl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("track IN OUT.jsonl --report page.txt", "pass a name that ends in .html"),
        ("track IN OUT.jsonl --overlay o.jsonl", "wanted at most one video"),
        ("track IN OUT.jsonl --also o.mkv", "also is o.mkv: pass a name that ends in one of"),
        ("track IN OUT.jsonl --also OUT.jsonl", "and one file of each kind of records"),
        ("track IN IN -o D --also o.txt", "--also names one file and there are 2 videos"),
        ("track IN OUT.jsonl --crf 20", "crf is a setting for a video"),
        ("track IN OUT.mkv --overlay o.mkv", "wanted at most one video"),
        ("track IN IN -o D --overlay o.mkv", "--overlay names one file and there are 2 videos"),
        ("upscale IN OUT.jsonl", "name a video, such as OUT.mp4"),
        ("convert IN OUT.parquet", "name a video, such as OUT.mp4"),
        ("upscale IN OUT.mp4 --overlay o.mkv", "--overlay"),
    ],
)
def test_what_excludes_each_other_is_refused(
    video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(video.parent)
    (video.parent / "other.mp4").symlink_to(video)
    paths = [word.replace("IN", "in.mp4", 1) if word == "IN" else word for word in words.split()]
    if paths.count("in.mp4") == 2:
        paths[2] = "other.mp4"
    before = sorted(os.listdir(video.parent))
    assert main(paths) == Exit.USER
    assert message in " ".join(capsys.readouterr().err.split())
    assert [name for name in sorted(os.listdir(video.parent)) if name not in (*before, "D")] == []


def test_a_job_file_has_an_overlay(video: Path) -> None:
    folder = video.parent
    (folder / "job.toml").write_text(
        'input = "in.mp4"\noutput = ["out.txt", {path = "o.mkv", codec = "ffv1"}]\n'
        '[[tasks]]\ntask = "track"\ndraw = true\nboxes = "boxes.jsonl"\n'
    )
    assert main(["run", str(folder / "job.toml"), "--quiet", "--in-process"]) == Exit.DONE
    assert len((folder / "out.txt").read_text().splitlines()) == 20
    assert (read_frames(folder / "o.mkv")[3].arrays[0] != read_frames(video)[3].arrays[0]).any()
