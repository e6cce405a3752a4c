"""Ctrl-C and Ctrl-Break in a console: heard by this process and its worker, and pausing once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from filmgate.errors import Exit
from tests import videos
from tests.windows.lacks import is_wine

pytestmark = [
    pytest.mark.skipif(sys.platform != "win32", reason="is about Windows"),
    pytest.mark.timeout(400),  # under Wine on two busy cores
]
WORDS = ("out.mkv", "--codec", "ffv1", "--segment", "0.3", "--json")
# A process joins the console of another one and presses the key there, as often as is said. All
# processes of the console hear it: the command, its worker, and this one, which ignores it.
PRESS = """
import ctypes, sys, time
key, pid, times = map(int, sys.argv[1:])
kernel = ctypes.WinDLL("kernel32", use_last_error=True)
kernel.FreeConsole()
heard = ctypes.WINFUNCTYPE(ctypes.c_int, ctypes.c_uint)(lambda _: 1)
if not kernel.AttachConsole(pid) or not kernel.SetConsoleCtrlHandler(heard, 1):
    raise SystemExit(f"no console: error {ctypes.get_last_error()}")
for _ in range(times):
    if not kernel.GenerateConsoleCtrlEvent(key, 0):
        raise SystemExit(f"not sent: error {ctypes.get_last_error()}")
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return videos.make(videos.Video(frames=1500), tmp_path_factory.mktemp("clip") / "in.mp4")


@pytest.fixture(scope="module")
def wanted(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("wanted")
    command = [sys.executable, "-m", "filmgate", "convert", str(clip), *WORDS]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return (folder / "out.mkv").read_bytes()


@pytest.mark.parametrize("times", [1, 5])
@pytest.mark.parametrize("key", [0, 1], ids=["Ctrl-C", "Ctrl-Break"])
def test_a_key_pauses_the_run_once(
    key: int, times: int, clip: Path, wanted: bytes, tmp_path: Path
) -> None:
    if key and is_wine():
        pytest.skip("Wine's C runtime has no SIGBREAK")
    command = [sys.executable, "-m", "filmgate", "convert", str(clip), *WORDS]
    env = {**os.environ, "FILMGATE_IN_PROCESS": "no"}
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        creationflags=vars(subprocess)["CREATE_NO_WINDOW"],  # a console of its own
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while b'"Committed"' not in (line := process.stdout.readline()):
            assert line, process.stderr.read().decode()
        press = [sys.executable, "-c", PRESS, str(key), str(process.pid), str(times)]
        subprocess.run(press, check=True)
        _, errors = process.communicate(timeout=60)
    said = errors.decode()
    assert process.returncode == Exit.INTERRUPTED, said
    assert said.count("the same command, or filmgate resume") == 1
    assert "Traceback" not in said
    subprocess.run(command, cwd=tmp_path, env=env, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out.mkv").read_bytes() == wanted
    assert os.listdir(tmp_path) == ["out.mkv"]
