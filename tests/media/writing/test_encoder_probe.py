"""Encoders are opened to see whether they work; the library lists more than that."""

from pathlib import Path

import av
import pytest

from filmgate.cli.main import main
from filmgate.errors import Exit
from filmgate.media.codecs import CODECS
from filmgate.media.writing.encoder_probe import explain_encoder
from tests import videos


@pytest.mark.parametrize("codec", [name for name, codec in CODECS.items() if codec.exact])
def test_software_encoders_open(codec: str, capfd: pytest.CaptureFixture[str]) -> None:
    level = av.logging.get_level()
    assert explain_encoder(codec) == ""
    assert av.logging.get_level() == level
    assert capfd.readouterr() == ("", "")  # the libraries print banners


@pytest.mark.parametrize(
    ("codec", "needs"),
    [
        ("h264_nvenc", "it needs an NVIDIA GPU and its driver; pass --codec h264"),
        ("av1_nvenc", "it needs an NVIDIA GPU and its driver; pass --codec av1"),
        ("hevc_qsv", "it needs an Intel GPU and its driver; pass --codec hevc"),
        ("hevc_videotoolbox", "it needs macOS; pass --codec hevc"),
    ],
)
def test_encoder_that_does_not_open_is_answered_with_the_cause_and_another(
    codec: str, needs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It said "does not accept 64x48 yuv420p with {...}", as if the video were at fault."""
    if not explain_encoder(codec):
        pytest.skip(f"{codec} works here")
    source = videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    words = ["convert", str(source), str(tmp_path / "out.mp4"), "--codec", codec, "--in-process"]
    assert main(words) == Exit.USER
    error = capsys.readouterr().err
    assert needs in error
    assert "does not accept" not in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
