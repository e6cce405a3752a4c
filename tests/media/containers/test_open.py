"""Errors of FFmpeg while a file is opened or written."""

from pathlib import Path

import av
import pytest

from filmgate.errors import FilmgateError
from filmgate.media.containers.open import translate_write_errors


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("out.mp4", "check that its folder is writable and its disk has room"),
        ("-", "check that the program that reads the pipe did not stop early"),
    ],
)
def test_write_error_says_what_to_check(name: str, hint: str) -> None:
    with pytest.raises(FilmgateError, match=hint), translate_write_errors(Path(name)):
        raise av.FFmpegError(32, "Broken pipe")
