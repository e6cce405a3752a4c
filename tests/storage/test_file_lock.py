"""A lock is held by one at a time and ends with its process."""

import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest

from filmgate.storage.file_lock import hold_lock, is_same_file, try_lock

HOLD = """
import sys
from pathlib import Path
from filmgate.storage.file_lock import hold_lock
with hold_lock(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_waits_for_its_holder_and_ends_with_a_killed_process(tmp_path: Path) -> None:
    path, waiting, done = tmp_path / "lock", Event(), Event()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == b"held"
    with path.open("rb") as file:
        assert not try_lock(file.fileno())

    def wait() -> None:
        with hold_lock(path, waiting.set):
            done.set()

    waiter = Thread(target=wait)
    waiter.start()
    assert waiting.wait(30)
    assert not done.is_set()
    holder.kill()
    holder.communicate()
    waiter.join(30)
    assert done.is_set()


@pytest.mark.skipif(sys.platform == "win32", reason="an open file keeps its name")
def test_a_lock_file_that_was_replaced_is_another_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("ab+") as file:
        assert is_same_file(file.fileno(), path)
        path.rename(tmp_path / "old")
        assert not is_same_file(file.fileno(), path)
        path.touch()
        assert not is_same_file(file.fileno(), path)
