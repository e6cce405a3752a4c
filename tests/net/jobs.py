"""Jobs whose decoded outputs are recorded: `python -m tests.net.jobs record`, `compare`, `show`.

`record` writes this machine's hashes to outputs.json; `compare` reports which jobs changed;
`show JOB` prints what is hashed, so that outputs of two checkouts can be compared line by line.
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

    Arguments that are names of `SOURCES` are generated first; outputs are named out*.
    """

    commands: tuple[str, ...]
    codes: tuple[int, ...]


def make_job(*lines: str, codes: Sequence[int] = ()) -> Job:
    return Job(lines, tuple(codes) or (0,) * len(lines))


LOSSLESS = "--codec ffv1"
JOBS: Mapping[str, Job] = MappingProxyType(
    {
        "convert": make_job(f"convert b_frames.mp4 out.mkv {LOSSLESS}"),
        "convert_nut": make_job(f"convert late_start.mp4 out.nut {LOSSLESS}"),
        "convert_h264_streams": make_job("convert rich_mp4.mp4 out.mp4 --preset veryfast --crf 23"),
        "convert_hevc": make_job("convert ten_bits.mkv out.mp4 --codec hevc --preset ultrafast"),
        "streams_mkv": make_job(f"convert rich.mkv out.mkv {LOSSLESS}"),
        "streams_mkv_to_mp4": make_job(f"convert words.mkv out.mp4 {LOSSLESS}"),
        "cover": make_job(f"convert cover_mkv.mkv out.mkv {LOSSLESS}"),
        "other_video": make_job(f"convert two_videos.mp4 out.mkv {LOSSLESS} --stream 0"),
        "trim_times": make_job(f"convert rich.mkv out.mkv {LOSSLESS} --start 0.1 --end 0.4"),
        "trim_frames": make_job(
            f"convert open_gop.mp4 out.mkv {LOSSLESS} --start 0.3 --max-frames 9"
        ),
        "deinterlace": make_job(f"convert fields.mp4 out.mkv {LOSSLESS} --deinterlace"),
        "tonemap": make_job(f"convert hdr.mkv out.mkv {LOSSLESS} --tonemap"),
        "fit_pad": make_job("convert odd_half.mkv out.mp4 --fit pad --preset veryfast"),
        "keep_going": make_job(f"convert cut.mkv out_cut.mkv {LOSSLESS} --keep-going",
                          f"convert scratched.mp4 out.mkv {LOSSLESS} --keep-going", codes=(4, 4)),
        "rotated": make_job(f"convert turned.mp4 out.mp4 {LOSSLESS}"),
        "alpha": make_job(f"convert alpha.mkv out.mkv {LOSSLESS}",
                     "convert alpha.mkv out.mov --codec prores --pix-fmt yuva444p10le"),
        "factor_2": make_job(f"interpolate broadcast.mp4 out.mkv {LOSSLESS} --factor 2"),
        "factor_5_2": make_job(f"interpolate odd.mp4 out.mkv {LOSSLESS} --factor 5/2 --ends drop"),
        "fps_60": make_job(f"interpolate uneven_mkv.mkv out.mkv {LOSSLESS} --fps 60"),
        "factor_2_uneven_h264": make_job("interpolate uneven.mp4 out.mp4 --preset veryfast"),
        "slow_2": make_job(f"interpolate rich.mkv out.mkv {LOSSLESS} --slow 2"),
        "slow_drop": make_job(f"interpolate sound.mp4 out.mkv {LOSSLESS} --slow 2 --sound drop"),
        "film": make_job(f"interpolate small.mkv out.mkv {LOSSLESS} --no-guard "
                    "--model film.safetensors"),
        "compact_2": make_job(f"upscale small.mkv out.mkv {LOSSLESS}"),
        "compact_4_steady": make_job(f"upscale small.mkv out.mkv {LOSSLESS} --scale 4 --steady"),
        "image": make_job(f"upscale small.mkv out.mkv {LOSSLESS} --model image "
                     "--weights image.safetensors"),
        "diffvsr": make_job(f"upscale small.mkv out.mkv {LOSSLESS} --scale 4 --model diffvsr "
                            "--no-guard --weights diffvsr --flow dis --steps 2 --seed 7"),
        "two_tasks": make_job("run job.toml"),
        "images_out": make_job("interpolate even.mkv out/%04d.png --max-frames 6"),
        "images_in": make_job(f"convert images out.mkv {LOSSLESS} --in-fps 12"),
        "gif_in": make_job(f"interpolate moving.gif out.mkv {LOSSLESS}"),
        "resumed": make_job(
            f"interpolate long.mkv out.mkv {LOSSLESS} --segment 0.3 --pause-after 0",
            f"interpolate long.mkv out.mkv {LOSSLESS} --segment 0.3", codes=(130, 0)),
        "cached": make_job(f"interpolate even.mkv out_1.mkv {LOSSLESS} --cache",
                      f"interpolate even.mkv out_2.mkv {LOSSLESS} --cache"),
    }
)  # fmt: skip


