"""Settings of the test suite: hypothesis profiles, and the count of the laws' examples."""

import atexit
import gc
import os
import shutil
import sys
import time
from collections.abc import Callable, Generator, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# the same examples in each run: a failure is due to the change
SAME = "FILMGATE_SAME_EXAMPLES" in os.environ
# finding the path of each module takes minutes under Wine, in the first example
SLOW = (HealthCheck.too_slow,) if sys.platform == "win32" else ()
settings.register_profile(
    "quick", max_examples=15, deadline=None, derandomize=SAME, suppress_health_check=SLOW
)
settings.register_profile("laws", max_examples=1400, deadline=None, derandomize=SAME)
settings.register_profile("faults", settings.get_profile("quick"), max_examples=25)  # faults-long
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads of torch spin otherwise
os.environ.setdefault("FILMGATE_IN_PROCESS", "1")  # a child process for each run takes a second
PROFILE = os.environ.get("FILMGATE_PROFILE", "quick")
settings.load_profile(PROFILE)

WANTED = 10_000
RAN = pytest.StashKey[list[int]]()
# Files of quick tests are in memory, on Linux: no disk is waited for. Those of others are on disk.
MEMORY, NEEDED_BYTES = Path("/dev/shm"), 2 << 30
SLOW_COLLECTION_S = 0.02


@pytest.fixture(scope="module")
def no_gradients() -> Iterator[None]:
    """Run a module's tests of networks without gradients."""
    import torch

    with torch.inference_mode():
        yield


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: those of torch wait for each other longer than tiny networks take."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def no_open_input() -> Iterator[None]:
    """Fail a test after which an input is still open, or had to be closed by the collector."""
    if "av" not in sys.modules:  # no input can be open
        yield
        return
    from tests.open_inputs import watch_inputs

    with watch_inputs() as left:
        yield
    assert not left, f"not closed by their owner: {left}"


@pytest.fixture(autouse=True)
def no_real_time_thread() -> Iterator[None]:
    """Fail a test that leaves its thread real-time, as SVT-AV1 does for root: others then wait."""
    yield
    if sys.platform == "linux" and os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        pytest.fail("the test opens an encoder without keep_priority()")


def is_quick(config: pytest.Config) -> bool:
    """Return whether slow tests are left out."""
    return "not slow" in config.option.markexpr


@pytest.hookimpl(optionalhook=True)  # xdist only
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Return the number for `-n logical`: quick tests often wait, while another one can run.

    Each takes up to a GB. None: what xdist chooses.
    """
    if not is_quick(config) or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    from filmgate.core.instrumentation.memory import measure_total_memory

    cores = os.cpu_count() or 1
    return min(cores + cores // 2, max(1, measure_total_memory() >> 30))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RAN] = [0]
    in_memory = is_quick(config) and sys.platform == "linux"
    if in_memory and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > NEEDED_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    config.pluginmanager.register(SlowCollections())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile: nearly all that is imported stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Count every example of a law that holds, where hypothesis allows wrapping."""
    if sys.platform == "win32":
        from tests.windows.lacks import is_wine, skip_what_lacks

        skip_what_lacks(items, is_wine())
    tests = {getattr(item, "function", None) for item in items if item.path.parent.name == "laws"}
    for test in tests:
        handle = getattr(test, "hypothesis", None)
        if handle is not None:
            handle.inner_test = count_examples(handle.inner_test, config.stash[RAN])


class SlowCollections:
    """Exempts all that is imported from garbage collection, again after one that was slow.

    Planning collects garbage before each of its trials: 0.3 s with torch loaded, and 0.01 s so.
    """

    def __init__(self) -> None:
        self.started_s, self.was_slow = 0.0, True  # the first tests freeze what is collected
        gc.callbacks.append(self.measure)
        atexit.register(gc.unfreeze)  # else triton prints what it takes for leaks

    def measure(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] == 2 and phase == "start":
            self.started_s = time.thread_time()
        elif info["generation"] == 2 and time.thread_time() - self.started_s > SLOW_COLLECTION_S:
            self.was_slow = True

    def pytest_runtest_setup(self) -> None:
        if self.was_slow:
            gc.collect()
            gc.freeze()
            self.was_slow = False


def count_examples(test: Callable[..., Any], ran: list[int]) -> Callable[..., Any]:
    @wraps(test)
    def count(*args: Any, **drawn: Any) -> Any:
        result = test(*args, **drawn)
        ran[0] += 1
        return result

    return count


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run of the laws that tried too few examples, even if all passed."""
    ran = session.config.stash[RAN]
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:  # a worker of xdist: its controller counts
        output["laws"] = ran[0]
    elif PROFILE == "laws" and ran[0] < WANTED and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)  # xdist only
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add the count of a worker process."""
    node.config.stash[RAN][0] += getattr(node, "workeroutput", {}).get("laws", 0)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if PROFILE == "laws":
        ran = config.stash[RAN][0]
        verdict = "" if ran >= WANTED else f": too few, wanted {WANTED:,}"
        terminalreporter.write_line(f"laws: {ran:,} examples held{verdict}")
