"""Is the budget kept, and is the prediction right? Complete runs, each in a process of its own.

For each video: no budget, then budgets down to the smallest that `fit` reports, then one byte less,
which must be refused. `peak` is the operating system's figure for the process (ru_maxrss),
planning included.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

from _common import make_video, write_result

import filmgate as fg
from filmgate.core.instrumentation.memory import make_memory_meter
from filmgate.errors import DoesNotFit
from filmgate.planning.fit import fit
from filmgate.planning.limits import Budget

SIZES = ((320, 240), (640, 360), (1280, 720), (1920, 1080))
SHARES = (0.0, 0.5)  # between the smallest budget and the memory without one


def run(source: str, sink: str, preset: str, codec: str, budget: int | None) -> dict[str, Any]:
    """Plan and run in this process; return what was predicted and measured."""
    job = fg.Job(
        fg.VideoFile(Path(source)),
        fg.VideoOutput(Path(sink), codec=codec, preset=preset or None, overwrite=True),  # type: ignore[arg-type]
        (fg.Interpolate(factor=Fraction(2)),),
    )
    try:
        found = fit(job, budget=Budget(budget) if budget else None)
    except DoesNotFit as error:
        return {"needed": error.needed_bytes}
    seen, resident_bytes = [0], make_memory_meter()
    for event in fg.events(job, found.plan):
        if isinstance(event, fg.Progress):
            seen.append(event.resident_bytes)
        done = event
    assert isinstance(done, fg.Done)
    return {
        "predicted": sum(found.host.values()),
        "peak": read_peak(),
        "mean": sum(seen[1:]) // len(seen[1:]),
        "end": resident_bytes(),
        "parts": dict(found.host),
        "plan": {k: getattr(found.plan, k) for k in ("chunk", "queue_bytes", "decode_threads",
                                                     "encode_threads", "opencv_threads")},
        "expected_s": found.seconds,
        "seconds": done.seconds,
        "disk_expected": found.disk_bytes,
        "disk": Path(sink).stat().st_size,
    }  # fmt: skip


def read_peak() -> int:
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_case(*case: object) -> dict[str, Any]:
    command = [sys.executable, __file__, "--case", json.dumps(case)]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    return result


def measure_video(
    source: Path, sink: Path, preset: str, codec: str = "h264"
) -> dict[str, dict[str, Any]]:
    """Run one video with every budget."""
    case = (str(source), str(sink), preset, codec)
    rows = {"free": run_case(*case, None)}
    least = run_case(*case, 1)["needed"] * 1.04  # the program's own size varies a little
    most = rows["free"]["predicted"]
    for share in SHARES:
        budget = int(least + share * max(0, most - least))
        rows[f"{share:.0%}"] = {"budget": budget} | run_case(*case, budget)
    for name, row in rows.items():
        if "peak" in row:
            row["predicted_over_peak"] = round(row["predicted"] / row["peak"], 3)
            row["kept"] = row["peak"] <= row.get("budget", row["predicted"])
        keys = ("budget", "needed", "predicted", "peak", "mean")
        mb = {name: round(row[name] / 1e6) for name in keys if name in row}
        print(f"{source.stem} {codec} {preset} {name}", mb, row.get("kept"), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", type=json.loads, help="internal: one case")
    parser.add_argument(
        "--clips", type=Path, nargs="*", default=[], help="real videos to measure as well"
    )
    parser.add_argument("--frames", type=int, default=90, help="frames of the generated videos")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(run(*options.case)))
        return
    videos = dict[str, dict[str, dict[str, Any]]]()
    with tempfile.TemporaryDirectory() as folder:
        sink = Path(folder) / "out.mp4"
        for width, height in SIZES:
            path = Path(folder) / f"{width}x{height}.mp4"
            source = make_video(path, width, height, options.frames)
            videos[source.stem] = measure_video(source, sink, "medium")
        videos[f"{source.stem} superfast"] = measure_video(source, sink, "superfast")
        videos["1280x720 hevc"] = measure_video(Path(folder) / "1280x720.mp4", sink, "fast", "hevc")
        for clip in options.clips:
            videos[clip.stem] = measure_video(clip, sink, "medium")
    result = {
        "question": "is the budget kept, and is the prediction right?",
        "budgets": {
            f"{name}, {'no budget' if share == 'free' else share}": {
                "budget MB": round(row["budget"] / 1e6) if "budget" in row else "",
                "predicted MB": round(row["predicted"] / 1e6),
                "measured MB": round(row["peak"] / 1e6),
                "predicted / measured": row["predicted"] / row["peak"],
            }
            for name, rows in videos.items()
            for share, row in rows.items()
            if "peak" in row
        },
        "videos": videos,
    }
    print(write_result("memory_budget", result))


if __name__ == "__main__":
    main()
