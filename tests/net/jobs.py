"""Jobs whose decoded outputs are recorded: `python -m tests.net.jobs record`, `compare`, `show`.

`record` writes this machine's hashes to outputs.json; `compare` says which jobs changed; `show JOB`
prints what is hashed, so that the outputs of two checkouts can be compared line by line.
"""

import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import MappingProxyType
from unittest.mock import patch

import cv2
import torch

from filmgate.cli.main import main as filmgate
from tests.net.decoded import describe_outputs, hash_outputs
from tests.net.sources import SOURCES

RECORDED = Path(__file__).with_name("outputs.json")
RECORD = "python -m tests.net.jobs record"
ALWAYS = ("--in-process", "--quiet")
PACKAGES = ("av", "numpy", "opencv-contrib-python-headless", "diffusers", "spandrel")


@dataclass(frozen=True)
class Job:
    """Command lines, run one after the other in an empty folder, and the exit code of each.

    Words that are names of `SOURCES` are made there first; outputs are called out*.
    """

    lines: tuple[str, ...]
    codes: tuple[int, ...]


def job(*lines: str, codes: Sequence[int] = ()) -> Job:
    return Job(lines, tuple(codes) or (0,) * len(lines))


LOSSLESS = "--codec ffv1"
JOBS: Mapping[str, Job] = MappingProxyType(
    {
        "convert": job(f"convert b_frames.mp4 out.mkv {LOSSLESS}"),
        "convert_nut": job(f"convert late_start.mp4 out.nut {LOSSLESS}"),
        "convert_h264_streams": job("convert rich_mp4.mp4 out.mp4 --preset veryfast --crf 23"),
        "convert_hevc": job("convert ten_bits.mkv out.mp4 --codec hevc --preset ultrafast"),
        "streams_mkv": job(f"convert rich.mkv out.mkv {LOSSLESS}"),
        "streams_mkv_to_mp4": job(f"convert words.mkv out.mp4 {LOSSLESS}"),
        "cover": job(f"convert cover_mkv.mkv out.mkv {LOSSLESS}"),
        "other_video": job(f"convert two_videos.mp4 out.mkv {LOSSLESS} --video 0"),
        "trim_times": job(f"convert rich.mkv out.mkv {LOSSLESS} --from 0.1 --to 0.4"),
        "trim_frames": job(f"convert open_gop.mp4 out.mkv {LOSSLESS} --from 0.3 --frames 9"),
        "deinterlace": job(f"convert fields.mp4 out.mkv {LOSSLESS} --deinterlace"),
        "tonemap": job(f"convert hdr.mkv out.mkv {LOSSLESS} --tonemap"),
        "fit_pad": job("convert odd_half.mkv out.mp4 --fit pad --preset veryfast"),
        "keep_going": job(f"convert cut.mkv out_cut.mkv {LOSSLESS} --keep-going",
                          f"convert scratched.mp4 out.mkv {LOSSLESS} --keep-going", codes=(4, 4)),
        "rotated": job(f"convert turned.mp4 out.mp4 {LOSSLESS}"),
        "alpha": job(f"convert alpha.mkv out.mkv {LOSSLESS}",
                     "convert alpha.mkv out.mov --codec prores --pix-fmt yuva444p10le"),
        "factor_2": job(f"interpolate broadcast.mp4 out.mkv {LOSSLESS} --factor 2"),
        "factor_5_2": job(f"interpolate odd.mp4 out.mkv {LOSSLESS} --factor 5/2 --ends drop"),
        "fps_60": job(f"interpolate uneven_mkv.mkv out.mkv {LOSSLESS} --fps 60"),
        "factor_2_uneven_h264": job("interpolate uneven.mp4 out.mp4 --preset veryfast"),
        "slow_2": job(f"interpolate rich.mkv out.mkv {LOSSLESS} --slow 2"),
        "slow_drop": job(f"interpolate sound.mp4 out.mkv {LOSSLESS} --slow 2 --sound drop"),
        "film": job(f"interpolate small.mkv out.mkv {LOSSLESS} --no-guard "
                    "--model film.safetensors"),
        "compact_2": job(f"upscale small.mkv out.mkv {LOSSLESS}"),
        "compact_4_steady": job(f"upscale small.mkv out.mkv {LOSSLESS} --scale 4 --steady"),
        "image": job(f"upscale small.mkv out.mkv {LOSSLESS} --model image "
                     "--weights image.safetensors"),
        "diffvsr": job(f"upscale small.mkv out.mkv {LOSSLESS} --scale 4 --model diffvsr --no-guard "
                       "--weights diffvsr --flow dis --steps 2 --seed 7"),
        "two_tasks": job("run job.toml"),
        "images_out": job("interpolate even.mkv out/%04d.png --frames 6"),
        "images_in": job(f"convert images out.mkv {LOSSLESS} --in-fps 12"),
        "gif_in": job(f"interpolate moving.gif out.mkv {LOSSLESS}"),
        "resumed": job(f"interpolate long.mkv out.mkv {LOSSLESS} --segment 0.3 --pause-after 0",
                       f"interpolate long.mkv out.mkv {LOSSLESS} --segment 0.3", codes=(130, 0)),
        "cached": job(f"interpolate even.mkv out_1.mkv {LOSSLESS} --cache",
                      f"interpolate even.mkv out_2.mkv {LOSSLESS} --cache"),
    }
)  # fmt: skip


