"""Run the suite with Python for Windows under Wine: `make windows [WINDOWS=tests/core]`.

With WINDOWS=frames it compares the decoded outputs of the jobs of `tests.net` with those of Linux.
Else it prints what each folder passed, failed and skipped, and ends with 1 if a test fails that is
not in `known_failures.toml`, where the reason is. Without root, or on a system other than Debian,
it says so and ends with 0.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
HOME = Path(os.environ.get("FILMGATE_WINDOWS") or Path.home() / ".cache" / "filmgate-windows")
# The folders that say most about Windows come first. tests/torture, tests/gpu, tests/bench and
# tests/house look at Linux or at this repository.
FOLDERS = (
    "tests/windows", "tests/storage", "tests/backends", "tests/jobs", "tests/core", "tests/cli",
    "tests/device", "tests/flow", "tests/tasks", "tests/pipeline", "tests/planning", "tests/media",
    "tests/quality", "tests/weights", "tests/models", "tests/laws", "tests/stories",
)  # fmt: skip
LIMIT_S = 1800  # of one folder
_LINE = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL)\b(?: \[(\d+)\])? ?(.*)")


def find_obstacle() -> str:
    """Return why Wine cannot be set up here, "" if it can."""
    if sys.platform != "linux" or not Path("/etc/debian_version").exists():
        return "it needs Debian, whose packages hold Wine"
    if os.geteuid() != 0:
        return "it needs root, for a folder with another Debian (chroot)"
    if not shutil.which("apt-get"):
        return "it needs apt-get"
    return ""


def run_folder(place: str) -> list[str]:
    """Return pytest's lines on each test of a folder; what still runs after LIMIT_S is killed."""
    command = [str(HERE / "python"), "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=no",
               "--timeout", "120", place]  # fmt: skip
    if sys.platform == "win32":
        raise SystemExit("this runs Wine, so not on Windows")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    try:
        return process.communicate(timeout=LIMIT_S)[0].splitlines()
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return [
            *process.communicate()[0].splitlines(),
            f"FAILED {place} - no end after {LIMIT_S} s",
        ]


def read_hashes(python: str | Path) -> dict[str, str]:
    """Return the hash of the decoded output of each job of `tests.net`, run by this Python."""
    command = [str(python), "-m", "tests.windows.hashes"]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line.split(" ", 2)[1:3] for line in text.splitlines() if line.startswith("hash ")]
    return dict(lines)


def compare_frames() -> int:
    """Print whether Linux and Windows make the same frames of each job; return the exit code."""
    windows, linux = read_hashes(HERE / "python"), read_hashes(sys.executable)
    for name, value in linux.items():
        print(f"{name:24} {'same' if windows.get(name) == value else 'OTHER'}")
    return int(windows != linux)


def main(places: list[str]) -> int:
    """Run the folders; return the exit code."""
    if obstacle := find_obstacle():
        print(f"skipped: {obstacle}")
        return 0
    if not (HOME / "site" / "cv2").exists():
        subprocess.run([HERE / "setup"], check=True)
    if places == ["frames"]:
        return compare_frames()
    known: dict[str, str] = tomllib.loads((HERE / "known_failures.toml").read_text("utf-8"))
    new = []
    for place in places or FOLDERS:
        counts, lines = Counter[str](), run_folder(place)
        for line in lines:
            if match := _LINE.match(line):
                kind, times, text = match.groups()
                test = text.partition(" - ")[0].replace("\\", "/")
                reason = next((known[name] for name in known if test.startswith(name)), "")
                if kind in ("FAILED", "ERROR") and reason:
                    kind = "KNOWN"
                counts[kind] += int(times or 1)
                if kind in ("FAILED", "ERROR"):
                    new.append(text)
                if kind != "PASSED":
                    print(f"    {kind.lower()} {text}{f': {reason}' if reason else ''}")
        if not counts:
            new.append(f"{place}: no test was reported")
            print("\n".join(lines[-15:]))
        print(place, ", ".join(f"{count} {kind.lower()}" for kind, count in counts.items()))
    print("\n".join(["failed and not known:", *new] if new else ["all passed that can pass here"]))
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
