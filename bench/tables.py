"""Fill the tables of README.md and docs/ from bench/results: no figure is typed by hand.

A block `<!-- bench:NAME KEY -->` ... `<!-- /bench -->` is filled from bench/results/NAME.json, with
a row for each entry of its KEY. Figures of others are under the key `published`, as the table says.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- bench:(\w+) (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
# Keys of results, as readers see them. Other keys are headings as they are.
HEADINGS = MappingProxyType(
    {
        "after_s": "at its end after (s)",
        "area_more_db": "area, gain (dB)",
        "area_more_ssim": "area, SSIM gain",
        "bytes_per_frame": "bytes per frame",
        "compact_db": "compact (dB)",
        "compact_ssim": "compact SSIM",
        "cpu_seconds": "CPU seconds",
        "cpu_seconds_x": "CPU, relative",
        "decoder_s": "decoder (s)",
        "disk_mb": "disk (MB)",
        "disk_x": "disk, relative",
        "encoded_more_db": "encoded, gain (dB)",
        "encoded_more_ssim": "encoded, SSIM gain",
        "fixed_mb": "fixed (MB)",
        "flow_s": "flow (s)",
        "frames_out": "frames out",
        "frames_per_second": "frames per second",
        "gb": "GB",
        "growth_after_first_fifth_kb": "growth after the first fifth (KB)",
        "idf1": "IDF1",
        "known_s": "client knows after (s)",
        "lanczos": "Lanczos",
        "lanczos_db": "Lanczos (dB)",
        "lanczos_ssim": "Lanczos SSIM",
        "large_mb": "at 1280x720 (MB)",
        "last_frame_db": "last frame (dB)",
        "longest_in_4_gib": "longest video in 4 GiB",
        "measured_of_predicted": "measured / predicted",
        "memory_mb": "memory (MB)",
        "memory_x": "memory, relative",
        "more_db": "gain (dB)",
        "most_codes_apart": "largest difference (code values)",
        "networks_s": "networks (s)",
        "next": "next request",
        "next_s": "after (s)",
        "numbers_broken": "numbers that change",
        "off_by_2_share": "share off by more than 2",
        "over_start_mb": "above its start (MB)",
        "over_start_x": "above its start, relative",
        "p50_ms": "P50 (ms)",
        "p95_ms": "P95 (ms)",
        "p99_ms": "P99 (ms)",
        "peak_mb": "peak (MB)",
        "per_s": "per second",
        "half_mb": "second half (MB)",
        "records_kb": "records (kB)",
        "per_sample": "bytes per padded sample",
        "pixels_apart": "distance (pixels)",
        "predicted_gb": "predicted GB",
        "psnr": "PSNR (dB)",
        "psnr_db": "PSNR (dB)",
        "relative_to_no_motion": "relative to no motion",
        "reserved_gb": "reserved GB",
        "resident_gb": "resident (GB)",
        "seam": "seam score",
        "seen": "what it reads",
        "seconds_x": "seconds, relative",
        "size_mb": "size (MB)",
        "size_x": "size, relative",
        "ssim": "SSIM",
        "steady": "compact --steady",
        "steady_more_db": "--steady, gain (dB)",
        "tflop": "TFLOP",
        "with_occluded_db": "with occluded areas (dB)",
    }
)


def fill_blocks(text: str, results: Path) -> str:
    """Return the text with every block replaced by its table from the files in `results`."""
    return BLOCK.sub(lambda m: f"{m[1]}{make_block(results / f'{m[2]}.json', m[3])}\n{m[4]}", text)


def make_block(path: Path, key: str) -> str:
    """Return the table of one result and where it was measured, or that it was not measured."""
    if not path.exists():
        return "Not measured yet: `make bench` writes the figures here."
    result = json.loads(path.read_text())
    if not isinstance(result.get(key), Mapping):
        raise KeyError(f"{path} has no rows under {key!r}: it has {', '.join(result)}")
    if key == "published":
        return f"{make_table(result[key])}\n\nPublished by its authors; not measured by us."
    machine = ", ".join(f"{name} {value}" for name, value in result.get("machine", {}).items())
    how = "Predicted" if key.startswith("predicted") else "Measured"
    command = result.get("measured_by", f"bench/{path.stem}.py")
    return f"{make_table(result[key])}\n\n{how} by `{command}`: {machine}."


def make_table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table with the keys of the first row as columns."""
    columns = list(next(iter(rows.values())))
    lines = [["", *(HEADINGS.get(column, column) for column in columns)]]
    lines += [["---"] * (len(columns) + 1)]
    lines += [[name, *(format_cell(row.get(column, "")) for column in columns)]
              for name, row in rows.items()]  # fmt: skip
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def format_cell(value: object) -> str:
    """Return a figure with as many digits as are meaningful to a reader."""
    if not isinstance(value, float):
        return str(value)
    digits = ".2f" if abs(value) >= 10 else ".3f" if abs(value) >= 0.01 else ".1g"
    return format(value, digits)


if __name__ == "__main__":
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        if BLOCK.search(page.read_text()):
            page.write_text(fill_blocks(page.read_text(), ROOT / "bench" / "results"))
