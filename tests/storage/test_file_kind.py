"""A path that names no file is refused before anything opens it, and other files are kept."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from filmgate.backends.trace import Trace
from filmgate.errors import BadInput, BadSetting, UserError
from filmgate.media.images.numbering import find_images
from filmgate.media.options import EncodeOptions
from filmgate.media.records.text import JsonLines
from filmgate.media.records.writer import RecordWriter
from filmgate.media.sources import VideoFile
from filmgate.storage.file_kind import (
    check_input_file,
    check_output_file,
    check_replaceable,
    describe_other_kind,
)
from filmgate.storage.fingerprint import sample_fingerprint
from filmgate.tasks.job_config import job_from_toml

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no pipes and sockets as files")


@pytest.fixture(params=["a pipe", "a socket", "a folder", "a device"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Yield a kind, and a path of that kind that ends in .png."""
    if sys.platform == "win32":
        pytest.skip("Windows has no pipes and sockets as files")
    path = tmp_path / "x.png"
    with socket.socket(socket.AF_UNIX) as endpoint:
        if request.param == "a pipe":
            os.mkfifo(path)
        elif request.param == "a folder":
            path.mkdir()
        elif request.param == "a device":
            path.symlink_to("/dev/zero")
        else:
            folder = Path.cwd()
            os.chdir(tmp_path)  # the name of a socket has at most 108 bytes
            endpoint.bind("x.png")
            os.chdir(folder)
        yield request.param, path


OPENERS: dict[str, Callable[[Path], object]] = {
    "input": lambda path: check_input_file(path, "a video"),
    "output": check_output_file,
    "report": lambda path: check_replaceable(path, b"<", "a page"),
    "fingerprint": sample_fingerprint,
    "video": lambda path: VideoFile(path).open(),
    "job": job_from_toml,
    "records": lambda path: RecordWriter(path, JsonLines(), overwrite=True, checkpoints=None),
    "trace": Trace,
}


@pytest.mark.parametrize("name", OPENERS)
def test_what_is_no_file_is_refused_by_its_kind(other: tuple[str, Path], name: str) -> None:
    kind, path = other
    with pytest.raises(UserError, match=f"{kind}|can't be read"):
        OPENERS[name](path)
    assert describe_other_kind(path) == kind


def test_pipe_among_images_is_named(other: tuple[str, Path]) -> None:
    kind, path = other
    with pytest.raises(BadInput, match=f"x.png is {kind}, wanted an image"):
        find_images(path.parent / "*.png")


def test_output_of_a_video_never_replaces_another_kind(other: tuple[str, Path]) -> None:
    from filmgate.core.source_metadata import SourceMetadata
    from filmgate.media.writing.output_file import check_output

    kind, path = other
    options = EncodeOptions(path=path, suffix=".mp4", overwrite=True)
    with pytest.raises(BadSetting, match=f"the output .* is {kind}"):
        check_output(options, SourceMetadata())
    assert describe_other_kind(path) == kind


def test_missing_file_and_dangling_link_have_their_own_errors(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="none does not exist: check the name, or pass a video"):
        check_input_file(tmp_path / "none", "a video")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(BadInput, match="link is a link to nowhere, which does not exist"):
        check_input_file(tmp_path / "link", "a video")


def test_trace_replaces_a_trace_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    Trace(path).close()
    Trace(path).close()
    path.write_bytes(b"a video of the user")
    for append in (False, True):
        with pytest.raises(BadSetting, match=r"trace\.json exists and is not a trace"):
            Trace(path, append=append)
    assert path.read_bytes() == b"a video of the user"
