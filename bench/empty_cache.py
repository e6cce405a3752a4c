"""Does emptying the allocator's cache after every window help? Several users believe that it does.

A convolutional network over windows of changing size, on a CUDA device, three times: cache kept,
emptied after every window, and kept with expandable segments. Seconds per window, peak allocated
and reserved memory. Skipped without CUDA.
"""

import argparse
import json
import os
import subprocess
import sys
from time import perf_counter
from typing import Any

from _common import write_result

SIZES = ((480, 832), (512, 704), (448, 896))  # windows of a video with changing crops
METHODS = ("kept", "emptied", "expandable")


def run(way: str, windows: int, channels: int) -> dict[str, float]:
    """Run one method in this process."""
    import torch

    layers = [torch.nn.Conv2d(3, channels, 3, padding=1)]
    layers += [torch.nn.Conv2d(channels, channels, 3, padding=1) for _ in range(6)]
    net = torch.nn.Sequential(*layers).half().cuda().eval()
    torch.cuda.reset_peak_memory_stats()
    began = 0.0
    with torch.inference_mode():
        for k in range(windows + 10):
            if k == 10:  # the first ones search for the fastest kernels
                torch.cuda.synchronize()
                began = perf_counter()
            height, width = SIZES[k % len(SIZES)]
            net(torch.rand(4, 3, height, width, device="cuda", dtype=torch.half))
            if way == "emptied":
                torch.cuda.empty_cache()
        torch.cuda.synchronize()
    return {
        "ms_a_window": 1000 * (perf_counter() - began) / windows,
        "allocated_mb": torch.cuda.max_memory_allocated() / 1e6,
        "reserved_mb": torch.cuda.max_memory_reserved() / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=METHODS, help="internal: one method")
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--channels", type=int, default=128)
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        print("skipped: no CUDA device here")
        return
    if options.way:
        print(json.dumps(run(options.way, options.windows, options.channels)))
        return
    rows = dict[str, Any]()
    for way in METHODS:
        expandable = {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}
        command = [sys.executable, __file__, "--way", way, "--windows", str(options.windows),
                   "--channels", str(options.channels)]  # fmt: skip
        done = subprocess.run(
            command,
            env=os.environ | (expandable if way == "expandable" else {}),
            capture_output=True,
            text=True,
            check=True,
        )
        rows[way] = json.loads(done.stdout)
    result = {
        "question": "does emptying the allocator's cache after every window help?",
        "device": torch.cuda.get_device_name(),
        "ways": rows,
    }
    print(write_result("empty_cache", result).read_text())


if __name__ == "__main__":
    main()
