"""`python -m tests.gpu.forked [NAME...]`: parts run dry, in forks of one process with torch.

Each child of `python -m tests.gpu --dry` imports torch, some diffusers and torch.compile as well:
more than the tiny networks take. A fork has them, and is otherwise as new. Not on Windows.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.gpu.__main__ import Run, list_parts, run_part
from tests.gpu.shared import Part, Setup

SHARED = ("torch._dynamo", "torchvision", "diffusers.models.controlnets.controlnet",
          "diffusers.models.unets.unet_2d_condition", "spandrel", "av", "cv2",
          "diffusers.pipelines.wan.pipeline_wan_i2v", "filmgate.core.run",
          "filmgate.testing.fake_cuda", "tests.models.tiny")  # fmt: skip


class ForkedRun(Run):
    """A run whose parts are forks of this process."""

    def run_child(self, part: Part, limit_s: float, entry: dict[str, Any]) -> None:
        """Run a part in a fork; add its checks and how it ended to `entry`."""
        if sys.platform == "win32":
            raise RuntimeError("Windows cannot fork: run python -m tests.gpu --dry")
        place = Path(tempfile.mkdtemp(dir=self.folder))
        sys.stdout.flush()
        child = os.fork()
        if not child:
            code = 1
            try:
                tempfile.tempdir = str(place)  # a fork removes no folder of its own at its end
                with (place / "checks").open("w") as out, redirect_stdout(out):
                    run_part(part.name, Setup(place, dry=True))
                code = 0
            except BaseException:  # noqa: BLE001 - no fork may return
                traceback.print_exc()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        with (place / "checks").open() as lines:
            self.read_checks(lines, entry)
        failed = any(check["status"] == "failed" for check in entry["checks"])
        entry["status"] = "crashed" if status else "failed" if failed else "passed"


def main(names: Sequence[str]) -> int:
    """Run the parts with these names, or all of them; return 0 if nothing failed."""
    for name in SHARED:
        with suppress(ModuleNotFoundError):
            import_module(name)
    with tempfile.TemporaryDirectory(prefix="filmgate_gpu", ignore_cleanup_errors=True) as folder:
        run = ForkedRun(Path(folder), True, float("inf"), Path(folder), {"parts": {}})
        for part in list_parts():
            if not names or part.name in names:
                run.run_one(part)
        return run.summarise()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
