"""`filmgate doctor`: what limits this machine, and how to get it."""

import json
import sys
from importlib import util
from pathlib import Path

import pytest
import torch

from filmgate.cli.commands import doctor
from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.media.writing import encoder_probe


def run_doctor(
    capsys: pytest.CaptureFixture[str], code: Exit = Exit.DONE
) -> dict[str, dict[str, object]]:
    assert main(["doctor", "--json"]) == code
    return {item["name"]: item for item in json.loads(capsys.readouterr().out)}


def test_what_is_missing_has_a_cause_and_a_cure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    find = util.find_spec
    monkeypatch.setattr(
        doctor, "find_spec", lambda name: None if name == "spandrel" else find(name)
    )
    items = run_doctor(capsys)
    assert "is a build for the CPU" in str(items["GPU"]["found"])
    assert items["image"]["found"] == "spandrel missing, for upscale --model image"
    assert "[image]" in str(items["image"]["cure"])
    assert "film, " in str(items["weights"]["found"])
    assert str(items["weights"]["found"]).startswith("absent: blazepose_detector, ")
    assert items["weights"]["cure"] == "filmgate models pull blazepose_detector"
    assert not any(items[name]["needed"] for name in ("GPU", "image", "weights", "nvenc"))
    assert main(["doctor"]) == Exit.DONE
    text = capsys.readouterr().out
    assert "--  GPU" in text
    assert "-- marks what Filmgate works without" in text


def test_encoders_are_opened_not_looked_up(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg lists h264_nvenc on machines that cannot run it."""
    said = {"hevc": "libx265 does not open", "h264_nvenc": ""}
    real = encoder_probe.explain_encoder
    monkeypatch.setattr(encoder_probe, "explain_encoder", lambda name: said.get(name, real(name)))
    items = run_doctor(capsys, Exit.VERDICT_NO)
    assert "hevc" not in str(items["encoders"]["found"])
    assert "libx265 does not open" in str(items["encoders"]["cure"])


@pytest.mark.parametrize(
    ("module", "name"), [("av", "PyAV"), ("cv2", "OpenCV"), ("torch", "torch")]
)
def test_broken_library_is_one_row(
    module: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that raised anything but ImportError ended doctor itself."""

    def fail(wanted: str) -> object:
        if wanted == module:
            raise OSError(f"lib{wanted}.so: cannot open shared object file")
        return sys.modules[wanted]

    monkeypatch.setattr(doctor, "import_module", fail)
    items = run_doctor(capsys, Exit.VERDICT_NO)
    assert not items[name]["ok"]
    assert f"lib{module}.so" in str(items[name]["found"])
    assert items["disk"]["ok"]
