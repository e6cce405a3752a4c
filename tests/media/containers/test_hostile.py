"""Hostile files are refused quickly, in little memory, and no other file is opened."""

import json
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from filmgate.errors import BadInput
from filmgate.media.containers.detection import STARTS
from filmgate.media.containers.open import open_container
from tests.media.old_videos import CONTAINERS, make_old
from tests.videos import VIDEOS, make

_MIB = 1 << 20

# Opens each file of its arguments and prints the result.
_CHILD = """
import json, os, re, sys, time
from pathlib import Path
from filmgate.errors import UserError
from filmgate.media.sources import VideoFile
list(VideoFile(Path(sys.argv[1])).open().iter_times())  # FFmpeg is loaded and warm
for path in sys.argv[2:]:
    os.access(f"/marker/{path}", os.R_OK)
    begin = time.process_time()
    try:
        for _ in VideoFile(Path(path)).open(threads=1).read(None, 8):
            pass
        message = None
    except UserError as error:
        message = str(error)
    status = Path("/proc/self/status").read_text()  # getrusage would count what the parent held
    peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])
    print(json.dumps([path, message, time.process_time() - begin, peak]), flush=True)
"""


def _box(kind: bytes, *parts: bytes) -> bytes:
    inside = b"".join(parts)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def _png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def _patched(data: bytes, kind: bytes, at: int, new: bytes) -> bytes:
    """Return `data` with bytes replaced at offset `at` from the first `kind`."""
    where = data.index(kind) + at
    return data[:where] + new + data[where + len(new) :]


def _elsewhere(data: bytes, target: Path) -> bytes:
    """Return an mp4 whose samples are in another file, by its data reference."""
    name = str(target).encode()
    # an alias record with nothing in its 150 fixed bytes, then field 2: the absolute path
    alias = bytes(150) + struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2)
    alias += b"\xff\xff\0\0"
    entry = _box(b"alis", struct.pack(">I", 0), alias)
    at = data.index(b"dref") - 4
    old = int.from_bytes(data[at : at + 4], "big")
    new = _box(b"dref", bytes(4), struct.pack(">I", 1), entry)
    grown = data[:at] + new + data[at + old :]
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        where = grown.index(kind) - 4
        size = int.from_bytes(grown[where : where + 4], "big") + len(new) - old
        grown = grown[:where] + struct.pack(">I", size) + grown[where + 4 :]
    return grown


def _refer(name: bytes) -> bytes:
    """Return the boxes of a QuickTime reference movie."""
    rdrf = _box(b"rdrf", bytes(4), b"url ", struct.pack(">I", len(name)), name)
    return _box(b"moov", _box(b"rmra", _box(b"rmda", rdrf)))


def _locate(mxf: bytes, target: Path) -> bytes:
    """Return an mxf whose metadata says that its essence is in another file, as OP-Atom has it."""
    url = target.as_uri().encode("utf-16-be")
    locator = bytes.fromhex("060e2b34025301010d01010101013200")
    item = b"\x40\x01" + struct.pack(">H", len(url)) + url
    at = mxf.index(bytes.fromhex("060e2b34025301010d01010101012f00"))  # the preface
    return mxf[:at] + locator + b"\x83" + struct.pack(">I", len(item))[1:] + item + mxf[at:]


