"""What did the runs of `make gpu` find? Reads bench/results/gpu, the newest run of each part.

Writes the rows of docs/gpu.md: ours and the plain loop, half precision against the CPU, and what
compiling gives. Nothing is measured here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Check = Mapping[str, Any]


def read_parts(folder: Path) -> dict[str, Sequence[Check]]:
    """Return the checks of each part, of the newest run in which it was finished."""
    parts = dict[str, Sequence[Check]]()
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem[-15:]):
        found = json.loads(path.read_text())
        parts |= {name: part["checks"] for name, part in found["parts"].items() if part["checks"]}
    return parts


def compare_ways(parts: Mapping[str, Sequence[Check]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a row for each network and size: ours, the plain loop, and how they compare."""
    for checks in parts.values():
        by_name = {check["check"]: check for check in checks}
        for name, ours in by_name.items():
            plain = by_name.get(f"{name.removesuffix('ours')}plain")
            if not name.endswith(" ours") or plain is None or "seconds_per_frame" not in plain:
                continue
            yield name.removesuffix(" ours"), {
                "ours (s)": ours["seconds_per_frame"], "plain (s)": plain["seconds_per_frame"],
                "seconds_x": ours["seconds_per_frame"] / plain["seconds_per_frame"],
                "ours (GB)": ours["gb"], "plain (GB)": plain["gb"],
                "memory_x": ours["gb"] / plain["gb"],
            }  # fmt: skip


def list_diffvsr(parts: Mapping[str, Sequence[Check]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a row for each way and scale of flow of Stream-DiffVSR."""
    for check in parts.get("speed diffvsr", ()):
        if "seconds" in check:
            yield check["check"].removeprefix("diffvsr "), {
                name: check[name] for name in ("seconds", "flow_s", "networks_s", "decoder_s", "gb",
                                               "reserved_gb", "measured_of_predicted")
            }  # fmt: skip
        elif check.get("error", "").startswith("out of memory"):
            yield check["check"].removeprefix("diffvsr "), {"seconds": "out of memory"}


def list_dtypes(parts: Mapping[str, Sequence[Check]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a row for each model: how far each dtype on the device is from the CPU's float32."""
    rows = dict[str, dict[str, Any]]()
    for check in (check for checks in parts.values() for check in checks):
        model, _, rest = check["check"].partition(": CUDA ")
        if not rest:
            continue
        unit = "pixels" if "pixels" in check else "codes"
        row = rows.setdefault(model, {"unit": "pixels of flow" if unit == "pixels" else "codes"})
        row[rest.split()[0]] = "-" if check["status"] == "skipped" else f"{check[unit]:.3g}"
    yield from rows.items()


def list_compiled(parts: Mapping[str, Sequence[Check]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a row for each network and way of running it."""
    for name, checks in parts.items():
        for check in checks if name.startswith("compile ") else ():
            if "ms" in check:
                yield check["check"], {"ms": check["ms"], "first call (s)": check["first_s"]}


def main() -> None:
    """Write the rows."""
    parts = read_parts(RESULTS / "gpu")
    (machine,) = (check for check in parts["machine"] if "gpu" in check)
    result = {
        "question": __doc__.split("?")[0] + "?",
        "measured_by": "make gpu",
        "machine": {"GPU": machine["gpu"], "torch": machine["torch"], "cuDNN": machine["cudnn"]},
        "ways": dict(compare_ways(parts)),
        "diffvsr": dict(list_diffvsr(parts)),
        "dtypes": dict(list_dtypes(parts)),
        "compiled": dict(list_compiled(parts)),
    }
    (RESULTS / "gpu.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
