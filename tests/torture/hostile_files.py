"""Mutated videos, images and job files of many containers: read, or refused with a message."""

import random
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext

from filmgate.errors import Exit
from tests import videos
from tests.jobs.test_damaged_directories import harm
from tests.media.old_videos import CONTAINERS, OldVideo, make_old
from tests.torture.commands import (
    BYSTANDER,
    check_end,
    read_files,
    require,
    run_filmgate,
    run_forked,
)

_MILLI = Fraction(1, 1000)
_RAW = videos.Video(frames=8, options=MappingProxyType({}))
_PLAIN = videos.Video(frames=8, options=MappingProxyType({**videos.X264, "threads": "1"}))
# Small files whose mutations are tried: name and how it is made.
VIDEOS: Mapping[str, videos.Video] = MappingProxyType(
    {
        "a.mp4": replace(_PLAIN, sounds=("aac",), chapters=True),
        "fragments.mp4": replace(_PLAIN, container={"movflags": "frag_keyframe+empty_moov"}),
        "a.mov": replace(_RAW, codec="mjpeg", pixels="yuvj420p"),
        "a.mkv": replace(_RAW, codec="ffv1", tick=_MILLI, subtitles="subrip", attachment=True),
        "a.webm": replace(_RAW, codec="libvpx-vp9", tick=_MILLI, options={"deadline": "realtime"}),
        "a.avi": replace(_RAW, codec="mpeg4", tick=Fraction(1, 25)),
        "a.ts": replace(_PLAIN, sounds=("aac",), tick=Fraction(1, 90000)),
        "hevc.mov": replace(
            _RAW,
            codec="libx265",
            sounds=("pcm_s16le",),
            options={"x265-params": "log-level=none:pools=1"},
        ),
        "a.nut": replace(_RAW, codec="ffv1"),
        "a.gif": replace(_RAW, codec="gif", pixels="gray", tick=Fraction(1, 100)),
        "a.apng": replace(_RAW, codec="apng", pixels="gray", tick=Fraction(1, 25)),
        "a.y4m": replace(_RAW, codec="wrapped_avframe", tick=Fraction(1, 25)),
    }
)
# Those of discs, tapes, cameras and downloads.
OLD: Mapping[str, OldVideo] = MappingProxyType(
    {**CONTAINERS, "anim.webp": OldVideo("libwebp_anim", pixels="bgra", options={})}
)
IMAGES = {"a.png": "png", "a.jpg": "mjpeg", "a.webp": "libwebp", "a.tiff": "tiff"}
JOB = """input = "good.mp4"
output = {path = "out.mkv", codec = "ffv1"}
seed = 7
[[tasks]]
task = "interpolate"
factor = 2
"""
# What reads a video in other ways; with --join an intact file follows it.
FLAGS = ((), ("--keep-going",), ("--deinterlace", "fields"), ("--start", "0.2"), ("--join",),
         ("--audio", "encode"))  # fmt: skip
_WORDS = (bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\1", b"\xff" * 8)


def make_files(folder: Path) -> int:
    """Write the small files and return the exit code 0."""
    for name, spec in VIDEOS.items():
        videos.make(spec, folder / name)
    for name, old in OLD.items():
        make_old(replace(old, frames=min(old.frames, 8)), folder / name)
    for name, codec in IMAGES.items():
        (folder / name).write_bytes(encode_image(codec))
    (folder / "job.toml").write_text(JOB)
    return 0


def encode_image(codec: str) -> bytes:
    """Return one image, 64 x 48."""
    context = av.CodecContext.create(codec, "w")
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.time_base = 64, 48, Fraction(1, 25)
    context.pix_fmt = next(f.name for f in av.Codec(codec, "w").video_formats or ())
    grey = np.repeat(videos.draw_image(5, 64, 48)[..., None], 3, axis=2)
    frame = av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format=context.pix_fmt)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def mutate(data: bytes, other: bytes, random_: random.Random) -> bytes:
    """Return `data` after one to four changes of bits, numbers, parts, or parts of `other`."""
    for _ in range(random_.randint(1, 4)):
        # half of the changes are near the start, where most containers have their tables
        at = random_.randrange(min(len(data), 300) if random_.random() < 0.5 else len(data))
        size = random_.randrange(1, max(2, 1 + len(data) // 4))
        word, bit = random_.choice(_WORDS), bytes([data[at] ^ 1 << random_.randrange(8)])
        data = random_.choice((
            data[:at] + bit + data[at + 1 :],
            data[:at] + word + data[at + len(word) :],
            data[:at] + word + data[at:],
            data[:at] + data[at + size :],
            data[:at] + data[at : at + size] * 2 + data[at + size :],
            data[:at] + other[at : at + size] + data[at + size :],
            data[: max(1, at)],
        )) or b"\0"  # fmt: skip
    return data


def prepare(folder: Path, only: Collection[str] = (), kinds: int = 1) -> Callable[[int], int]:
    """Return the attempt: one mutated file, which is probed and converted, or run as a job.

    `only` these files; with the first `kinds` of FLAGS, those of a file by turns.
    """
    originals, place, log = folder / "originals", folder / "files", folder / "log"
    originals.mkdir()
    # in a fork: encoders leave threads behind, and the next fork would not have them
    check_end(run_forked(partial(make_files, originals), originals, log), (0,), "making the files")
    files = read_files(originals)
    names = [name for name in files if not only or name in only]

    def attempt(number: int) -> int:
        random_, name = random.Random(number), names[number % len(names)]
        flags = FLAGS[number // len(names) % kinds]
        other = files[random_.choice(names)]
        data = files[name]
        data = harm(data, random_) if name == "job.toml" else mutate(data, other, random_)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / name).write_bytes(data)
        (place / BYSTANDER).write_text("precious")
        (place / "good.mp4").write_bytes(files["a.mp4"])
        (place / f"next_{name}").write_bytes(files[name])
        before = read_files(place)
        check_file(place, name, flags, f"case {number}, {name}", log)
        after = read_files(place)
        require({key: after.get(key) for key in before} == before, "lost", f"case {number}")
        return 1

    return attempt


def prepare_old(folder: Path) -> Callable[[int], int]:
    """Return the attempt with one file of a disc, a tape, a camera or a download."""
    return prepare(folder, only=[*OLD, "a.apng"], kinds=len(FLAGS))


def check_file(place: Path, name: str, flags: Sequence[str], what: str, log: Path) -> None:
    """Probe and convert a file: a result and exit code 0 or 4, or none and exit code 2."""
    parts = [f"next_{name}"] if "--join" in flags else []
    convert = ["convert", name, *parts, "out.mkv", "--codec", "ffv1", *flags]
    commands = [["run", name]] if name == "job.toml" else [["probe", name], convert]
    for command in commands:
        call = partial(run_filmgate, [*command, *(["--quiet"] if command[0] != "probe" else [])])
        ended = run_forked(call, place, log)
        allowed = (Exit.DONE, Exit.USER, Exit.REPAIRED)
        check_end(ended, allowed, f"{what}, {command[0]}")
        if ended.code == Exit.USER:
            require("filmgate: " in ended.output, "wrong", f"{what}: no message: {ended.output}")
            left = sorted(path.name for path in place.glob("out*"))
            require(not left or name == "job.toml", "wrong", f"{what}: refused, {left} is left")
    if name != "job.toml" and ended.code != Exit.USER:
        require((place / "out.mkv").exists(), "wrong", f"{what}: exit code {ended.code}, no result")
