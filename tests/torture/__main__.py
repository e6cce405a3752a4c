"""Count what goes wrong: `make torture`, or `python -m tests.torture --short`.

Interrupted, it continues where it was, unless the source has changed. The complete run writes
bench/results/reliability.json, from which docs/reliability.md is filled.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tests.torture import hostile_files, kills, power_cuts, queue_server, run_folders
from tests.torture.commands import Check, Failure
from tests.torture.outputs import IMAGE_OUTPUTS, VIDEO_OUTPUTS
from tests.torture.state import ROOT, State, hash_source

POWER_CUTS = 120  # of each kind of output
QUEUE_CUTS = 300
CHECKS = (
    Check("kills of the worker, its parent, or both", 93, 5, kills.prepare),
    Check("power cuts, video output", POWER_CUTS, 12,
          partial(power_cuts.prepare, VIDEO_OUTPUTS, POWER_CUTS)),
    Check("power cuts, image output", POWER_CUTS, 8,
          partial(power_cuts.prepare, IMAGE_OUTPUTS, POWER_CUTS)),
    Check("hostile files", 510, 34, hostile_files.prepare),
    Check("hostile files of discs, tapes and downloads", 1000, 18, hostile_files.prepare_old),
    Check("damaged run folders", 150, 6, run_folders.prepare_damage),
    Check("two runs at one moment", 80, 5, run_folders.prepare_races),
    Check("kills of a queue's server", 200, 4, queue_server.prepare_kills),
    Check("power cuts of a queue's server", QUEUE_CUTS, 20,
          partial(queue_server.prepare_power_cuts, QUEUE_CUTS)),
)  # fmt: skip
# Loaded before forks, so that no fork spends a second on it.
LOADED = ("filmgate.core.run", "filmgate.backends.inline", "filmgate.media.images.image_writer",
          "filmgate.media.writing.segment_writer", "filmgate.cli.main",
          "filmgate.models.families.dis", "filmgate.jobs.queue.job_queue")  # fmt: skip


def run_check(check: Check, state: State, cases: range, deadline: float) -> None:
    """Try the cases that were not tried, until the deadline."""
    cases_left = [case for case in cases if not state.has(check.name, case)]
    attempt: Callable[[int], int] | None = None
    with tempfile.TemporaryDirectory(prefix="filmgate-torture-") as name:
        for case in cases_left:
            if time.monotonic() > deadline:
                return
            attempt = attempt or check.prepare(Path(name))
            kind, text, tried = "", "", 1
            try:
                tried = attempt(case)
            except Failure as failure:
                kind, text = failure.kind, "\n".join([str(failure), *_read_notes(failure)])
                print(f"{check.name}, case {case}: {text}", flush=True)
            state.add(check.name, case, tried=tried, kind=kind, text=text)


def spread(check: Check, short: bool) -> range:
    """Return the cases of a check; those of the short part are spread over all."""
    step = check.cases // check.short if short else 1
    return range(0, step * check.short if short else check.cases, step)


def write_result(rows: dict[str, dict[str, int]]) -> None:
    """Write the figures and the machine."""
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        **{name: version(name) for name in ("av", "numpy", "torch")},
    }
    result = {
        "question": "what goes wrong when a run is killed, loses power or reads hostile files?",
        "machine": machine,
        "measured_by": "make torture",
        "checks": rows,
    }
    path = ROOT / "bench" / "results" / "reliability.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


def _read_notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", []))


def main() -> int:
    """Run the checks and return the exit code: 1 after a failure, 2 if time ran out."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--short", action="store_true", help="A part of each check")
    parser.add_argument("--minutes", type=float, default=60, help="Stop after so long")
    parser.add_argument("--check", default="", help="Only checks whose name contains this")
    parser.add_argument("--case", type=int, help="Only this case, as a failure names it")
    options = parser.parse_args()
    os.environ["FILMGATE_IN_PROCESS"] = "1"  # kills start workers all the same
    for name in LOADED:
        importlib.import_module(name)
    checks = [check for check in CHECKS if options.check in check.name]
    deadline = time.monotonic() + 60 * options.minutes
    alone = options.case is not None
    state_name = "case" if alone else "short" if options.short else "complete"
    path = ROOT / ".torture" / f"{state_name}.jsonl"
    if alone or options.short:
        path.unlink(missing_ok=True)
    state = State(path, hash_source())
    for check in checks:
        cases = spread(check, options.short)
        began = time.monotonic()
        run_check(check, state, range(options.case, options.case + 1) if alone else cases, deadline)
        print(f"{check.name}: {time.monotonic() - began:.0f} s", flush=True)
    rows = state.count(checks)
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in row.items()))
    if state.list_failures():
        return 1
    complete = all(state.has(check.name, n) for check in checks
                   for n in spread(check, options.short))  # fmt: skip
    if complete and checks == list(CHECKS) and not options.short:
        write_result(rows)
    if not complete and not alone:
        print("not complete: the same command continues")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
