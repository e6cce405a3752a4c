"""A real server, which a test kills and starts again."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from filmgate.core.instrumentation.fault_injection import VARIABLE
from tests.processes import NEW_GROUP, kill_group

# The run waits for ever when it is to store its second segment: whatever a test does with the
# server when there is a first one, it does in the middle of a job.
HELD = "encode.before_commit=hang@2"


class Server:
    """`filmgate serve` as a process, which can be killed and started again."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder, self._environment = folder, environment
        self._port, self.address = 0, ""
        self._process: subprocess.Popen[str] | None = None

    def start(self, fault: str = "") -> None:
        """Start it, at the address that it had before; its workers have this fault."""
        words = [sys.executable, "-m", "filmgate", "serve", str(self._folder / "service"),
                 "--port", str(self._port), "--devices", "cpu"]  # fmt: skip
        log = (self._folder / "log.txt").open("a")
        with log:
            self._process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**self._environment, VARIABLE: fault}, start_new_session=NEW_GROUP,
            )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://\S+:(\d+)", line)
        assert found, f"{line} {(self._folder / 'log.txt').read_text()}"
        self.address, self._port = found[0], int(found[1])

    def kill(self) -> None:
        """Kill it and its workers, as a crash of the machine would."""
        assert self._process is not None
        kill_group(self._process.pid)
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        time.sleep(0.2)