def _command(asf: bytes, target: Path) -> bytes:
    """Return an asf with a script command that opens another file."""
    url = (str(target) + "\0").encode("utf-16-le")
    guid = bytes.fromhex("301afb1e620bd011a39b00a0c90348f6")
    data = bytes(16) + struct.pack("<HHH", 1, 1, 3) + "URL".encode("utf-16-le")
    data += struct.pack("<IHH", 0, 0, len(url) // 2) + url
    made = guid + struct.pack("<Q", 24 + len(data)) + data
    size, count = struct.unpack("<QI", asf[16:28])
    head = asf[:16] + struct.pack("<QI", size + len(made), count + 1) + asf[28:30]
    return head + made + asf[30:]


def _texts(canary: Path, port: int) -> dict[str, bytes]:
    """Return files that are lists of other files: the canary, or a listener's URL."""
    far = f"http://127.0.0.1:{port}/a.ts"
    lists: dict[str, bytes] = {}
    for name, there in (("near", str(canary)), ("far", far)):
        list_ = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{there}\n#EXT-X-ENDLIST\n"
        lists |= {
            f"{name}.m3u8": list_.encode(),
            f"{name}_list.mp4": list_.encode(),
            f"{name}_list.avi": list_.encode(),
            f"{name}_bom.m3u8": b"\xef\xbb\xbf" + list_.encode(),
            f"{name}_blank.m3u8": b"\n  " + list_.encode(),
            f"{name}.ffconcat": f"ffconcat version 1.0\nfile '{there}'\n".encode(),
            f"{name}.mpd": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011">'
            f"<Period><AdaptationSet><Representation><BaseURL>{there}</BaseURL>"
            "</Representation></AdaptationSet></Period></MPD>".encode(),
            f"{name}.smil": f'<smil><body><video src="{there}"/></body></smil>'.encode(),
            f"{name}.url": f"[InternetShortcut]\nURL={there}\n".encode(),
            f"{name}.asx": f'<asx><entry><ref href="{there}"/></entry></asx>'.encode(),
            f"{name}.asf": f"[Reference]\r\nRef1={there}\r\n".encode(),
            f"{name}.ram": f"{there}\n".encode(),
            f"{name}.mov": _box(b"ftyp", b"qt  ", bytes(4)) + _refer(there.encode()),
            **{f"{name}_in.{format}": start + list_.encode() for start, format in STARTS.items()},
            f"{name}.rtsp": f"RTSPtext\nrtsp://127.0.0.1:{port}/a\n".encode(),
        }
    sdp = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=-\nc=IN IP4 127.0.0.1\nm=video {port} RTP/AVP 96\n"
    return lists | {"a.sdp": sdp.encode(), "page.html": b"<html></html>", "text.mp4": b"hello\n"}


def _bombs(mp4: bytes, mkv: bytes) -> dict[str, bytes]:
    """Return small files that declare huge contents."""
    nested = b""
    for _ in range(5000):
        nested = _box(b"moov", nested)
    trak = mp4[mp4.index(b"trak") - 4 :][: int.from_bytes(mp4[mp4.index(b"trak") - 4 :][:4], "big")]
    return {
        "bomb.png": _png(16000, 16000),
        "bomb.gif": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
        + b"," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\2\x44\1\0;",
        "bomb.webp": b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f" + bytes(9),
        "bomb.tiff": b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 256, 4, 1, 60000) + bytes(4),
        "bomb.y4m": b"YUV4MPEG2 W60000 H60000 F25:1 C420\nFRAME\n" + bytes(100),
        "nested.mp4": _box(b"ftyp", b"isom", bytes(4)) + nested,
        "streams.mp4": _box(b"ftyp", b"isom", bytes(4)) + _box(b"moov", trak * 5000),
        "huge_element.mkv": mkv[:60] + b"\x1a\x45\xdf\xa3\x01" + b"\xff" * 6 + b"\xfe" + bytes(99),
        "linked.mkv": mkv[:200],
        "empty.mp4": b"",
        "one.mp4": b"\0",
        "random.mp4": bytes((n * n * 31 + 7 * n) % 251 for n in range(5000)),
        "archive.mp4": b"PK\3\4" + bytes(100),
        "boxes.mp4": b"\0\0\0\x08ftyp" * 1000,
    }  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Path], Path]]:
    """Return a good video, the hostile files, and the file that none of them may open."""
    folder = tmp_path_factory.mktemp("hostile")
    good = make(VIDEOS["even"], folder / "good.mp4")
    mkv = make(VIDEOS["sound_mkv"], folder / "good.mkv").read_bytes()
    canary = make(VIDEOS["even"], folder / "canary.mp4")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        files = _texts(canary, listener.getsockname()[1]) | _bombs(good.read_bytes(), mkv)
        paths = []
        for name, data in files.items():
            paths.append(folder / name)
            paths[-1].write_bytes(data)
        (folder / "frame1.png").write_bytes(_png(16, 16))
        yield good, [*paths, folder / "frame%d.png"], canary
        with pytest.raises(BlockingIOError):
            listener.accept()  # no connection was made


@dataclass(frozen=True)
class Outcome:
    """What a child process said about a file; `message` is None if it was read as a video."""

    path: str
    message: str | None
    cpu_s: float
    peak_bytes: int


