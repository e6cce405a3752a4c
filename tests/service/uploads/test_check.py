"""Uploaded files are checked by another process, within limits."""

from __future__ import annotations

import hashlib
import sys
import wave
from pathlib import Path

import pytest
from PIL import Image

from filmgate.errors import BadInput, UserError
from filmgate.service.uploads.check import CheckLimits, check_upload
from filmgate.service.uploads.check_process import check_file
from tests.videos import VIDEOS, make

ROWS = '{"frame": 0, "box": [1, 2, 3, 4], "score": 0.5}\n'


def test_a_video_is_described(tmp_path: Path) -> None:
    path = tmp_path / "a.data"
    make(VIDEOS["sound"], tmp_path / "a.mp4").rename(path)
    found = check_upload(path, "a.mp4")
    assert (found.kind, found.sha256) == ("video", hashlib.sha256(path.read_bytes()).hexdigest())
    assert (found.info["width"], found.info["frames"]) == (64, 12)
    assert [stream["kind"] for stream in found.info["streams"]] == ["video", "audio"]


def test_boxes_are_not_taken_for_videos(tmp_path: Path) -> None:
    path = tmp_path / "boxes.data"
    for text in (ROWS * 3, "1,1,10,20,30,40,1\n" * 3):
        path.write_text(text)
        found = check_file(path)
        assert (found["kind"], found["info"]) == ("records", {"boxes": 3})


def test_images_and_audio_are_found_by_their_content(tmp_path: Path) -> None:
    path = tmp_path / "x.data"
    with wave.open(str(path), "wb") as audio:
        audio.setparams((1, 2, 8000, 0, "NONE", ""))
        audio.writeframes(bytes(8000))
    assert check_file(path)["kind"] == "audio"
    for kind in ("png", "webp"):
        Image.new("RGB", (40, 30), "red").save(path, format=kind)
        found = check_file(path)
        assert (found["kind"], found["info"]) == ("image", {"width": 40, "height": 30})
        path.write_bytes(path.read_bytes()[:30])
        with pytest.raises(UserError):
            check_file(path)


@pytest.mark.fault(23)
@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n",
        b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        b"\0" * 1000,
        b"{",
        b"1" * 100_000,
        b"[" * 100_000,
        b"\x1a\x45\xdf\xa3" + b"\xff" * 5000,
        b"\x00\x00\x00\x20ftypisom" + b"\xff" * 5000,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_a_hostile_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.data"
    path.write_bytes(data)
    with pytest.raises(BadInput) as refused:
        check_upload(path, "my clip")
    assert str(path) not in str(refused.value)
    assert "Traceback" not in str(refused.value)


@pytest.mark.fault(22)
def test_a_check_that_takes_too_long_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.data"
    path.write_bytes(b"x")
    with pytest.raises(BadInput, match="cannot be checked in 0 s"):
        check_upload(path, "my clip", CheckLimits(seconds=0.01))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of address space")
@pytest.mark.fault(22)
def test_a_check_that_takes_too_much_memory_ends(tmp_path: Path) -> None:
    path = make(VIDEOS["sound"], tmp_path / "a.mp4")
    with pytest.raises(BadInput, match="memory"):
        check_upload(path, "my clip", CheckLimits(memory_bytes=60_000_000))


@pytest.mark.parametrize(
    "answer",
    [b"", b"{", b"[]", b'{"file": {"kind": "exe", "sha256": "x", "info": {}}}', b"\xff" * 100],
)
def test_an_answer_that_is_none_refuses_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """The process read an untrusted file, so what it prints is not believed."""
    from subprocess import CompletedProcess

    path = tmp_path / "x.data"
    path.write_bytes(b"x")
    done = CompletedProcess[bytes]([], -11, answer)
    monkeypatch.setattr("filmgate.service.uploads.check.subprocess.run", lambda *_, **__: done)
    with pytest.raises(BadInput, match="ended with code -11"):
        check_upload(path, "my clip")
