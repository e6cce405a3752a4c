"""Why a worker died: known from what the kernel counts, or unknown."""

from pathlib import Path

import pytest

from filmgate.backends.death_causes import count_oom_kills, explain_exit_code, explain_signal


@pytest.mark.parametrize(
    ("groups", "files", "count"),
    [
        ("0::/app\n", {"sys/fs/cgroup/app/memory.events": "max 0\noom_kill 2\n"}, 2),
        ("0::/app\n", {"sys/fs/cgroup/memory.events": "oom_kill 3\n"}, 3),
        ("4:memory:/app\n0::/\n",
         {"sys/fs/cgroup/memory/app/memory.oom_control": "under_oom 0\noom_kill 4\n"}, 4),
        ("4:memory:/app\n", {"proc/vmstat": "nr_free_pages 7\noom_kill 5\n"}, 5),
        ("", {}, None),
    ],
    ids=["version 2", "in a container", "version 1", "of the machine", "unknown"],
)  # fmt: skip
def test_out_of_memory_kills_are_read_where_the_kernel_counts_them(
    groups: str, files: dict[str, str], count: int | None, tmp_path: Path
) -> None:
    for name, text in {"proc/self/cgroup": groups, **files}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert count_oom_kills(tmp_path) == count


@pytest.mark.parametrize(
    ("name", "before", "after", "hint"),
    [
        ("SIGKILL", 1, 2, "the kernel killed it"),
        ("SIGKILL", 1, 1, "a user or another program killed it"),
        ("SIGKILL", None, None, "unknown"),
        ("SIGTERM", None, None, "a user or another program stopped it"),
        ("SIGSEGV", 1, 1, ""),
    ],
)
def test_sender_of_a_signal_is_known_or_unknown(
    name: str, before: int | None, after: int | None, hint: str
) -> None:
    found = explain_signal(name, before, after)
    assert hint in found
    assert bool(hint) == bool(found)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "exit code 3"),
        (None, "exit code None"),
        (0xC0000005, "exit code 0xC0000005 (access violation)"),
        (0xC00000FD, "exit code 0xC00000FD (stack overflow)"),
        (0xC0000409, "exit code 0xC0000409 (abort, or stack buffer overrun)"),
        (0xC0001234, "exit code 0xC0001234"),
    ],
)
def test_exit_codes_of_windows_have_names(code: int | None, text: str) -> None:
    assert explain_exit_code(code) == text