@dataclass(frozen=True)
class Outcomes:
    """Of the hostile files, and of videos that name another file; `log` is that of strace."""

    hostile: list[Outcome]
    pointing: list[Outcome]
    log: str


@pytest.fixture(scope="module")
def outcomes(corpus: tuple[Path, list[Path], Path]) -> Outcomes:
    """Open all files in one child process, under strace where it may trace."""
    good, files, canary = corpus
    folder = canary.parent
    others = {
        "elsewhere.mp4": _elsewhere(good.read_bytes(), canary),
        "located.mxf": _locate(_make_small("camera.mxf", folder), canary),
        "commanded.wmv": _command(_make_small("download.wmv", folder), canary),
    }
    for name, data in others.items():
        (folder / name).write_bytes(data)
    log = folder / "strace.log"
    calls = "trace=openat,open,connect,sendto,socket,access,faccessat,faccessat2"
    strace = ["strace", "-f", "--seccomp-bpf", "-e", calls, "-s", "500", "-o", str(log)]
    traced = bool(shutil.which("strace")) and _run([*strace, "true"]).returncode == 0
    paths = [good, *files, *(folder / name for name in others)]
    child = [sys.executable, "-c", _CHILD, *map(str, paths)]
    done = _run([*strace, *child] if traced else child)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]
    assert [Path(one.path) for one in found] == paths[1:]
    text = log.read_text(errors="replace") if traced else ""
    return Outcomes(found[: len(files)], found[len(files) :], text)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _make_small(name: str, folder: Path) -> bytes:
    return make_old(replace(CONTAINERS[name], frames=3), folder / name).read_bytes()


def test_hostile_files_are_refused_quickly_in_little_memory(outcomes: Outcomes) -> None:
    found = outcomes.hostile
    assert [one for one in found if one.message is None] == [], "read as a video"
    assert [one for one in found if one.cpu_s > 1] == [], "took more than a CPU second"
    assert [one for one in found if one.peak_bytes > 300 * _MIB] == [], "took more than 300 MB"


def test_no_other_file_is_opened_and_no_packet_is_sent(
    corpus: tuple[Path, list[Path], Path], outcomes: Outcomes
) -> None:
    canary = corpus[2]
    assert not outcomes.pointing[-1].message, "the video with a script command is not read"
    if not outcomes.log:
        pytest.skip("strace is not here, or may not trace")
    inside, own = False, ""
    for line in outcomes.log.splitlines():
        if found := re.search(r'"/marker/([^"]*)"', line):
            inside, own = True, found[1]
        elif inside:
            assert not re.search(r"\b(connect|sendto|socket)\(", line), f"{own}: {line}"
            touched = re.search(r'open(?:at)?\([^"]*"([^"]*)"', line)
            if touched and touched[1].startswith(str(canary.parent)):
                assert touched[1] == own, f"{own} made us open {touched[1]}"
    assert inside


@pytest.mark.parametrize("name", ["-", "-i", "file:x", "pipe:0", "http://127.0.0.1/a", "a\0b"])
def test_names_are_never_protocols_or_options(name: str) -> None:
    with pytest.raises(BadInput, match=r"does not exist|can't be read"), open_container(Path(name)):
        pass


def test_pipes_devices_and_folders_are_refused_without_waiting(tmp_path: Path) -> None:
    if sys.platform == "win32":
        pytest.skip("has no pipes and sockets as files")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BadInput, match="a pipe or a device"), open_container(tmp_path / "fifo"):
        pass
    with pytest.raises(BadInput, match="a pipe or a device"), open_container(Path("/dev/zero")):
        pass
    with pytest.raises(BadInput, match="a folder"), open_container(tmp_path):
        pass
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "s"))
        with pytest.raises(BadInput, match="can't be read"), open_container(tmp_path / "s"):
            pass
    make(VIDEOS["even"], tmp_path / "video.mp4")
    (tmp_path / "link").symlink_to("video.mp4")
    with open_container(tmp_path / "link") as container:
        assert container.streams.video


def test_too_large_frame_is_refused_with_the_flag_that_allows_it(tmp_path: Path) -> None:
    path = make(VIDEOS["even"], tmp_path / "video.mp4")
    with (
        pytest.raises(BadInput, match=r"pass --max-pixels \d+"),
        open_container(path, max_pixels=99),
    ):
        pass
