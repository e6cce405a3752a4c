"""Check one uploaded file in a process of its own: `python -m ... FILE BYTES SECONDS`.

Prints {"file": {...}} or {"error": message} as JSON. Everything that the file is, is untrusted:
where the system can, address space, CPU time and files to write are limited first.
"""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_MAX_FILES = 64
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*")


def main(words: list[str]) -> int:
    """Print what the file is."""
    path, memory_bytes, seconds = Path(words[0]), int(words[1]), int(words[2])
    limit_process(memory_bytes, seconds)
    from filmgate.errors import FilmgateError

    try:
        answer: dict[str, Any] = {"file": check_file(path)}
    except (FilmgateError, MemoryError) as error:
        answer = {"error": _explain(error) or "it needs more memory than a check may take"}
    print(json.dumps(answer))
    return 0


def _explain(error: BaseException) -> str:
    """Return what is wrong, without flags that an upload does not have."""
    from filmgate.media.reading.decoder import REMEDY

    return str(error).replace(REMEDY, "upload an intact copy")


def limit_process(memory_bytes: int, seconds: int) -> None:
    """Limit what this process may take; Windows has no such call, there only time is limited."""
    if sys.platform == "win32":
        return
    import resource

    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
    ):
        _, hard = resource.getrlimit(kind)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))


def check_file(path: Path) -> dict[str, Any]:
    """Return kind, SHA-256 and properties of a file: a video, an image, audio or boxes.

    Its name says nothing. Raises UserError.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        head = file.read(512)
    kind, info = _describe(path, head)
    return {"kind": kind, "sha256": sha256, "info": info}


def _describe(path: Path, head: bytes) -> tuple[str, dict[str, Any]]:
    from filmgate.errors import UserError
    from filmgate.media.containers.detection import is_video_with_image_name

    if head.lstrip()[:1].isdigit() or head.lstrip()[:1] == b"{":
        return "records", _describe_boxes(path)
    is_image = head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    if is_image and not is_video_with_image_name(path):
        return "image", _describe_image(path)
    try:
        return "video", _describe_video(path)
    except UserError:
        with suppress(UserError):  # the error about the video says more
            return "audio", _describe_audio(path)
        raise


def _describe_boxes(path: Path) -> dict[str, Any]:
    from filmgate.media.records.box_reader import read_boxes

    return {"boxes": len(read_boxes(path).frames)}


def _describe_image(path: Path) -> dict[str, Any]:
    """Decode the image; its size is as stored, before EXIF turns it."""
    from filmgate.media.images.image_decoder import decode_image
    from filmgate.media.images.image_file import MAX_PIXELS

    frame, _ = decode_image(path, MAX_PIXELS)  # without ImageFile.read, which loads torch
    return {"width": frame.width, "height": frame.height}


def _describe_audio(path: Path) -> dict[str, Any]:
    """Decode the first second."""
    from filmgate.media.audio.audio_file import AudioFile

    with AudioFile(path).open(threads=1):
        return {}


def _describe_video(path: Path) -> dict[str, Any]:
    """Decode the first frame; the streams are those of the header."""
    from filmgate.media.probe import probe
    from filmgate.media.sources import VideoFile

    with VideoFile(path).open(threads=1) as video:
        spec = video.spec
    found = probe(path, header=True)
    return {
        "container": found.container,
        "width": spec.width,
        "height": spec.height,
        "rate": float(spec.rate) if spec.rate else None,
        "frames": spec.frames,
        "duration_s": float(found.duration) if found.duration is not None else None,
        "streams": [{"kind": one.kind, "codec": one.codec} for one in found.streams[:100]],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
