"""`filmgate doctor`: what limits this machine, and how to get it."""

import json
from importlib import util
from pathlib import Path

import pytest
import torch

from filmgate.cli.commands import doctor
from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.media.writing import encoder_probe
from filmgate.quality.metrics import vmaf


@pytest.fixture(autouse=True)
def no_vmaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not run ffmpeg to see whether it has VMAF: it takes as long as all other checks."""
    monkeypatch.setattr(vmaf, "explain_missing_vmaf", lambda: "not installed")


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


def test_libraries_that_are_broken_or_missing_are_a_row_each(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that raised anything but ImportError ended doctor itself."""

    def fail(wanted: str) -> object:
        if wanted == "cv2":
            raise ModuleNotFoundError("No module named 'cv2'", name="cv2")
        if wanted == "torch":
            raise RuntimeError("no error that is known")
        raise OSError(f"lib{wanted}.so: cannot open shared object file")

    monkeypatch.setattr(doctor, "import_module", fail)
    items = run_doctor(capsys, Exit.VERDICT_NO)
    assert "libav.so" in str(items["PyAV"]["found"])
    assert items["torch"]["found"] == "no error that is known"
    assert "--force-reinstall" in str(items["torch"]["cure"])
    assert "pip install" in str(items["OpenCV"]["found"])
    assert not any(items[name]["ok"] for name in ("PyAV", "torch", "OpenCV"))
    assert items["disk"]["ok"]
