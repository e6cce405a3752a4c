"""Print the SHA-256 of the decoded outputs of jobs of `tests.net`, by name, as lines.

Linux and Windows decode the same frames of each, shown by `make windows WINDOWS=frames`.
"""

import sys
import traceback

import torch

from tests.net.jobs import JOBS, hash_job


def main() -> None:
    """Run the jobs one after the other; what fails is a line as well."""
    torch.set_num_threads(1)
    for name in sys.argv[1:] or JOBS:
        try:
            print("hash", name, hash_job(name), flush=True)
        except Exception as error:  # noqa: BLE001 - the next job runs all the same
            traceback.print_exc()
            print("hash", name, f"failed: {type(error).__name__}", flush=True)


if __name__ == "__main__":
    main()
