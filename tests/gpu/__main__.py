"""Run every part in a process of its own, write each check as it comes, print a summary."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import IO, Any

from tests.gpu.shared import ROOT, Part, Report, Setup, explain_missing, make_importable

RESULTS = ROOT / "bench" / "results" / "gpu"
LIMIT_S = 460  # of everything
DRY_LIMITS = 4  # times as much time for a part on the CPU, of a machine that may be busy
LAST_S = 8  # a part does not start with less than this
BAD = ("failed", "killed", "crashed")  # how a part can end
MARK = "@check "  # before a check in the output of a part


def list_parts() -> list[Part]:
    """Return all parts, correctness first."""
    from tests.gpu import (
        compiled,
        correctness,
        generate,
        lips,
        people,
        portraits,
        runs,
        speed,
        tracing,
    )

    modules = (correctness, runs, tracing, speed, people, lips, portraits, generate, compiled)
    return [part for module in modules for part in module.list_parts()]


def main(words: Sequence[str] | None = None) -> int:
    """Return 0 if nothing failed, 1 if something did; without a GPU nothing runs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu", description="Check and measure Filmgate on a CUDA device."
    )
    dry = "tiny sizes on the CPU and a pretended device; results are not kept"
    parser.add_argument("--dry", action="store_true", help=dry)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--only", help="only parts whose names contain this text")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds of everything")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)  # a name, and a folder
    parser.add_argument("--restore", nargs=3, help=argparse.SUPPRESS)  # folder, devices, frame
    options = parser.parse_args(words)
    make_importable()
    if options.restore:
        from tests.gpu.correctness import restore

        place, devices, half = options.restore
        restore(Path(place), devices.split(","), int(half), Setup(Path(place), options.dry))
        return 0
    if options.part:
        name, folder = options.part
        run_part(name, Setup(Path(folder), options.dry))
        return 0
    if missing := explain_missing(("numpy",)):
        print(f"nothing runs: {missing}")
        return 1
    with tempfile.TemporaryDirectory(prefix="filmgate_gpu", ignore_cleanup_errors=True) as folder:
        run = Run(Path(folder), options.dry, options.limit, options.results)
        return run.run_parts(options.only or "")


def run_part(name: str, setup: Setup) -> None:
    """Run a part in this process; its checks go to standard output."""
    (part,) = (one for one in list_parts() if one.name == name)
    report = Report(lambda entry: print(MARK + json.dumps(entry), flush=True))
    with report.check("the part ran"):
        part.run(setup, report)


