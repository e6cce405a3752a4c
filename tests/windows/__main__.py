"""Run the suite with Python for Windows under Wine: `make windows [WINDOWS=tests/core]`.

It prints what fails and what is skipped with the reason, compares the decoded outputs of the jobs
of `tests.net` with those of Linux (WINDOWS=frames: this alone), and prints a table at last. It ends
with 1 if frames differ or a test fails. Without root, or on a system other than Debian, it says so
and ends with 0.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

HERE = Path(__file__).parent
HOME = Path(os.environ.get("FILMGATE_WINDOWS") or Path.home() / ".cache" / "filmgate-windows")
AT_ONCE = 2  # folders
# The folders that take longest come first. tests/torture, tests/gpu, tests/bench and
# tests/house look at Linux or at this repository.
FOLDERS = (
    "tests/windows", "tests/quality", "tests/models", "tests/media", "tests/service", "tests/tasks",
    "tests/jobs", "tests/backends", "tests/cli", "tests/storage", "tests/planning", "tests/core",
    "tests/stories", "tests/testing", "tests/weights", "tests/laws", "tests/device", "tests/flow",
    "tests/pipeline", "tests/test_installation.py", "tests/test_units.py",
)  # fmt: skip
# Jobs of tests.net whose frames are others on Windows, and by what: their sources are equal.
DIFFERENT = {
    **dict.fromkeys(("convert_h264_streams", "factor_2_uneven_h264", "fit_pad"), "libx264"),
    "diffvsr": "torch",
}
LIMIT_S = 7200  # of one folder
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
    command = [str(HERE / "python"), "-m", "pytest", "-p", "no:cacheprovider", "-rA", "--tb=short",
               "--timeout", "900", place]  # fmt: skip
    if sys.platform == "win32":
        raise SystemExit("this runs Wine, so not on Windows")
    (HOME / "logs").mkdir(exist_ok=True)
    log = HOME / "logs" / f"{place.replace('/', '.')}.txt"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        end = ""
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            end = f"FAILED {place} - no end after {LIMIT_S} s"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return [*log.read_text("utf-8", "replace").splitlines(), end]


def time_folder(place: str) -> tuple[str, list[str], int]:
    """Return a folder, pytest's lines on each of its tests, and how many seconds they took."""
    start = monotonic()
    lines = run_folder(place)
    return place, lines, round(monotonic() - start)


def read_hashes(python: str | Path, *jobs: str) -> dict[str, list[str]]:
    """Return the hashes of the decoded outputs of the jobs of `tests.net`, run by this Python."""
    command = [str(python), "-m", "tests.windows.hashes", *jobs]
    text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line.split() for line in text.splitlines() if line.startswith("hash ")]
    return {name: hashes for _, name, *hashes in lines}


def compare_outputs() -> int:
    """Print whether Linux and Windows make the same of each job; return 1 if frames differ."""
    windows, linux = read_hashes(HERE / "python"), read_hashes(sys.executable)
    found = {name: compare(windows.get(name, []), hashes) for name, hashes in linux.items()}
    for name, cause in DIFFERENT.items():
        if found[name] == "other frames" and "failed" not in windows.get(name, ["failed"]):
            found[name] = f"other frames, by {cause}"
    for name, what in found.items():
        print(f"{name:24} {what}")
    print(", ".join(f"{count} {what}" for what, count in Counter(found.values()).items()))
    return int("other frames" in found.values())


def compare(one: list[str], two: list[str]) -> str:
    """Return what is the same of two outputs."""
    if "failed" in one or len(one) != len(two) or one[1] != two[1]:
        return "other frames"
    if one == two:
        return "the same"
    return "the same but for AAC audio" if one[2] == two[2] else "the same frames"


def _iter_reports(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield what pytest says of a test or of several: PASSED, how many, its name or the reason."""
    for line in lines:
        if match := _LINE.match(line):
            kind, times, text = match.groups()
            yield kind, times or "", text


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
    if any(place.startswith("tests/windows") for place in places or FOLDERS):
        os.environ["FILMGATE_LINUX_RESULT"] = read_hashes(sys.executable, "resumed")["resumed"][0]
    failed, rows = [], ["| tests | passed | skipped | s |", "|" + " --- |" * 4]
    pool = ThreadPoolExecutor(AT_ONCE)
    for place, lines, seconds in pool.map(time_folder, places or FOLDERS):
        counts = Counter[str]()
        for kind, times, text in _iter_reports(lines):
            counts[kind] += int(times or 1)
            if kind in ("FAILED", "ERROR"):
                failed.append(text)
            if kind != "PASSED":
                print(f"    {kind.lower()} {f'{times}: ' if times else ''}{text}")
        if not counts:
            failed.append(f"{place}: no test was reported")
            print("\n".join(lines[-15:]))
        found = ", ".join(f"{count} {kind.lower()}" for kind, count in counts.items())
        print(f"{place}: {found}, {seconds} s", flush=True)
        rows.append(f"| `{place}` | {counts['PASSED']} | {counts['SKIPPED']} | {seconds} |")
    differs = 0 if places else compare_outputs()
    print("\n".join(rows))
    print("\n".join(["failed:", *failed] if failed else ["all passed that can pass here"]))
    return 1 if failed or differs else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