def machine_key() -> str:
    """What may change bits without a change of ours: the CPU's instructions, libraries."""
    cpu = sha256(cv2.getCPUFeaturesLine().encode()).hexdigest()[:8]
    versions = [f"{name.partition('-')[0]}-{version(name)}" for name in PACKAGES]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return " ".join((platform.machine(), cpu, *versions, f"torch-{torch.__version__}", device))


@contextlib.contextmanager
def outputs(name: str) -> Iterator[Path]:
    """A folder with the outputs of a job, made now. Raises AssertionError for a wrong exit code."""
    with TemporaryDirectory(prefix="filmgate_net") as place, contextlib.chdir(place):
        folder = Path(place)
        aside = {"FILMGATE_CACHE": str(folder / "cache"), "FILMGATE_MODELS": str(folder / "models")}
        with patch.dict(os.environ, aside):
            for line, code in zip(JOBS[name].lines, JOBS[name].codes, strict=True):
                words = line.split()
                for word in SOURCES.keys() & set(words):
                    if not (folder / word).exists():
                        SOURCES[word](folder / word)
                got = filmgate([*words, *ALWAYS])
                assert got == code, f"{line}: exit code {got}, wanted {code}"
        yield folder


def hashed(name: str) -> str:
    """The SHA-256 of a job's outputs, made now."""
    with outputs(name) as folder:
        assert list(folder.glob("out*")), f"{name} made no output"
        return hash_outputs(folder)


def recorded() -> dict[str, str]:
    """The hashes recorded for this machine, by job; empty if there are none."""
    return _known().get(machine_key(), {})


def _known() -> dict[str, dict[str, str]]:
    return dict(json.loads(RECORDED.read_text())) if RECORDED.exists() else {}


def record() -> int:
    """Write this machine's hashes, each job run twice; returns 1 if one does not repeat itself."""
    found: dict[str, str] = {}
    code = 0
    for name in JOBS:
        began = perf_counter()
        found[name], again = hashed(name), hashed(name)
        code |= found[name] != again
        said = "recorded" if found[name] == again else "NOT THE SAME TWICE"
        print(f"{name:24} {said}  {perf_counter() - began:.1f} s", flush=True)
    if not code:
        known = {**_known(), machine_key(): found}
        RECORDED.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    return code


def compare() -> int:
    """Say of each job whether its outputs are the recorded ones; returns 1 if any is not."""
    wanted, changed = recorded(), False
    if not wanted:
        print(f"nothing is recorded for this machine ({machine_key()}): {RECORD} does it")
        return 1
    for name in JOBS:
        same = hashed(name) == wanted.get(name)
        changed |= not same
        print(f"{name:24} {'same' if same else 'CHANGED'}", flush=True)
    return int(changed)


def main(words: Sequence[str]) -> int:
    torch.set_num_threads(1)
    match words:
        case ["record"]:
            return record()
        case ["compare"]:
            return compare()
        case ["show", name]:
            with outputs(name) as folder:
                print(*describe_outputs(folder), sep="\n")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
