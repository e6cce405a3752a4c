"""What does attention cost on the CPU with torch's fused kernel, and without?

The sizes are those of networks here: the people of a frame in HMR 2.0, and one layer of a UNet of
Stable Diffusion. "fused" is `scaled_dot_product_attention`; "plain" multiplies, takes the softmax
and multiplies again, with all scores in memory. One thread; each way in a process of its own, in
turns. CPU seconds are medians, memory is how far the peak of the process is above its start.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from statistics import median
from time import process_time
from typing import Any

from _common import write_result

SIZES = {  # people or halves of a batch, heads, tokens, numbers of a head
    "HMR 2.0, 8 people": (8, 16, 192, 80),
    "UNet, 256x256": (2, 8, 1024, 40),
    "UNet, 512x512": (2, 8, 4096, 40),
}
WAYS = ("fused", "plain")
Row = dict[str, float]


def build_way(way: str) -> Callable[[Any, Any, Any], Any]:
    """Return a function of queries, keys and values (N, heads, tokens, numbers)."""
    from torch.nn.functional import scaled_dot_product_attention

    def attend(q: Any, k: Any, v: Any) -> Any:
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v

    return scaled_dot_product_attention if way == "fused" else attend


def measure_here(way: str, size: str, repeats: int) -> Row:
    """Return the figures of one way in this process, which must be new."""
    if sys.platform == "win32":
        raise SystemExit("skipped: Windows has no such counters")
    import resource

    import torch

    from filmgate.core.instrumentation.memory import make_memory_meter
    from filmgate.core.instrumentation.torch_settings import fix_torch_settings

    torch.set_num_threads(1)
    torch.manual_seed(1)
    q, k, v = (torch.randn(SIZES[size]) for _ in range(3))
    attend, times = build_way(way), list[float]()
    small = [x[..., :64, :] for x in (q, k, v)]
    with torch.inference_mode(), fix_torch_settings():
        attend(*small)  # loads what it needs
        start = make_memory_meter()()
        for _ in range(repeats):
            begin = process_time()
            attend(q, k, v)
            times.append(process_time() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"cpu_seconds": median(times), "memory_mb": max(0.0, peak - start) / 1e6}


def find_difference(size: str) -> float:
    """Return how far the two ways are apart at most, for values of unit variance."""
    import torch

    torch.manual_seed(1)
    q, k, v = (torch.randn(SIZES[size])[:1, :1] for _ in range(3))
    fused, plain = (build_way(way)(q, k, v) for way in WAYS)
    return float((fused - plain).abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", help="internal: one way, in this process")
    parser.add_argument("--size", help="internal: its size")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure_here(options.way, options.size, options.repeats)))
        return
    if sys.platform == "win32":
        print("skipped: Windows reports the peak memory of a process otherwise")
        return
    rows = dict[str, dict[str, Any]]()
    for size in SIZES:
        found: dict[str, list[Row]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                command = [sys.executable, __file__, "--way", way, "--size", size,
                           "--repeats", str(options.repeats)]  # fmt: skip
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
                found[way].append(json.loads(done.stdout))
        rows[size] = {
            f"{way}_{key}": round(median(one[key] for one in found[way]), 4)
            for key in ("cpu_seconds", "memory_mb") for way in WAYS
        } | {"difference": find_difference(size)}  # fmt: skip
        print(size, rows[size], flush=True)
    result = {"question": "what does attention cost with the fused kernel?", "sizes": rows}
    print(write_result("attention", result))


if __name__ == "__main__":
    main()
