"""How long does a command take to start, next to `import numpy`, ffprobe and ffmpeg?

Each command is a process of its own, run several times in turn; seconds are medians of the wall
clock, peak memory is the largest of any process of the command. Then 200 frames are converted by
Filmgate and by ffmpeg, at the same codec, CRF and preset: drawn ones, which x264 encodes in about a
second, so a third of ours is the start; and those of a real clip (`convert_clip`), if it is there.

A convert of one frame cannot take less than these, one after the other, in CPU seconds of a machine
whose `import numpy` takes 0.11: Python and multiprocessing twice (0.04 each), what the worker
imports (0.25: numpy and PyAV 0.09, modules of Filmgate 0.07, the standard library the rest), and
the run (0.08: 15 containers are opened, three of them to describe an encoder, and 14 syncs wait for
the disk). What the parent imports for flags and the display (0.17) runs at the same time.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from _common import CLIPS, make_video, write_result

SIZE, FRAMES, CRF, PRESET = (960, 540), 200, 18, "medium"
CLIP = CLIPS / "sam2_bedroom.mp4"  # 200 frames of that size
REFERENCE = "import numpy"
Row = dict[str, float | int | str]


# A small process between the bench and the command: a child starts with the peak of its parent.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(time.perf_counter() - start, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""


def run_once(command: list[str]) -> tuple[float, float]:
    """Run a command and return its wall seconds and its peak memory in MB."""
    launcher = [sys.executable, "-S", "-E", "-c", LAUNCHER, *command]
    result = subprocess.run(launcher, capture_output=True, text=True, check=True)
    seconds, peak, code = result.stdout.split()[-3:]
    if int(code):
        raise subprocess.CalledProcessError(int(code), command, stderr=result.stderr)
    unit = 1 if sys.platform == "darwin" else 1024
    return float(seconds), int(peak) * unit / 1e6


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, Row]:
    """Run the commands in turn; return medians, and the ratio to the first command."""
    for command in commands.values():
        run_once(command)  # files get into the system's cache
    runs = [{name: run_once(command) for name, command in commands.items()} for _ in range(rounds)]
    reference = median(one[next(iter(commands))][0] for one in runs)
    rows: dict[str, Row] = {}
    for name in commands:
        seconds = median(one[name][0] for one in runs)
        peak = max(one[name][1] for one in runs)
        rows[name] = {"seconds": seconds, "ratio": seconds / reference, "peak_mb": peak}
    return rows


def build_start_commands(video: Path, folder: Path) -> dict[str, list[str]]:
    """Return what is measured for the start of a command."""
    python = [sys.executable, "-c"]
    filmgate = [str(Path(sys.executable).with_name("filmgate"))]
    convert = [*filmgate, "convert", str(video), str(folder / "one.mp4"), "--overwrite"]
    commands = {
        REFERENCE: [*python, "import numpy"],
        "import filmgate": [*python, "import filmgate"],
        "filmgate --version": [*filmgate, "--version"],
        "filmgate --help": [*filmgate, "--help"],
        "filmgate probe": [*filmgate, "probe", str(video)],
        "filmgate convert, 1 frame": convert,
    }
    if shutil.which("ffprobe"):
        commands["ffprobe"] = ["ffprobe", str(video)]
    return commands


def build_convert_commands(video: Path, folder: Path) -> dict[str, list[str]]:
    """Return ffmpeg and Filmgate re-encoding a video with the same settings."""
    settings = ["--codec", "h264", "--crf", str(CRF), "--preset", PRESET]
    filmgate = str(Path(sys.executable).with_name("filmgate"))
    return {
        "ffmpeg": ["ffmpeg", "-y", "-i", str(video), "-c:v", "libx264", "-crf", str(CRF),
                   "-preset", PRESET, str(folder / "ffmpeg.mp4")],
        "filmgate convert": [filmgate, "convert", str(video), str(folder / "filmgate.mp4"),
                             *settings, "--overwrite"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with TemporaryDirectory(prefix="filmgate-bench-") as name:
        folder = Path(name)
        one = make_video(folder / "one-frame.mp4", *SIZE, 1)
        start = measure(build_start_commands(one, folder), options.rounds)
        result: dict[str, object] = {
            "question": "how long does a command take to start?",
            "reference": REFERENCE,
            "start": start,
        }
        if shutil.which("ffmpeg"):
            video = make_video(folder / "video.mp4", *SIZE, FRAMES)
            rounds = max(3, options.rounds // 2)
            result["convert"] = measure(build_convert_commands(video, folder), rounds)
            if CLIP.is_file():
                commands = build_convert_commands(CLIP, folder)
                result["convert_clip"] = measure(commands, rounds)
            result["settings"] = f"{FRAMES} frames {SIZE[0]}x{SIZE[1]}, CRF {CRF}, {PRESET}"
        else:
            result["skipped"] = "convert: there is no ffmpeg on this machine to compare with"
    print(write_result("startup", result).read_text())


if __name__ == "__main__":
    main()
