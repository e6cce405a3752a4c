"""`models try` for models of people and faces, on people made of discs."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from filmgate.cli.main import main
from filmgate.errors import BadInput, Exit
from filmgate.models import registry
from filmgate.models.contracts import Family
from filmgate.quality.people_check import try_tracker
from tests.models.people.fakes import FALLEN, STANDING, Person, draw, make_tracker
from tests.models.people.real import build_real_tracker

FAMILY = Family(
    name="discs",
    summary="Finds discs.",
    options=registry.find_family("blazepose").options,
    build_tracker=lambda options, placement: make_tracker(),
)


def write_image(path: Path, people: list[Person]) -> Path:
    pixels = (draw(people) * 255).permute(1, 2, 0).numpy().astype(np.uint8)
    cv2.imwrite(str(path), pixels[..., ::-1])
    return path


def test_report_counts_people_and_the_image_shows_them(tmp_path: Path) -> None:
    image = write_image(tmp_path / "people.png", [STANDING, FALLEN])
    report, sheet = try_tracker(FAMILY, None, image)
    assert report["ok"]
    assert (report["run"]["frames"], report["run"]["followed"]) == (1, 2)
    assert str(tmp_path) not in json.dumps(report)
    drawn = np.asarray(Image.open(BytesIO(sheet)))
    plain = try_tracker(FAMILY, None, write_image(tmp_path / "none.png", []))
    assert not plain[0]["ok"]
    assert "no one was found in the first 1 frames" in plain[0]["run"]["why"]
    assert drawn.shape == np.asarray(Image.open(BytesIO(plain[1]))).shape
    with pytest.raises(BadInput):
        try_tracker(FAMILY, None, tmp_path / "missing.mp4")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("try blazepose", "blazepose is tried on a video with people: pass one with --video"),
        ("try blazepose_points", "pass one with --video"),
        ("try rife --video x.mp4", "rife is tried on a video made here: omit it"),
        ("pull blazepos", "did you mean 'blazepose"),
    ],
)
def test_user_error_says_what_to_do(
    words: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["models", *words.split()]) == Exit.USER
    assert text in capsys.readouterr().err


def test_command_writes_a_report_and_an_image(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    build_real_tracker("face_mesh")
    image, report = write_image(tmp_path / "discs.png", [STANDING]), tmp_path / "try.json"
    words = ["models", "try", "face_mesh", "--video", str(image), "--report", str(report)]
    assert main(words) == Exit.VERDICT_NO
    assert "no one was found" in capsys.readouterr().out
    found = json.loads(report.read_text())
    assert found["tensors"]["names"]["face_landmark.tflite"]["input_1"] == [1, 192, 192, 3]
    assert (tmp_path / "try.png").read_bytes().startswith(b"\x89PNG")
    report.with_suffix(".png").write_bytes(b"mine")
    assert main(words) == Exit.USER
    assert (tmp_path / "try.png").read_bytes() == b"mine"