def make_machine_key() -> str:
    """Return what may change bits without a change of ours: CPU instructions, libraries."""
    cpu = sha256(cv2.getCPUFeaturesLine().encode()).hexdigest()[:8]
    versions = [f"{name.partition('-')[0]}-{version(name)}" for name in PACKAGES]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return " ".join((platform.machine(), cpu, *versions, f"torch-{torch.__version__}", device))


@contextlib.contextmanager
def run_job(name: str) -> Iterator[Path]:
    """Run a job and yield its folder. Raises AssertionError for a wrong exit code."""
    with TemporaryDirectory(prefix="filmgate_net") as place, contextlib.chdir(place):
        folder = Path(place)
        aside = {"FILMGATE_CACHE": str(folder / "cache"), "FILMGATE_MODELS": str(folder / "models")}
        with patch.dict(os.environ, aside):
            for line, code in zip(JOBS[name].commands, JOBS[name].codes, strict=True):
                words = line.split()
                for word in SOURCES.keys() & set(words):
                    if not (folder / word).exists():
                        SOURCES[word](folder / word)
                got = filmgate([*words, *ALWAYS])
                assert got == code, f"{line}: exit code {got}, wanted {code}"
        yield folder


def hash_job(name: str) -> str:
    """Run a job and return the SHA-256 of its outputs."""
    with run_job(name) as folder:
        assert list(folder.glob("out*")), f"{name} made no output"
        return hash_outputs(folder)


def read_recorded() -> dict[str, str]:
    """Return the hashes recorded for this machine, by job; empty if there are none."""
    return _read_all().get(make_machine_key(), {})


def _read_all() -> dict[str, dict[str, str]]:
    return dict(json.loads(RECORDED.read_text())) if RECORDED.exists() else {}


def record() -> int:
    """Write this machine's hashes; each job runs twice. Return 1 if one is not deterministic."""
    found: dict[str, str] = {}
    code = 0
    for name in JOBS:
        began = perf_counter()
        found[name], again = hash_job(name), hash_job(name)
        code |= found[name] != again
        verdict = "recorded" if found[name] == again else "NOT DETERMINISTIC"
        print(f"{name:24} {verdict}  {perf_counter() - began:.1f} s", flush=True)
    if not code:
        known = {**_read_all(), make_machine_key(): found}
        RECORDED.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    return code


def compare() -> int:
    """Print whether the outputs of each job are the recorded ones; return 1 if any is not."""
    wanted, changed = read_recorded(), False
    if not wanted:
        print(f"nothing is recorded for this machine ({make_machine_key()}): run {RECORD}")
        return 1
    for name in JOBS:
        same = hash_job(name) == wanted.get(name)
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
            with run_job(name) as folder:
                print(*describe_outputs(folder), sep="\n")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
