"""A server without HTTP in a process: python -m tests.service.submitting_server FOLDER CLIP COUNT.

It submits COUNT jobs, prints the id of each when it is acknowledged, and serves until it is killed
or gets SIGTERM. If its parent has a gate, so have its workers.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from filmgate.service.supervisor import worker_handle
from tests.service.real import GATE, make_job, open_service, work_at_gate


def main() -> None:
    """Serve."""
    folder, clip, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    if GATE in os.environ:
        vars(worker_handle)["work"] = work_at_gate
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with open_service(folder) as service:
        for number in range(count):
            done = service.submit("ann", make_job(clip), key=f"key-{number}")
            print(done.job.id, flush=True)
        print("ready", flush=True)
        ended.wait()
    print("stopped", flush=True)


if __name__ == "__main__":
    main()
