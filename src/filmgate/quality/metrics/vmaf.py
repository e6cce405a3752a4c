"""VMAF by FFmpeg's own program, where one with libvmaf is installed: PyAV's FFmpeg has none."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from filmgate.errors import Unsupported


def no_vmaf() -> str:
    """Why there is no VMAF; nothing if there is. PyAV's FFmpeg is built without it."""
    program = shutil.which("ffmpeg")
    if program is None:
        return "not installed: put an ffmpeg that was built with libvmaf on your path"
    listed = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, check=False)
    if b" libvmaf " not in listed.stdout:
        return f"{program} was built without libvmaf: get one that has it"
    return ""


def vmaf(a: Path, b: Path) -> npt.NDArray[np.float64]:
    """VMAF of each frame of `b` against `a`, 0 to 100, by FFmpeg's program and its own model.

    Frames are counted off, so both films must have them at the same times.
    """
    with tempfile.TemporaryDirectory() as folder:
        # Relative names: a filter's options give colons and backslashes a meaning of their own.
        begun = "setpts=PTS-STARTPTS"
        graph = f"[0:v]{begun}[b];[1:v]{begun}[a];[b][a]libvmaf=log_fmt=json:log_path=vmaf.json"
        words = ["ffmpeg", "-hide_banner", "-nostdin", "-protocol_whitelist", "file",
                 "-i", str(b.resolve()), "-protocol_whitelist", "file", "-i", str(a.resolve()),
                 "-lavfi", graph, "-f", "null", "-"]  # fmt: skip
        ran = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        if ran.returncode:
            said = ran.stderr.strip().splitlines()[-1:] or ["nothing"]
            raise Unsupported(f"ffmpeg could not measure VMAF of {b.name}: it said {said[0]}; "
                              "take that ffmpeg off your path to compare without")  # fmt: skip
        told = json.loads((Path(folder) / "vmaf.json").read_text())
    return np.array([frame["metrics"]["vmaf"] for frame in told["frames"]], float)