@dataclass
class Run:
    """One run of all parts: its results so far, and where they are written."""

    folder: Path
    dry: bool
    limit_s: float
    results: Path
    found: dict[str, Any] = field(default_factory=dict)
    started: float = field(default_factory=monotonic)
    path: Path | None = None

    def run_parts(self, only: str) -> int:
        """Run the parts, and return the exit code."""
        self.found = {"question": "does Filmgate work on this GPU, and how fast?", "dry": self.dry,
                      "started": f"{datetime.now():%Y-%m-%d %H:%M}", "parts": {}}  # fmt: skip
        parts = list_parts()
        for part in parts:
            if only in part.name or part.name == "machine":
                self.run_one(part)
            if part.name != "machine" or self.dry or self.find_gpu():
                continue
            if self.found["parts"]["machine"]["status"] in BAD:
                return self.summarise()
            print("skipped: there is no CUDA device here (--dry runs everything without one)")
            return 0
        return self.summarise()

    def find_gpu(self) -> str:
        """Return the GPU that the first part found; results are kept from then on."""
        checks = self.found["parts"]["machine"]["checks"]
        gpu = next((str(check["gpu"]) for check in checks if "gpu" in check), "")
        if gpu:
            name = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
            self.path = self.results / f"{name}-{datetime.now():%Y%m%d-%H%M%S}.json"
            self.write()
        return gpu

    def run_one(self, part: Part) -> None:
        """Run one part in a child, which is killed at its limit."""
        entry: dict[str, Any] = {"status": "running", "checks": []}
        self.found["parts"][part.name] = entry
        left = self.limit_s - (monotonic() - self.started)
        reason = part.skip or explain_missing(part.needs)
        if not reason and left < LAST_S:
            reason = f"no time is left of {self.limit_s:g} s"
        if reason:
            entry |= {"status": "skipped", "reason": reason}
        else:
            start = monotonic()
            limit_s = DRY_LIMITS * part.limit_s if self.dry else part.limit_s
            self.run_child(part, min(limit_s, left), entry)
            entry["took_s"] = round(monotonic() - start, 1)
        self.write()
        print(f"{entry['status']:8} {part.name}  {entry.get('reason', '')}", flush=True)
        for check in entry["checks"]:
            print(f"  {format_check(check)}", flush=True)

    def run_child(self, part: Part, limit_s: float, entry: dict[str, Any]) -> None:
        """Run a part in a child process; add its checks and how it ended to `entry`."""
        place = Path(tempfile.mkdtemp(dir=self.folder))
        log = place / "stderr"
        with (
            log.open("w", encoding="utf-8") as errors,
            subprocess.Popen(
                self.make_command(part, place), cwd=ROOT, stdout=subprocess.PIPE, stderr=errors,
                text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
            ) as child,
        ):  # fmt: skip
            assert child.stdout
            reader = Thread(target=self.read_checks, args=(child.stdout, entry), daemon=True)
            reader.start()
            try:
                code: int | None = child.wait(limit_s)
            except subprocess.TimeoutExpired:
                child.kill()
                code = None
            reader.join(5)
        statuses = [check["status"] for check in entry["checks"]]
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        if code is None:
            entry |= {"status": "killed", "reason": f"it took more than {limit_s:.0f} s"}
        elif code:
            entry |= {"status": "crashed", "reason": f"exit code {code}: {(lines or ['?'])[-1]}"}
        else:
            entry["status"] = "failed" if "failed" in statuses else "passed"
        if entry["status"] != "passed":
            entry["stderr"] = lines[-30:]

    def make_command(self, part: Part, place: Path) -> list[str]:
        """Return the command of the child that runs a part."""
        words = ["-m", "tests.gpu", "--part", part.name, str(place), *["--dry"] * self.dry]
        return [sys.executable, *words]

    def read_checks(self, lines: IO[str], entry: dict[str, Any]) -> None:
        """Add each check that a child prints, and write the results."""
        for line in lines:
            if line.startswith(MARK):
                entry["checks"].append(json.loads(line.removeprefix(MARK)))
                self.write()

    def write(self) -> None:
        """Write the results so far, complete or not at all; nothing before a GPU is found."""
        if self.path is None:
            return
        from filmgate.storage.atomic import write_atomic

        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path, (json.dumps(self.found, indent=1) + "\n").encode())

    def summarise(self) -> int:
        """Print how many checks there are of each kind; return the exit code."""
        counts, parts = dict[str, int](), self.found["parts"].values()
        for part in parts:
            for check in part["checks"]:
                counts[check["status"]] = counts.get(check["status"], 0) + 1
        bad = [name for name, part in self.found["parts"].items()
               if part["status"] in BAD]  # fmt: skip
        text = ", ".join(f"{count} {status}" for status, count in counts.items())
        print(f"\nchecks: {text}; {monotonic() - self.started:.0f} s")
        print(f"not passed: {', '.join(bad) or 'none'}")
        print(f"results: {self.path or 'not kept, this was a dry run'}")
        return 1 if bad else 0


def format_check(check: Mapping[str, Any]) -> str:
    """Return one line of a check: its status, name and figures."""
    hidden = ("check", "status", "took_s", "packages", "items")
    figures = "  ".join(f"{k}={format_value(v)}" for k, v in check.items() if k not in hidden)
    return f"{check['status']:8} {check['check']}  {figures}"


def format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
