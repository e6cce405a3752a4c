"""`python -m tests.media.formats_table`: fill the table of docs/formats.md from what is tried.

Each cell is tried with a video of one second and its audio, the last five by the command line: in
a process of its own where it dies.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from fractions import Fraction
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from filmgate.cli.main import main
from filmgate.core.frame import Frame
from filmgate.errors import BadInput, Exit
from filmgate.media.containers.detection import DEMUXERS
from filmgate.media.pixels.planes import Planes
from filmgate.media.probe import probe
from filmgate.media.sources import VideoFile
from tests.house.tree import ROOT
from tests.media.old_videos import BARE, CONTAINERS, OldVideo, make_old
from tests.videos import read_number

PAGE = ROOT / "docs" / "formats.md"
START, END = "<!-- table of tests/media/formats_table.py -->", "<!-- end of table -->"
COLUMNS = ("frames", "times", "from any frame", "resumed after kill", "cut end", "audio to mp4",
           "mkv", "mov")  # fmt: skip
_X264 = CONTAINERS["camera.h264"].options
_OTHERS: Mapping[str, OldVideo] = MappingProxyType(
    {
        "a.mp4": OldVideo("libx264", options=_X264, audio="aac"),
        "a.mov": OldVideo("mjpeg", pixels="yuvj420p", options={}, audio="pcm_s16le"),
        "a.mkv": OldVideo("libx264", options=_X264, audio="libopus"),
        "a.webm": OldVideo("libvpx", options=CONTAINERS["page.ogv"].options, audio="libopus"),
        "a.avi": OldVideo("mpeg4", options={"g": "6", "bf": "2"}, audio="pcm_s16le", channels=2),
        "a.ts": OldVideo("mpeg2video", options=CONTAINERS["disc.vob"].options, audio="mp2"),
        "a.gif": OldVideo("gif", rate=Fraction(25), pixels="gray", options={}),
        "a.y4m": OldVideo("wrapped_avframe", options={}),
        "a.nut": OldVideo("ffv1", options={}, audio="pcm_s16le"),
        "a.apng": OldVideo("apng", pixels="gray", options={}),
        "a.webp": OldVideo("libwebp_anim", pixels="bgra", options={"lossless": "1"}),
    }
)  # fmt: skip
FILES: Mapping[str, OldVideo] = MappingProxyType({**_OTHERS, **CONTAINERS, **BARE})


def try_file(name: str, folder: Path) -> tuple[str, ...]:
    """Return the cells of the table for one file, made in `folder`."""
    spec = replace(FILES[name], frames=25)
    path = make_old(spec, folder / name)
    frames = _read(VideoFile(path))
    return (
        "yes" if [read_number(f) for f in frames] == list(range(spec.frames)) else "NO",
        "yes" if [f.time for f in frames] == [n / spec.rate for n in range(spec.frames)] else "NO",
        "yes" if _reads_from_anywhere(path, frames) else "NO",
        "yes" if _resumes(path, folder) else "NO",
        _cut(path, folder, len(frames)),
        *(_convert_audio(path, folder / f"out{suffix}") for suffix in (".mp4", ".mkv", ".mov")),
    )


def _read(video: VideoFile) -> list[Frame]:
    return [frame for frames, _ in video.open(threads=1).read(None, 8) for frame in frames]


def _digest(frame: Frame) -> tuple[Fraction, str]:
    assert isinstance(frame.image, Planes)
    data = b"".join(plane.tobytes() for plane in frame.image.arrays)
    return frame.end, hashlib.sha256(data).hexdigest()


def _reads_from_anywhere(path: Path, frames: list[Frame]) -> bool:
    reader = VideoFile(path).open(threads=1)
    cursors = [cursor for _, cursor in reader.read(None, 1)][:-1]
    for cursor in cursors[::3]:
        found = [frame for some, _ in reader.read(cursor, 8) for frame in some]
        if [_digest(f) for f in found] != [_digest(f) for f in frames[cursor.index :]]:
            return False
    start = frames[len(frames) // 2].time
    found = _read(VideoFile(path, start=start))
    return [_digest(f)[1] for f in found] == [_digest(f)[1] for f in frames[len(frames) // 2 :]]


def _run(*words: object) -> int:
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        return main([*map(str, words), "--in-process", "--quiet"])


def _run_and_kill(*words: object) -> int:
    """Run in a process that is killed before its third commit."""
    command = [sys.executable, "-m", "filmgate.cli.main", *map(str, words), "--quiet"]
    fault = {"FILMGATE_IN_PROCESS": "yes", "FILMGATE_FAULT": "encode.before_commit=kill@3"}
    environment = os.environ | fault
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


def _resumes(path: Path, folder: Path) -> bool:
    """Whether a run that is killed after its second segment gives the frames of a complete one."""
    flags = ("--codec", "ffv1", "--segment", "0.1")
    out, other = folder / "killed.mkv", folder / "complete.mkv"
    died = _run_and_kill("convert", path, out, *flags)
    if died == Exit.DONE or _run("convert", path, out, *flags) != Exit.DONE:
        return False
    done = _run("convert", path, other, *flags)
    both = [[_digest(frame) for frame in _read(VideoFile(file))] for file in (out, other)]
    return done == Exit.DONE and both[0] == both[1]


def _cut(path: Path, folder: Path, count: int) -> str:
    """Return what happens with a part of a file: refused, reported or unknown."""
    cut = folder / f"cut{path.suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 13 // 20])
    try:
        frames = _read(VideoFile(cut))
    except BadInput:
        return "refused"
    reported = any("truncated" in str(frame.extras.get("notice")) for frame in frames)
    return "yes" if len(frames) == count else "reported" if reported else "not seen"


def _convert_audio(path: Path, out: Path) -> str:
    """Return the codec of the audio in the result."""
    audio = [stream.codec for stream in probe(path, header=True).streams if stream.kind == "audio"]
    if not audio:
        return ""
    flags = ("--codec", "ffv1") if out.suffix == ".mkv" else ("--preset", "ultrafast")
    if _run("convert", path, out, *flags) != Exit.DONE:
        return "NO"
    kept = [stream.codec for stream in probe(out, header=True).streams if stream.kind == "audio"]
    return kept[0] if kept else "left out"


def build_table(try_: Callable[[str, Path], tuple[str, ...]] = try_file) -> str:
    """Return the table in Markdown."""
    lines = [f"| file | {' | '.join(COLUMNS)} |", f"| --- |{' --- |' * len(COLUMNS)}"]
    for name in FILES:
        with TemporaryDirectory(prefix="filmgate_formats") as place:
            cells = try_(name, Path(place))
        spec = FILES[name]
        what = f"{Path(name).suffix[1:]}: {spec.codec.removeprefix('lib')}"
        what += f", {spec.audio.removeprefix('lib')}" if spec.audio else ""
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def read_page() -> str:
    """Return the table in the page."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index(START) + len(START) : text.index(END)].strip()


def find_untried() -> set[str]:
    """Return the demuxers that no file of the table has."""
    with TemporaryDirectory(prefix="filmgate_formats") as place:
        folder = Path(place)
        tried = {
            probe(make_old(replace(spec, frames=3), folder / name), header=True).container
            for name, spec in FILES.items()
        }
    return set(DEMUXERS) - {part for name in tried for part in name.split(",")}


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, after = text[: text.index(START) + len(START)], text[text.index(END) :]
    PAGE.write_text(f"{before}\n{build_table()}\n{after}", encoding="utf-8")
