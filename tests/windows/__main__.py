"""Run the suite with Python for Windows under Wine: `make windows WINDOWS=...`.

Of a test with many variants (parametrize) it runs 4; WINDOWS=all runs every one, `short` what CI
has time for, and a path all variants in it, again. Results are kept for each state of the source,
in the folder of Wine: a run that was stopped is resumed by the same command, and of a complete one
only what failed, or was left out and is wanted now, is run again. It prints what fails, the reasons
why tests are skipped, and a table at last; the decoded outputs of the jobs of `tests.net` are
compared with those of Linux (WINDOWS=frames: this alone). It ends with 1 if frames differ or a test
fails. Without root, or on a system other than Debian, it says so and ends with 0.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path

from tests.windows.journal import (
    FAILED,
    FILE,
    MOST,
    OMITTED,
    PASSED,
    SKIPPED,
    STARTED,
    Entry,
    read_journal,
    write_entries,
)

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = Path(os.environ.get("FILMGATE_WINDOWS") or Path.home() / ".cache" / "filmgate-windows")
AT_ONCE = 2  # folders
VARIANTS = 4  # of a test, if not all are asked for
STRIDE = "5"  # tests marked slow kill at every fifth point
# What takes longest comes first. tests/torture, tests/gpu, tests/bench and tests/house look at
# Linux or at this repository.
FOLDERS = (
    "tests/windows", "tests/media/containers/test_closing.py", "tests/stories/test_death.py",
    "tests/media", "tests/models", "tests/jobs", "tests/cli", "tests/service", "tests/quality",
    "tests/tasks", "tests/backends", "tests/stories", "tests/core", "tests/planning",
    "tests/testing", "tests/weights", "tests/laws", "tests/storage", "tests/device", "tests/flow",
    "tests/pipeline", "tests/test_installation.py", "tests/test_units.py", "frames",
)  # fmt: skip
SHORT = (
    "tests/windows/test_runs.py", "tests/windows/test_names.py", "tests/windows/test_shares.py",
    "tests/storage",
)  # fmt: skip
SLOW = ("tests/stories/test_death.py", "tests/media/containers/test_closing.py")
# Jobs of tests.net whose frames are others on Windows, and by what: their sources are equal.
DIFFERENT = {
    **dict.fromkeys(("convert_h264_streams", "factor_2_uneven_h264", "fit_pad"), "libx264"),
    "diffvsr": "torch",
}
LIMIT_S = 7200  # of one start of pytest
PLACE = "the place"  # its entry says that nothing failed, and how many variants were wanted
OUTCOMES = (PASSED, SKIPPED, OMITTED, FAILED)
_running = set[subprocess.Popen[bytes]]()
_stopped = threading.Event()


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
    made = HOME / "ready"
    wanted = (ROOT / "pyproject.toml", ROOT / "constraints.txt", HERE / "setup")
    return made.exists() and made.stat().st_mtime > max(one.stat().st_mtime for one in wanted)


def hash_tree() -> str:
    """Return a hash of all that the results depend on."""
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    for folder in ("src", "tests"):
        files += [file for file in (ROOT / folder).rglob("*")
                  if file.is_file() and "__pycache__" not in file.parts]  # fmt: skip
    sums = (f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n"
            for file in sorted(files))  # fmt: skip
    return hashlib.sha256("".join(sums).encode()).hexdigest()[:16]


def run_place(place: str, journal: Path, most: int) -> list[Entry]:
    """Run what has no result yet, and return all results.

    A test that ends pytest, by a crash or its limit of time, has failed; the rest is started again.
    """
    before = read_journal(journal)
    if PLACE in before and before[PLACE].reason in (str(most), "0"):
        return list(before.values())
    kept = [entry for entry in before.values() if entry.outcome in (PASSED, SKIPPED)]
    journal.unlink(missing_ok=True)
    write_entries(journal, kept)
    log = HOME / "logs" / f"{journal.stem}.txt"
    log.unlink(missing_ok=True)
    while not _stopped.is_set():
        code = run_pytest(place, journal, most, log)
        entries = read_journal(journal)
        ended = [Entry(entry.test, FAILED, f"it ended the process, exit code {code}")
                 for entry in entries.values() if entry.outcome == STARTED]  # fmt: skip
        if _stopped.is_set():
            break
        write_entries(journal, ended)
        if not ended:
            if code not in (0, 1, 5):  # all passed, some failed, no test was left
                write_entries(journal, [Entry(place, FAILED, f"pytest's exit code {code}: {log}")])
            break
    entries = read_journal(journal)
    if not _stopped.is_set() and all(entry.outcome != FAILED for entry in entries.values()):
        write_entries(journal, [Entry(PLACE, "complete", str(most))])
    return list(entries.values())


def run_pytest(place: str, journal: Path, most: int, log: Path) -> int:
    """Run pytest under Wine and return its exit code; what still runs after LIMIT_S is killed."""
    if sys.platform != "linux":
        raise SystemExit(f"skipped: {find_obstacle()}")
    command = [str(HERE / "python"), "-m", "pytest", "-p", "no:cacheprovider", "-p",
               "tests.windows.journal", "--tb=short", "--timeout", "900", place]  # fmt: skip
    if place in SLOW:
        command += ["-m", "slow"]
    most = 0 if place in SLOW or place.startswith("tests/windows") else most
    env = {"FILMGATE_STRIDE": STRIDE, **os.environ, FILE: str(journal), MOST: str(most)}
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        _running.add(process)
        limit = threading.Timer(LIMIT_S, kill_group, [process])
        limit.start()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its number is not reused yet
        limit.cancel()
        kill_group(process)
        _running.discard(process)
        return process.wait()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process that is not waited for yet, and of its children."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def read_hashes(python: str | Path, *jobs: str) -> dict[str, list[str]]:
    """Return the hashes of the decoded outputs of the jobs of `tests.net`, run by this Python."""
    command = [str(python), "-m", "tests.windows.hashes", *jobs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        _running.add(process)
        text = process.communicate()[0].decode()
        _running.discard(process)
    lines = [line.split() for line in text.splitlines() if line.startswith("hash ")]
    return {name: hashes for _, name, *hashes in lines}


def compare_outputs(journal: Path) -> list[Entry]:
    """Return for each job whether Linux and Windows make the same of it."""
    if entries := list(read_journal(journal).values()):
        return entries
    windows, linux = read_hashes(HERE / "python"), read_hashes(sys.executable)
    for name, hashes in linux.items():
        found = compare(windows.get(name, ["failed"]), hashes)
        if found == "other frames" and name in DIFFERENT and "failed" not in windows[name]:
            found = f"other frames, by {DIFFERENT[name]}"
        outcome = FAILED if found in ("other frames", "failed") else PASSED
        entries.append(Entry(f"frames of {name}", outcome, found))
    if entries and all(entry.outcome == PASSED for entry in entries):
        write_entries(journal, entries)
    return entries or [Entry("frames", FAILED, "no job was run")]


def compare(one: Sequence[str], two: Sequence[str]) -> str:
    """Return what is the same of two outputs."""
    if "failed" in (one[0], two[0]):
        return "failed"
    if one[1] != two[1]:
        return "other frames"
    if one == two:
        return "the same"
    return "the same but for AAC audio" if one[2] == two[2] else "the same frames"


def report(place: str, entries: Sequence[Entry]) -> None:
    """Print what failed and why tests were skipped."""
    for entry in entries:
        if entry.outcome == FAILED:
            print(f"    failed {entry.test}: {entry.reason}")
    reasons = Counter(f"{entry.outcome}: {entry.reason}" for entry in entries
                      if entry.reason and entry.outcome in (PASSED, SKIPPED))  # fmt: skip
    for reason, count in reasons.most_common():
        print(f"    {count} {reason}")
    print(format_row(place, entries), flush=True)


def format_row(place: str, entries: Sequence[Entry]) -> str:
    """Return the row of a table: how many tests had each outcome, and their seconds."""
    counts = Counter(entry.outcome for entry in entries)
    seconds = round(sum(entry.seconds for entry in entries))
    shown = [*(counts[one] for one in OUTCOMES), seconds]
    return f"| `{place}` | " + " | ".join(f"{count:,}" for count in shown) + " |"


def run_places(places: Mapping[str, Path], most: int) -> dict[str, list[Entry]]:
    """Return the results of each place; what runs is killed if this process is stopped."""
    found = dict[str, list[Entry]]()
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        futures = {
            pool.submit(compare_outputs, journal) if place == "frames"
            else pool.submit(run_place, place, journal, most): place
            for place, journal in places.items()
        }  # fmt: skip
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            report(futures[future], found[futures[future]])
    finally:
        _stopped.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(_running):
            kill_group(process)
    return found


def main(words: Sequence[str]) -> int:
    """Run the places; return the exit code."""
    if obstacle := find_obstacle():
        print(f"skipped: {obstacle}")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not is_set_up():
        subprocess.run([HERE / "setup"], check=True)
        (HOME / "ready").touch()
    named = [word for word in words if word not in ("all", "short")]
    places = named or (SHORT if "short" in words else FOLDERS)
    most = 0 if named or "all" in words else VARIANTS
    folder = HOME / "results" / hash_tree()
    for one in (HOME / "logs", folder):
        one.mkdir(parents=True, exist_ok=True)
    journals = {place: folder / f"{place.replace('/', '.').replace(':', '_')}.jsonl"
                for place in places}  # fmt: skip
    for place in named:
        journals[place].unlink(missing_ok=True)
    if any(place.startswith("tests/windows") for place in places):
        os.environ["FILMGATE_LINUX_RESULT"] = read_hashes(sys.executable, "resumed")["resumed"][0]
    found = run_places(journals, most)
    print("| tests |", " | ".join(OUTCOMES), "| s |\n|" + " --- |" * (len(OUTCOMES) + 2))
    for place in places:
        print(format_row(place, found[place]))
    if folder.name != hash_tree():
        print("the source was changed meanwhile: run it again")
        return 1
    return int(any(entry.outcome == FAILED for entries in found.values() for entry in entries))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
