"""Run the suite with Python for Windows under Wine: `make windows [WINDOWS=tests/core]`.

With WINDOWS=frames it compares the decoded outputs of the jobs of `tests.net` with those of Linux.
Else it prints what each folder passed, failed and skipped, at last as a table, and ends with 1 if a
test fails that is not in `known_failures.toml`, where the reason is. Without root, or on a system
other than Debian, it says so and ends with 0.
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
    "tests/windows", "tests/storage", "tests/backends", "tests/service", "tests/jobs", "tests/core",
    "tests/cli", "tests/device", "tests/flow", "tests/tasks", "tests/pipeline", "tests/planning",
    "tests/media", "tests/quality", "tests/weights", "tests/testing", "tests/models", "tests/laws",
    "tests/stories", "tests/test_installation.py", "tests/test_units.py",
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


def is_set_up() -> bool:
    """Return whether Wine and the wheels are there, at the versions that are wanted now."""
    made, root = HOME / "ready", HERE.parents[1]
    wanted = (root / "pyproject.toml", root / "constraints.txt", HERE / "setup")
    return made.exists() and made.stat().st_mtime > max(one.stat().st_mtime for one in wanted)


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


def read_hashes(python: str | Path) -> dict[str, list[str]]:
    """Return the hashes of the decoded outputs of each job of `tests.net`, run by this Python."""
    command = [str(python), "-m", "tests.windows.hashes"]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line.split() for line in text.splitlines() if line.startswith("hash ")]
    return {name: hashes for _, name, *hashes in lines}


def compare_outputs() -> int:
    """Print whether Linux and Windows make the same of each job; return 1 if frames differ."""
    windows, linux = read_hashes(HERE / "python"), read_hashes(sys.executable)
    found = {name: compare(windows.get(name, []), hashes) for name, hashes in linux.items()}
    for name, what in found.items():
        print(f"{name:24} {what}")
    print(", ".join(f"{count} {what}" for what, count in Counter(found.values()).items()))
    return int("other frames" in found.values())


def compare(one: list[str], two: list[str]) -> str:
    """Return what is the same of two outputs."""
    if one == two and "failed" not in one:
        return "the same"
    return "the same frames" if one[1:] == two[1:] and "failed" not in one else "other frames"


def main(places: list[str]) -> int:
    """Run the folders; return the exit code."""
    if obstacle := find_obstacle():
        print(f"skipped: {obstacle}")
        return 0
    if not is_set_up():
        subprocess.run([HERE / "setup"], check=True)
        (HOME / "ready").touch()
    if places == ["frames"]:
        return compare_outputs()
    known: dict[str, str] = tomllib.loads((HERE / "known_failures.toml").read_text("utf-8"))
    new, rows = [], ["| tests | passed | fail as known | skipped |", "| --- | --- | --- | --- |"]
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
        rows.append(f"| `{place}` | {counts['PASSED']} | {counts['KNOWN']} | {counts['SKIPPED']} |")
    print("\n".join(rows))
    print("\n".join(["failed and not known:", *new] if new else ["all passed that can pass here"]))
    return 1 if new else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
