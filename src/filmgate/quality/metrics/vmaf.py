"""VMAF, measured by an ffmpeg program with libvmaf; the FFmpeg inside PyAV has no libvmaf."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from filmgate.errors import Unsupported


def explain_missing_vmaf() -> str:
    """Return why VMAF cannot be measured, empty if it can."""
    program = shutil.which("ffmpeg")
    if program is None:
        return "not installed: put an ffmpeg that was built with libvmaf on your PATH"
    filters = subprocess.run(
        [program, "-hide_banner", "-filters"], capture_output=True, check=False
    )
    if b" libvmaf " not in filters.stdout:
        return f"{program} was built without libvmaf: install an ffmpeg that has it"
    return ""


def measure_vmaf(a: Path, b: Path) -> npt.NDArray[np.float64]:
    """Return VMAF of each frame of `b` against `a`, 0 to 100, with ffmpeg's default model.

    ffmpeg pairs frames by number, so both videos need the same frame times. Raises Unsupported.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The log has a relative name: colons and backslashes are syntax in filter options.
        reset = "setpts=PTS-STARTPTS"
        graph = f"[0:v]{reset}[b];[1:v]{reset}[a];[b][a]libvmaf=log_fmt=json:log_path=vmaf.json"
        command = ["ffmpeg", "-hide_banner", "-nostdin", "-protocol_whitelist", "file",
                   "-i", str(b.resolve()), "-protocol_whitelist", "file", "-i", str(a.resolve()),
                   "-lavfi", graph, "-f", "null", "-"]  # fmt: skip
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            message = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise Unsupported(f"ffmpeg cannot measure VMAF of {b.name}: its last message is "
                              f"{message!r}. Remove that ffmpeg from your PATH to compare without "
                              "VMAF")  # fmt: skip
        log = json.loads((Path(folder) / "vmaf.json").read_text())
    return np.array([frame["metrics"]["vmaf"] for frame in log["frames"]], float)
